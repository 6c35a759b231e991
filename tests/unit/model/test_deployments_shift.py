"""Deployments that shift traffic: stages, steps, pauses; always over, never back and forth."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from neargate.model.deployments import shift
from neargate.model.service import ServiceDeployment

NOW = 1000.0
FOLLOW = shift.FOLLOW_SECONDS
READY = shift.World(up=True)


def process(strategy: str = "BLUE_GREEN", **configuration: Any) -> ServiceDeployment:
    return ServiceDeployment(
        account="0",
        region="r",
        arn="arn:process",
        service_arn="arn:service",
        cluster_arn="arn:cluster",
        status="IN_PROGRESS",
        strategy=strategy,
        configuration={"strategy": strategy, **configuration},
        target_revision="arn:revision",
    )


def hook(*stages: str, **timeout: Any) -> dict[str, Any]:
    return {"targetType": "PAUSE", "lifecycleStages": list(stages), "timeoutConfiguration": timeout}


def through(given: ServiceDeployment) -> ServiceDeployment:
    """Once the data plane has followed as well."""
    return shift.advance(shift.advance(given, READY, NOW).process, READY, NOW + FOLLOW).process


def test_with_all_tasks_up_and_no_bake_time_it_waits_only_for_the_data_plane() -> None:
    step = shift.advance(process(), READY, NOW)
    assert (step.process.stage, step.process.traffic) == ("BAKE_TIME", 100.0)
    assert step.wake_at == NOW + FOLLOW
    step = shift.advance(step.process, READY, NOW + FOLLOW)
    assert (step.process.stage, step.process.traffic) == ("CLEAN_UP", 100.0)
    assert (step.wake_at, step.back) == (None, "")


def test_it_waits_for_older_deployments_and_for_its_tasks() -> None:
    crowded = shift.advance(process(), shift.World(crowded=True), NOW).process
    assert crowded.stage == "RECONCILE_SERVICE"
    coming = shift.advance(crowded, shift.World(), NOW).process
    assert (coming.stage, coming.traffic) == ("SCALE_UP", 0.0)
    assert shift.scaled_up(coming) and not shift.tested(coming)
    assert not shift.scaled_up(crowded)
    assert through(coming).stage == "CLEAN_UP"


def test_it_bakes_with_all_of_the_traffic() -> None:
    step = shift.advance(process(bakeTimeInMinutes=5), READY, NOW)
    assert (step.process.stage, step.process.traffic) == ("BAKE_TIME", 100.0)
    assert step.wake_at == NOW + 300
    assert shift.advance(step.process, READY, NOW + 299).process == step.process
    assert shift.advance(step.process, READY, NOW + 300).process.stage == "CLEAN_UP"


@pytest.mark.parametrize(
    ("strategy", "configuration", "percents", "pause"),
    [
        ("BLUE_GREEN", {}, [100.0], 0),
        ("LINEAR", {}, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0], 360),
        ("LINEAR", {"stepPercent": 30.0, "stepBakeTimeInMinutes": 1}, [30.0, 60.0, 90.0, 100.0], 60),
        ("LINEAR", {"stepPercent": 33.3, "stepBakeTimeInMinutes": 0}, [33.3, 66.6, 99.9, 100.0], 0),
        ("LINEAR", {"stepPercent": 100.0, "stepBakeTimeInMinutes": 5}, [100.0], 300),
        ("CANARY", {}, [5.0, 100.0], 600),
        ("CANARY", {"canaryPercent": 0.1, "canaryBakeTimeInMinutes": 2}, [0.1, 100.0], 120),
        ("CANARY", {"canaryPercent": 100.0}, [100.0], 600),
    ],
)
def test_steps_to_all_of_the_traffic(
    strategy: str, configuration: dict[str, Any], percents: list[float], pause: float
) -> None:
    member = {"LINEAR": "linearConfiguration", "CANARY": "canaryConfiguration"}.get(strategy, "none")
    given = process(strategy, **{member: configuration})
    assert shift.steps(strategy, given.configuration) == (percents, pause)
    seen, now = [], NOW
    while given.stage != "CLEAN_UP":
        step = shift.advance(given, READY, now)
        given = step.process
        seen.append(given.traffic)
        now = step.wake_at if step.wake_at is not None else now
    assert given.traffic == 100.0
    assert now == NOW + pause * (len(percents) - 1) + FOLLOW
    if pause:
        assert list(dict.fromkeys(seen)) == percents


def test_a_pause_is_held_until_it_is_answered() -> None:
    held = shift.advance(process(lifecycleHooks=[hook("POST_SCALE_UP", timeoutInMinutes=2)]), READY, NOW)
    pause = held.process.paused
    assert pause is not None
    assert (held.process.stage, pause.until, held.wake_at) == ("POST_SCALE_UP", NOW + 120, NOW + 120)
    answered = replace(held.process, paused=replace(pause, answer="CONTINUE"))
    on = through(answered)
    assert (on.stage, on.passed_hooks, on.paused) == ("CLEAN_UP", ("POST_SCALE_UP",), None)
    refused = replace(held.process, paused=replace(pause, answer="ROLLBACK"))
    assert shift.advance(refused, READY, NOW + 1).back


@pytest.mark.parametrize(("action", "back"), [("CONTINUE", False), ("ROLLBACK", True), (None, True)])
def test_a_pause_that_nobody_answers_times_out(action: str | None, back: bool) -> None:
    timeout = {"timeoutInMinutes": 1, **({"action": action} if action else {})}
    held = shift.advance(process(lifecycleHooks=[hook("PRE_SCALE_UP", **timeout)]), READY, NOW).process
    assert not shift.advance(held, READY, NOW + 59).back
    assert bool(shift.advance(held, READY, NOW + 60).back) is back


NETWORK = "Service deployment rolled back because of invalid networking configuration."


@pytest.mark.parametrize(
    ("stage", "lost", "named"),
    [
        ("", ["production"], ["production"]),
        ("SCALE_UP", ["production"], ["production"]),
        ("SCALE_UP", ["test", "production"], ["test", "production"]),
        ("TEST_TRAFFIC_SHIFT", ["test"], ["test"]),
        ("POST_TEST_TRAFFIC_SHIFT", ["test"], []),
        ("PRODUCTION_TRAFFIC_SHIFT", ["test"], []),
        ("PRODUCTION_TRAFFIC_SHIFT", ["test", "production"], ["production"]),
        ("BAKE_TIME", ["production"], ["production"]),
        ("CLEAN_UP", ["test", "production"], []),
    ],
)
def test_without_its_listener_it_goes_back_while_traffic_depends_on_it(
    stage: str, lost: list[str], named: list[str]
) -> None:
    world = shift.World(up=True, faults=[shift.Fault(f"{kind}ListenerRule", f"No {kind}.") for kind in lost])
    gone = [f"No {kind}." for kind in named]
    back = shift.advance(replace(process(), stage=stage), world, NOW).back
    assert back == (" ".join((NETWORK, *gone)) if gone else "")


@pytest.mark.parametrize(
    ("stage", "traffic", "member", "back"),
    [
        ("", 0.0, shift.PRODUCTION, False),
        ("POST_SCALE_UP", 0.0, shift.PRODUCTION, False),
        ("PRODUCTION_TRAFFIC_SHIFT", 0.0, shift.PRODUCTION, False),
        ("PRODUCTION_TRAFFIC_SHIFT", 5.0, shift.PRODUCTION, True),
        ("BAKE_TIME", 100.0, shift.PRODUCTION, True),
        ("CLEAN_UP", 100.0, shift.PRODUCTION, False),
        ("POST_SCALE_UP", 0.0, shift.TEST, False),
        ("TEST_TRAFFIC_SHIFT", 0.0, shift.TEST, True),
        ("PRODUCTION_TRAFFIC_SHIFT", 5.0, shift.TEST, False),
    ],
)
def test_a_rule_that_leads_elsewhere_is_a_fault_once_it_has_led_to_green(
    stage: str, traffic: float, member: str, back: bool
) -> None:
    """Before, the next weights put green's group into it."""
    world = shift.World(up=True, faults=[shift.Fault(member, "Elsewhere.", mended=True)])
    given = replace(process("CANARY"), stage=stage, traffic=traffic, bake_until=NOW + 60)
    assert shift.advance(given, world, NOW).back == (f"{NETWORK} Elsewhere." if back else "")


