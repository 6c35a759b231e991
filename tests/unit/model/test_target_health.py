"""A target's states, by tables and by any sequence of outcomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from neargate.model.balancer import HealthCheck, Target, TargetGroup
from neargate.model.target_health import SUCCESS, Count, Outcome, Verdict, drained_at, judge

CODE = Outcome("Target.ResponseCodeMismatch", "502")
LATE = Outcome("Target.Timeout")
DEAD = Outcome("Target.FailedHealthChecks")
CHECK = HealthCheck(healthy_threshold=3, unhealthy_threshold=2)


def target(state: str, **more: object) -> Target:
    given = {"account": "0", "region": "r", "group_arn": "g", "address": "10.0.0.1", "port": 80, **more}
    return Target(state=state, **given)  # type: ignore[arg-type]


CASES = [
    ("initial", [SUCCESS], Verdict("healthy")),
    ("initial", [DEAD], None),
    ("initial", [DEAD, DEAD], Verdict("unhealthy", "Target.FailedHealthChecks", "Health checks failed")),
    ("healthy", [CODE], None),
    ("healthy", [CODE, SUCCESS, CODE], None),
    (
        "healthy",
        [SUCCESS, LATE, CODE],
        Verdict("unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [502]"),
    ),
    ("healthy", [LATE, LATE], Verdict("unhealthy", "Target.Timeout", "Request timed out")),
    ("unhealthy", [SUCCESS, SUCCESS], None),
    ("unhealthy", [SUCCESS, SUCCESS, SUCCESS], Verdict("healthy")),
    ("draining", [SUCCESS, DEAD, DEAD, DEAD], None),
]


def after(state: str, outcomes: list[Outcome]) -> Verdict | None:
    """The last verdict, with the target as it was found."""
    count, found = Count(), None
    for outcome in outcomes:
        count = count.after(outcome)
        found = judge(target(state, reason="r"), CHECK, count, outcome)
    return found


@pytest.mark.parametrize(("state", "outcomes", "verdict"), CASES)
def test_states(state: str, outcomes: list[Outcome], verdict: Verdict | None) -> None:
    assert after(state, outcomes) == verdict


def test_an_unhealthy_target_says_why_now() -> None:
    found = target("unhealthy", reason="Target.Timeout", description="Request timed out")
    assert judge(found, CHECK, Count(failures=9), LATE) is None
    assert judge(found, CHECK, Count(failures=9), CODE) == Verdict(
        "unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [502]"
    )


@given(
    st.lists(st.sampled_from([SUCCESS, CODE, LATE, DEAD]), max_size=60),
    st.integers(2, 10),
    st.integers(2, 10),
)
def test_no_target_flaps(outcomes: list[Outcome], up: int, down: int) -> None:
    """Between two changes of a target lie as many outcomes of one kind as the threshold says."""
    check = HealthCheck(healthy_threshold=up, unhealthy_threshold=down)
    now, count, row = target("initial"), Count(), 0
    for outcome in outcomes:
        row = row + 1 if bool(outcome.cause) == bool(count.failures) and row else 1
        count = count.after(outcome)
        verdict = judge(now, check, count, outcome)
        if verdict is None:
            continue
        if verdict.state != now.state:
            first = now.state == "initial" and verdict.state == "healthy"
            assert first or row >= (up if verdict.state == "healthy" else down)
        now = replace(now, state=verdict.state, reason=verdict.reason, description=verdict.description)
    assert now.state in ("initial", "healthy", "unhealthy")


def test_the_deregistration_delay() -> None:
    group = TargetGroup(account="0", region="r", arn="g", name="g", protocol="HTTP", port=80, vpc_id="v")
    leaving = target("draining", draining_at=1000.0)
    assert drained_at(leaving, group) == 1300.0
    assert (
        drained_at(leaving, replace(group, attributes={"deregistration_delay.timeout_seconds": "5"}))
        == 1005.0
    )
