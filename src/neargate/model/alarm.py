"""Records of CloudWatch alarms, their history, and dashboards.

Written by services/cloudwatch and by control/autoscaling (a policy's own alarms); control/alarms evaluates
them and moves `state`. Whoever acts on alarms watches these records: state, actions, state_updated_at.
"""

from typing import Any

from neargate.model.record import Record, Scope
from neargate.model.task import Part

METRIC, COMPOSITE = "MetricAlarm", "CompositeAlarm"
OK, ALARM, INSUFFICIENT_DATA = "OK", "ALARM", "INSUFFICIENT_DATA"
UNCHECKED = "Unchecked: Initial alarm creation"


def alarm_arn(scope: Scope, name: str) -> str:
    return scope.arn("cloudwatch", f"alarm:{name}")


class MetricStat(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One statistic of one metric."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...] = ()
    stat: str
    period: int
    unit: str | None = None


class DataQuery(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A MetricDataQuery: a metric, or an expression over others."""

    id: str
    metric: MetricStat | None = None
    expression: str = ""
    label: str | None = None
    period: int | None = None
    """Of an expression that names none by its metrics."""
    returned: bool = True


class Alarm(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    kind: str = METRIC
    """METRIC or COMPOSITE."""
    description: str | None = None
    actions_enabled: bool = True
    ok_actions: tuple[str, ...] = ()
    alarm_actions: tuple[str, ...] = ()
    insufficient_actions: tuple[str, ...] = ()
    state: str = INSUFFICIENT_DATA
    reason: str = UNCHECKED
    reason_data: str = ""
    """A text of JSON; empty if there is none."""
    state_updated_at: float = 0.0
    """When the state or its reason was last written."""
    state_transitioned_at: float = 0.0
    """When the state last became another."""
    configured_at: float = 0.0

    # Of a metric alarm.
    namespace: str = ""
    metric_name: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    """In the order given."""
    statistic: str = ""
    """A basic or an extended one."""
    period: int = 60
    unit: str | None = None
    evaluation_periods: int = 1
    datapoints_to_alarm: int | None = None
    threshold: float = 0.0
    comparison: str = ""
    treat_missing: str | None = None
    """missing (also where None), ignore, breaching, notBreaching."""
    low_samples: str | None = None
    """evaluate (also where None) or ignore: percentiles of too few samples."""
    metrics: tuple[DataQuery, ...] = ()
    """Instead of the metric above; one of them is `returned`."""

    # Of a composite alarm.
    rule: str = ""
    suppressor: str = ""
    """ARN or name of the alarm whose ALARM state holds this one's actions back."""
    suppressor_wait: int | None = None
    suppressor_extension: int | None = None
    suppressed_by: str = ""
    """Alarm, WaitPeriod or ExtensionPeriod; empty: actions are taken."""
    suppressed_until: float | None = None
    """When a wait or extension period ends."""
    suppressed_action: bool = False
    """A state change whose actions are still held back."""

    tags: dict[str, str] = {}

    def actions_of(self, state: str) -> tuple[str, ...]:
        return {OK: self.ok_actions, ALARM: self.alarm_actions}.get(state, self.insufficient_actions)

    @property
    def acts(self) -> bool:
        """Actions are to be taken as the record stands."""
        return self.actions_enabled and not self.suppressed_by


class AlarmHistory(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    """In the order of time."""
    alarm_arn: str
    alarm_name: str
    alarm_kind: str
    at: float
    type: str
    """ConfigurationUpdate, StateUpdate or Action."""
    summary: str
    data: dict[str, Any]


class Dashboard(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    body: str
    modified_at: float = 0.0
    tags: dict[str, str] = {}
