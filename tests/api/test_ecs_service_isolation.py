"""A service whose definition demands an isolation tier that no node offers: told, and never another tier."""

from neargate.model.isolation import TAG
from neargate.model.placement import NO_TIER
from tests.support.door import Door
from tests.support.keeper import Keeper, until


def test_a_service_that_demands_a_tier_which_nobody_offers(door: Door) -> None:
    keeper = Keeper(door)
    definition = keeper.define()
    keeper.ecs.tag_resource(resourceArn=definition, tags=[{"key": TAG, "value": "microvm"}])
    keeper.create(definition, 1)
    cause = NO_TIER.format("microvm")
    until(lambda: any("was unable to place a task. Reason: " + cause in m for m in keeper.messages()))
    assert keeper.running() == []
    stopped = keeper.tasks("STOPPED")
    assert stopped and {t["stoppedReason"] for t in stopped} == {cause}
    assert {t["stopCode"] for t in stopped} == {"TaskFailedToStart"}
