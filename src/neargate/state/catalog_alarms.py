"""Kinds of CloudWatch's records, like catalog.py; and the one way in which an alarm gets its history.

Imported by services/cloudwatch, control/alarms and whoever acts on alarms.
"""

from typing import Any

from neargate.model.alarm import COMPOSITE, Alarm, AlarmHistory, Dashboard
from neargate.state.catalog import minute
from neargate.state.store import Kind, Tx

ALARM = Kind(
    "alarm",
    Alarm,
    lambda r: r.arn,
    {
        "kind": lambda r: f"{r.account}/{r.region}/{r.kind}",
        # What may follow when another alarm turns.
        "composite": lambda r: f"{r.account}/{r.region}" if r.kind == COMPOSITE else None,
        "metric": lambda r: f"{r.account}/{r.region}/{r.namespace}/{r.metric_name}" if r.namespace else None,
    },
)
ALARM_HISTORY = Kind(
    "alarm-history",
    AlarmHistory,
    lambda r: r.id,
    {
        "scope": lambda r: f"{r.account}/{r.region}",
        "alarm": lambda r: r.alarm_arn,
        "minute": lambda r: minute(r.at),
    },
)
DASHBOARD = Kind("dashboard", Dashboard, lambda r: r.arn)


def note(tx: Tx, alarm: Alarm, at: float, type: str, summary: str, data: dict[str, Any]) -> None:
    """Add a line to an alarm's history."""
    tx.insert(
        ALARM_HISTORY,
        AlarmHistory(
            account=alarm.account,
            region=alarm.region,
            id=f"{int(at * 1000):015d}/{tx.next('alarm-history'):012d}",
            alarm_arn=alarm.arn,
            alarm_name=alarm.name,
            alarm_kind=alarm.kind,
            at=at,
            type=type,
            summary=summary,
            data=data,
        ),
    )
