"""What a container's health checks make of it, as Docker counts them. Pure; called by node/health.

    UNKNOWN --success--> HEALTHY <--success-- UNHEALTHY
       |                    |                     ^
       +---`retries` failures in a row------------+

A failure inside the start period does not count, unless a check has succeeded before.
"""

from dataclasses import dataclass

from neargate.model.sandbox import Health, HealthCheck


@dataclass(frozen=True, slots=True)
class Condition:
    status: Health = "UNKNOWN"
    failures: int = 0
    """Counted failures in a row."""


def after_check(check: HealthCheck, before: Condition, passed: bool, age: float) -> Condition:
    """The condition after one check that began `age` seconds after the container's start."""
    if passed:
        return Condition("HEALTHY")
    if before.status == "UNKNOWN" and age < check.start_period:
        return before
    failures = before.failures + 1
    return Condition("UNHEALTHY" if failures >= check.retries else before.status, failures)


def command(check: HealthCheck) -> tuple[str, ...]:
    """What is executed inside the container."""
    kind, *words = check.command
    if kind == "CMD-SHELL":
        return ("/bin/sh", "-c", *words)
    return tuple(words) if kind == "CMD" else check.command
