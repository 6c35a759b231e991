"""The life of a target, as health checks see it: states, reasons and when each changes. Pure.

    initial --one success--> healthy <--healthy_threshold successes-- unhealthy
    initial, healthy --unhealthy_threshold failures in a row--> unhealthy
    any --deregistered--> draining --the deregistration delay--> gone

Called by node/balancer/checker.py with each check's outcome, and by services/cell when it writes. Counts of
successes and failures live with the checker: after a restart they begin anew, the state does not.
"""

from dataclasses import dataclass
from typing import Literal

from neargate.model.balancer import HealthCheck, Target, TargetGroup
from neargate.model.balancing import number

DEREGISTRATION_SECONDS = 300
Cause = Literal["", "Target.ResponseCodeMismatch", "Target.Timeout", "Target.FailedHealthChecks"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one check. cause -- empty: it succeeded."""

    cause: Cause = ""
    code: str = ""
    """What was answered instead of what was expected."""


SUCCESS = Outcome()


@dataclass(frozen=True, slots=True)
class Count:
    """Outcomes of one kind in a row."""

    successes: int = 0
    failures: int = 0

    def after(self, outcome: Outcome) -> "Count":
        return Count(failures=self.failures + 1) if outcome.cause else Count(successes=self.successes + 1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that a target is to have."""

    state: str
    reason: str = ""
    description: str = ""


def judge(target: Target, check: HealthCheck, count: Count, outcome: Outcome) -> Verdict | None:
    """After an outcome that `count` includes: another state, or None to leave it."""
    if target.state == "draining":
        return None
    if outcome.cause:
        if target.state != "unhealthy" and count.failures >= check.unhealthy_threshold:
            return Verdict("unhealthy", outcome.cause, describe(outcome))
        if target.state == "unhealthy" and (target.reason, target.description) != (
            outcome.cause,
            describe(outcome),
        ):
            return Verdict("unhealthy", outcome.cause, describe(outcome))
        return None
    if target.state == "initial" or (
        target.state == "unhealthy" and count.successes >= check.healthy_threshold
    ):
        return Verdict("healthy")
    return None


def describe(outcome: Outcome) -> str:
    match outcome.cause:
        case "Target.ResponseCodeMismatch":
            return f"Health checks failed with these codes: [{outcome.code}]"
        case "Target.Timeout":
            return "Request timed out"
        case "Target.FailedHealthChecks":
            return "Health checks failed"
        case "":
            return ""


def drained_at(target: Target, group: TargetGroup) -> float:
    """When a draining target is gone at the latest."""
    delay = number(group.attributes, "deregistration_delay.timeout_seconds", DEREGISTRATION_SECONDS)
    return (target.draining_at or 0.0) + delay
