"""`CloudWatch Alarm State Change`, in AWS's shape: what state/outbox is handed when an alarm turns. Pure.

Called by the loop that evaluates alarms, and by SetAlarmState.
"""

from collections.abc import Mapping
from typing import Any

from neargate.model.event import Event
from neargate.model.metadata import moment


def alarm_changed(
    account: str,
    region: str,
    arn: str,
    name: str,
    now: float,
    *,
    state: Mapping[str, Any],
    previous: Mapping[str, Any],
    configuration: Mapping[str, Any],
) -> Event:
    """state, previous -- `value`, `reason`, and `reasonData` (a text of JSON) where there is any, and
    `timestamp` in seconds. configuration -- `description`, and `metrics` or `alarmRule`, as events have them.
    """

    def detail() -> dict[str, Any]:
        return {
            "alarmName": name,
            "state": _state(state),
            "previousState": _state(previous),
            "configuration": dict(configuration),
        }

    return Event(account, region, "aws.cloudwatch", "CloudWatch Alarm State Change", now, detail, (arn,))


def _state(state: Mapping[str, Any]) -> dict[str, Any]:
    stamp = moment(float(state["timestamp"]), "milliseconds").replace("Z", "+0000")
    return {**state, "timestamp": stamp}