def test_what_leads_to_a_revision() -> None:
    both = {"productionListenerRule": "arn:p", "testListenerRule": "arn:t"}
    balancers = [
        {"targetGroupArn": "arn:plain"},
        {"advancedConfiguration": both},
        {"advancedConfiguration": {"productionListenerRule": "arn:q"}},
    ]
    rules = [(shift.PRODUCTION, "arn:p"), (shift.PRODUCTION, "arn:q"), (shift.TEST, "arn:t")]
    assert shift.routes(balancers) == rules


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(("BLUE_GREEN", "LINEAR", "CANARY")),
    st.sampled_from(("productionListenerRule", "testListenerRule")),
    st.integers(0, 30),
    st.integers(0, 2**32),
)
def test_a_listener_lost_for_ever_ends_it_one_way_or_the_other(
    strategy: str, member: str, after: int, seed: int
) -> None:
    """Whenever it is lost: no deployment is over with traffic that was not led where it says."""
    chance = random.Random(seed)
    given, now = process(strategy, bakeTimeInMinutes=1, lifecycleHooks=[hook("POST_SCALE_UP")]), NOW
    for step_number in range(500):
        lost = [shift.Fault(member, "It is gone.")] if step_number >= after else []
        step = shift.advance(given, shift.World(up=chance.random() < 0.5, faults=lost), now)
        if step.back.startswith(NETWORK):
            assert step.process == given, "nothing is led any more"
            assert lost and given.stage != "CLEAN_UP"
            assert (
                member == "productionListenerRule"
                or not shift.tested(given)
                or (given.stage == "TEST_TRAFFIC_SHIFT")
            )
            return
        assert not lost or member == "testListenerRule" or given.stage == "CLEAN_UP"
        if step.back or step.process.stage == "CLEAN_UP":
            return
        given, now = step.process, step.wake_at if step.wake_at is not None else now + 1
    raise AssertionError(f"not over: {given}")


