"""A service that there is not room enough for."""

import os

from tests.support.door import Door
from tests.support.keeper import Keeper, until

UNPLACED = (
    "(service web) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again"
    " later or in a different availability zone. For more information, see the Troubleshooting section of the"
    " Amazon ECS Developer Guide."
)


def test_what_finds_no_room_is_said_once_and_tried_again_when_there_is_some() -> None:
    # Room for four tasks of a quarter of a vCPU.
    door = Door(overcommit_cpu=1.0 / (os.cpu_count() or 1), service_healthy_seconds=0.2).start()
    try:
        keeper = Keeper(door)
        keeper.create(keeper.define(), 6)
        until(lambda: len(keeper.running()) == 4 and UNPLACED in keeper.messages())
        until(lambda: len(keeper.tasks("STOPPED")) > 3)
        assert keeper.messages().count(UNPLACED) == 1
        assert keeper.see()["deployments"][0]["rolloutState"] == "IN_PROGRESS"
        keeper.update(desiredCount=4)
        keeper.steady()
        assert len(keeper.running()) == 4
    finally:
        door.stop()
