"""Records of Application Auto Scaling: what may be scaled and how far, by which policies, by which schedules,
and what was done.

services/application_autoscaling writes what callers ask for; control/autoscaling carries it out.
"""

from typing import Any, Final, Literal

from neargate.kit.clock import passed
from neargate.model.record import Record
from neargate.model.task import Part

NAMESPACE: Final = "ecs"
DIMENSION: Final = "ecs:service:DesiredCount"
DEFAULT_COOLDOWN: Final = 300
_LATEST: Final = 10**14
Direction = Literal["out", "in"]


class Suspended(Part, frozen=True, kw_only=True, omit_defaults=True):
    scale_in: bool = False
    scale_out: bool = False
    scheduled: bool = False


class Cooling(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The last scaling by a policy: until its cooldown ends, it is to take effect."""

    direction: Direction
    at: float
    seconds: int
    base: int
    """What was counted from: a larger scale-out during the cooldown counts from there again."""

    def runs(self, now: float) -> bool:
        return not passed(self.at, self.seconds, now)


class ScalableTarget(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    resource_id: str
    """`service/<cluster>/<service>`; `service_arn` is the same thing."""
    service_arn: str
    minimum: int
    maximum: int
    suspended: Suspended = Suspended()
    cooling: Cooling | None = None
    bound: bool = False
    """Bounds were set; the loop is to bring the desired count within them, and clears this."""
    bound_cause: str = ""
    activity: str = ""
    """`activity_id` of the one that the service has yet to fulfil."""
    role_arn: str
    tags: dict[str, str] = {}
    created_at: float = 0.0


class Step(Part, frozen=True, kw_only=True, omit_defaults=True):
    """What to do while the metric is so far from the alarm's threshold; None: without end."""

    lower: float | None = None
    upper: float | None = None
    adjustment: int


class Steps(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A step scaling policy's rule."""

    adjustment_type: str
    """ChangeInCapacity, PercentChangeInCapacity, ExactCapacity."""
    steps: tuple[Step, ...]
    min_magnitude: int | None = None
    cooldown: int = DEFAULT_COOLDOWN
    aggregation: str = "Average"


class Tracking(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A target tracking policy's rule."""

    target: float
    predefined: str = ""
    """A predefined metric's type; else `customized` tells the metric."""
    resource_label: str = ""
    customized: dict[str, Any] = {}
    """In AWS's member names."""
    out_cooldown: int = DEFAULT_COOLDOWN
    in_cooldown: int = DEFAULT_COOLDOWN
    scale_in: bool = True


class ScalingPolicy(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    resource_id: str
    rule: dict[str, Any]
    """The configuration as DescribeScalingPolicies shows it."""
    tracking: Tracking | None = None
    steps: Steps | None = None
    alarms: tuple[str, ...] = ()
    """ARNs of the alarms that a target tracking policy made: high, low."""
    acted_at: float = 0.0
    """When it last changed the desired count: not again before its alarm's next moment."""
    not_scaled: str = ""
    """Why it last did not; the same is not told again."""
    created_at: float = 0.0


class ScheduledAction(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    resource_id: str
    schedule: str
    timezone: str = ""
    start_at: float | None = None
    end_at: float | None = None
    minimum: int | None = None
    maximum: int | None = None
    due_at: float | None = None
    """Its next moment; None when there is none any more."""
    created_at: float = 0.0


class ScalingActivity(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One thing done, or (`not_scaled`) not done though an alarm asked for it."""

    id: str
    resource_id: str
    description: str
    cause: str
    status: str
    """InProgress, Successful, Overridden, Failed."""
    message: str = ""
    capacity: int | None = None
    started_at: float
    ended_at: float | None = None
    not_scaled: dict[str, Any] = {}
    """The NotScaledReason, in AWS's member names."""


def activity_id(activity: ScalingActivity) -> str:
    """Identity of an activity, in an order in which the newest come first."""
    return f"{_LATEST - int(activity.started_at * 1000):015d}/{activity.id}"


def target_id(account: str, region: str, resource_id: str) -> str:
    """Identity of a scalable target; what hangs on it begins with this."""
    return f"{account}/{region}/{resource_id}"


def part_id(account: str, region: str, resource_id: str, name: str) -> str:
    """Identity of a policy or a scheduled action."""
    return f"{target_id(account, region, resource_id)}|{name}"


def service_arn(account: str, region: str, resource_id: str) -> str:
    """ARN of the ECS service that a resource id names."""
    return f"arn:aws:ecs:{region}:{account}:{resource_id}"