@given(st.floats(0.1, 100).map(lambda p: round(p, 1)))
def test_weights_are_what_the_percent_says(percent: float) -> None:
    old, new = shift.weights_of(percent)
    assert 0 <= old <= 999 and 0 <= new <= 999
    assert new / (old + new) == pytest.approx(percent / 100)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(("BLUE_GREEN", "LINEAR", "CANARY")),
    st.integers(0, 10),
    st.floats(3, 100).map(lambda p: round(p, 1)),
    st.integers(0, 3),
    st.sets(st.sampled_from(shift.STAGES[:9])),
    st.integers(0, 2**32),
)
def test_it_always_ends_forward_only_or_goes_back(
    strategy: str, bake: int, percent: float, pause: int, held: set[str], seed: int
) -> None:
    """Whatever is answered, or not answered, and whatever its tasks do."""
    chance = random.Random(seed)
    given = process(
        strategy,
        bakeTimeInMinutes=bake,
        linearConfiguration={"stepPercent": percent, "stepBakeTimeInMinutes": pause},
        canaryConfiguration={"canaryPercent": percent, "canaryBakeTimeInMinutes": pause},
        lifecycleHooks=[hook(stage, timeoutInMinutes=1, action="CONTINUE") for stage in sorted(held)],
    )
    now = NOW
    for _ in range(500):
        world = shift.World(crowded=chance.random() < 0.3, up=chance.random() < 0.5)
        step = shift.advance(given, world, now)
        if step.back:
            assert step.process.paused is not None
            return
        after = step.process
        if given.stage:
            assert shift.RANK[after.stage] >= shift.RANK[given.stage]
        assert after.traffic >= given.traffic
        if after.traffic > given.traffic or after.stage == "CLEAN_UP":
            assert world.up
        if not shift.scaled_up(after):
            assert after.traffic == 0
        if shift.RANK[after.stage] > shift.RANK["PRODUCTION_TRAFFIC_SHIFT"]:
            assert after.traffic == 100
        if after.stage == "CLEAN_UP":
            assert set(after.passed_hooks) == held - {"RECONCILE_SERVICE"} or (
                set(after.passed_hooks) == held
            )
            return
        if after.paused is not None and chance.random() < 0.5:
            answer = chance.choice(("CONTINUE", "CONTINUE", "ROLLBACK"))
            after = replace(after, paused=replace(after.paused, answer=answer))
        given = after
        now = step.wake_at if step.wake_at is not None else now + 1
    raise AssertionError(f"not over: {given}")
