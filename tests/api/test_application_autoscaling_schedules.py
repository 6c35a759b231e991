"""Application Auto Scaling through boto3: scheduled actions."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.door import Door
from tests.support.scaling import ECS, PLACE, refused, register, service_to_scale


@pytest.fixture
def scaling(door: Door) -> Iterator[Any]:
    with service_to_scale(door) as client:
        yield client


def test_scheduled_actions(scaling: Any) -> None:
    put = scaling.put_scheduled_action
    action = {**PLACE, "ScheduledActionName": "night", "Schedule": "cron(0 22 * * ? *)"}
    to_one = {"ScalableTargetAction": {"MinCapacity": 1, "MaxCapacity": 1}}
    refused("ObjectNotFoundException", put, **action, **to_one)
    register(scaling)
    start = datetime(2030, 1, 1, tzinfo=UTC)
    put(**action, **to_one, Timezone="Europe/Berlin", StartTime=start, EndTime=start + timedelta(days=1))
    [shown] = scaling.describe_scheduled_actions(**ECS)["ScheduledActions"]
    assert (shown["Schedule"], shown["Timezone"]) == ("cron(0 22 * * ? *)", "Europe/Berlin")
    assert (shown["StartTime"], shown["EndTime"]) == (start, start + timedelta(days=1))
    assert shown["ScalableTargetAction"] == {"MinCapacity": 1, "MaxCapacity": 1}
    assert ":scheduledAction:" in shown["ScheduledActionARN"]
    put(**PLACE, ScheduledActionName="night", ScalableTargetAction={"MaxCapacity": 3})
    [again] = scaling.describe_scheduled_actions(**ECS, ScheduledActionNames=["night"])["ScheduledActions"]
    assert (again["ScheduledActionARN"], again["Schedule"]) == (
        shown["ScheduledActionARN"],
        shown["Schedule"],
    )
    assert again["ScalableTargetAction"] == {"MaxCapacity": 3} and "StartTime" not in again
    scaling.delete_scheduled_action(**PLACE, ScheduledActionName="night")
    said = refused(
        "ObjectNotFoundException", scaling.delete_scheduled_action, **PLACE, ScheduledActionName="x"
    )
    assert said.startswith("No scheduled action found for service namespace: ecs")


@pytest.mark.parametrize(
    "changed",
    [
        {"Schedule": "cron(0 22 * * * *)"},
        {"Schedule": "at(2030-01-01T00:00:00Z)"},
        {"Schedule": "rate(0 minutes)"},
        {"Schedule": "0 22 * * ? *"},
    ],
)
def test_schedules_that_are_refused(scaling: Any, changed: dict[str, Any]) -> None:
    register(scaling)
    action = {**PLACE, "ScheduledActionName": "a", "ScalableTargetAction": {"MinCapacity": 1}, **changed}
    said = refused("ValidationException", scaling.put_scheduled_action, **action)
    assert said.startswith("Invalid schedule expression")
    assert scaling.describe_scheduled_actions(**ECS)["ScheduledActions"] == []


def test_scheduled_actions_that_are_refused(scaling: Any) -> None:
    register(scaling)
    put, action = scaling.put_scheduled_action, {**PLACE, "ScheduledActionName": "a"}
    rate = {"Schedule": "rate(5 minutes)"}
    refused("ValidationException", put, **action, ScalableTargetAction={"MinCapacity": 1})
    refused("ValidationException", put, **action, **rate)
    refused("ValidationException", put, **action, **rate, ScalableTargetAction={})
    bounds = {"ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 2}}
    assert refused("ValidationException", put, **action, **rate, **bounds) == (
        "Maximum capacity cannot be less than minimum capacity"
    )
    one = {"ScalableTargetAction": {"MinCapacity": 1}}
    assert "Mars/Base" in refused("ValidationException", put, **action, **rate, **one, Timezone="Mars/Base")
    now = datetime(2030, 1, 1, tzinfo=UTC)
    refused("ValidationException", put, **action, **rate, **one, StartTime=now, EndTime=now)
