"""A service's tasks as the rules see them, and the bounds on their number. Pure.

Made by control/services of tasks and targets; read by rolling.py and spread.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_MINIMUM = 100
DEFAULT_MAXIMUM = 200


@dataclass(frozen=True, slots=True)
class Copy:
    """A task that is to run (one that is to stop is none any more)."""

    arn: str
    deployment: str
    """Id of the deployment, or of the task set."""
    running: bool = False
    healthy: bool = False
    """Counts for the floor."""
    bad: bool = False
    """Failed its health checks: to be replaced."""
    served: bool = False
    """Has been healthy before."""
    protected: bool = False
    zone: str = ""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    floor: int
    """So many healthy tasks are not gone below."""
    ceiling: int
    """So many tasks are not gone above."""


def limits(desired: int, minimum: int, maximum: int) -> Limits:
    """AWS: the floor is rounded up, the ceiling down."""
    return Limits(-(-desired * minimum // 100), desired * maximum // 100)


def computed(desired: int, scale: float) -> int:
    """A task set's share of the service's tasks, rounded up."""
    return -int(-desired * scale // 100)


def configured(desired: int, configuration: Mapping[str, Any]) -> Limits:
    """The limits by a deploymentConfiguration."""
    minimum, maximum = configuration.get("minimumHealthyPercent"), configuration.get("maximumPercent")
    return limits(
        desired,
        DEFAULT_MINIMUM if minimum is None else minimum,
        DEFAULT_MAXIMUM if maximum is None else maximum,
    )
