"""Services held by a simulated world: deployments that always end, within their limits; and then rest."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from neargate.control.services.plan import Plan
from neargate.model.deployments.breaker import threshold
from neargate.model.deployments.copies import configured
from tests.unit.control.services_world import BLUE, GREEN, RULE, TEST_RULE, World

BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
WORLDS = st.builds(
    lambda seed, desired, minimum, maximum, balanced: World(
        random.Random(seed),
        {"minimumHealthyPercent": minimum, "maximumPercent": maximum, **BREAKER},
        desired,
        balanced,
    ),
    st.integers(0, 2**32),
    st.integers(0, 8),
    st.integers(0, 100),
    st.integers(200, 300),
    st.booleans(),
)


class Watched:
    """Holds each step against the limits."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.limits = configured(world.service.desired_count, world.configuration)
        self.most = len(world.live())

    def __call__(self, made: Plan) -> None:
        world = self.world
        live = len(world.live())
        assert live <= max(self.limits.ceiling, self.most)
        self.most = max(self.limits.ceiling, live)
        stopped = [t for t in made.tasks if t.stop_code == "ServiceSchedulerInitiated" and not t.accounted]
        well = [t for t in stopped if world.is_healthy(t) and t.last_status in ("RUNNING", "DEACTIVATING")]
        if well:
            assert len(world.healthy()) >= self.limits.floor, "healthy tasks were stopped below the floor"
        for task in stopped:
            assert task.protected_until is None or task.protected_until <= world.now


def done(world: World) -> bool:
    """At rest: one COMPLETED deployment, all of its tasks and no other, nothing draining."""
    deployments = world.service.deployments
    return (
        len(deployments) == 1
        and deployments[0].rollout_state == "COMPLETED"
        and world.service.steady_at is not None
        and len(world.live()) == world.service.desired_count
        and all(t.accounted for t in world.tasks.values() if t.desired_status == "STOPPED")
    )


def rests(world: World) -> None:
    """Nothing is done any more but to say now and then that it is steady."""
    for hours in (0.1, 1, 3, 7):
        world.pass_time(3600 * hours)
        before = world.tasks.keys()
        made = world.step()
        assert not (made.starts or made.targets or made.targets_gone or made.processes or made.weights)
        assert {m.rpartition(") ")[2] for m in made.messages} <= {"has reached a steady state."}
        assert world.tasks.keys() == before
        assert not world.step(), "a second look finds something to do"
        assert made.wake_at is not None and made.wake_at > world.now


@settings(max_examples=150, deadline=None)
@given(WORLDS, st.floats(0, 0.1), st.floats(0, 0.1))
def test_services_come_to_rest_and_stay_there(world: World, dies: float, sickens: float) -> None:
    for round in range(3):
        # No breaker may trip on what chance alone does.
        configuration = {**world.service.body["deploymentConfiguration"], "deploymentCircuitBreaker": {}}
        body = {**world.service.body, "deploymentConfiguration": configuration}
        world.service = replace(world.service, body=body)
        if round:
            world.deploy()
        world.dies, world.sickens = dies, sickens
        watched = Watched(world)
        for _ in range(25):
            watched(world.step())
            world.pass_time(1.0)
        world.dies = world.sickens = 0.0
        for id, target in world.targets.items():
            if target.state == "unhealthy":
                world.targets[id] = replace(target, state="healthy")
        world.until(lambda: done(world), watched)
    rests(world)


@settings(max_examples=100, deadline=None)
@given(WORLDS, st.booleans())
def test_a_broken_revision_is_rolled_back_and_nothing_is_lost(world: World, never_healthy: bool) -> None:
    world.until(lambda: done(world), Watched(world))
    first = world.service.deployments[0].id
    serving = {t.arn for t in world.healthy()}
    world.never_healthy = never_healthy and world.balanced
    world.deploy(broken=True)
    process, watched = world.process.arn, Watched(world)

    def check(made: Plan) -> None:
        watched(made)
        assert len(world.healthy()) >= watched.limits.floor

    if world.service.desired_count:
        world.until(lambda: done(world) and world.processes[process].status == "ROLLBACK_SUCCESSFUL", check)
        assert world.service.deployments[0].id == first
        counted = threshold(world.service.desired_count, BREAKER["deploymentCircuitBreaker"])
        assert world.processes[process].breaker_failures >= counted
        assert {t.arn for t in world.healthy()} <= serving or watched.limits.floor < len(serving)
    else:  # nothing runs, so nothing fails
        world.until(lambda: done(world), check)
    rests(world)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from(("ROLLING", "BLUE_GREEN", "CANARY")))
def test_a_way_back_that_is_cut_short_by_another_broken_revision_is_gone_again(
    seed: int, desired: int, strategy: str
) -> None:
    world = World(random.Random(seed), {"strategy": strategy, **BREAKER}, desired, True)
    world.until(lambda: done(world), lambda made: None)
    first = world.service.deployments[0].id
    world.never_healthy = True
    for _ in range(3):
        world.deploy(broken=True)
        world.until(lambda: world.process.status.startswith("ROLLBACK_"), lambda made: None)
        assert world.process.status != "ROLLBACK_FAILED"
    world.until(lambda: done(world), lambda made: None)
    assert world.service.deployments[0].id == first
    assert {t.group_arn for t in world.targets.values()} == {BLUE}
    rests(world)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.booleans(), st.integers(0, 30))
def test_a_rolling_update_half_way_through_a_shift_has_all_the_traffic(
    seed: int, desired: int, completed: bool, steps: int
) -> None:
    linear = {"stepPercent": 25.0, "stepBakeTimeInMinutes": 1}
    world = World(random.Random(seed), {"strategy": "LINEAR", "linearConfiguration": linear}, desired, True)
    if completed:
        world.until(lambda: done(world), lambda made: None)
    else:
        world.until(lambda: len(world.healthy()) == desired, lambda made: None)
    world.deploy()
    for _ in range(steps):
        world.step()
        world.pass_time(10.0)
    body = {**world.service.body, "deploymentConfiguration": {"strategy": "ROLLING"}}
    world.service = replace(world.service, body=body)
    world.deploy()
    world.until(lambda: done(world), lambda made: None)
    (group,) = {t.group_arn for t in world.targets.values()}
    for weights in world.weights.values():
        assert weights.groups[weights.percent == 100.0] == group and weights.percent in (0.0, 100.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(("STOP_REQUESTED", "ROLLBACK_REQUESTED")), st.integers(1, 30))
def test_a_deployment_that_is_stopped_before_it_begins_leaves_no_traffic_half_way(
    seed: int, asked: str, steps: int
) -> None:
    linear = {"stepPercent": 25.0, "stepBakeTimeInMinutes": 1}
    world = World(random.Random(seed), {"strategy": "LINEAR", "linearConfiguration": linear}, 2, True)
    world.until(lambda: done(world), lambda made: None)
    world.deploy()
    for _ in range(steps):
        world.step()
        world.pass_time(10.0)
    if world.process.status != "IN_PROGRESS":
        return
    world.deploy()
    world.processes[world.process.arn] = replace(world.process, status=asked)
    world.step()
    for weights in world.weights.values():
        assert weights.groups[weights.percent == 100.0] == BLUE and weights.percent in (0.0, 100.0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 5),
    st.sampled_from(("BLUE_GREEN", "LINEAR", "CANARY")),
    st.floats(0, 0.05),
)
def test_shifting_deployments_end_and_blue_serves_until_green_does(
    seed: int, desired: int, strategy: str, dies: float
) -> None:
    shape: dict[str, Any] = {"linearConfiguration": {"stepPercent": 25.0, "stepBakeTimeInMinutes": 1}}
    world = World(random.Random(seed), {"strategy": strategy, "bakeTimeInMinutes": 1, **shape}, desired, True)
    world.until(lambda: done(world), lambda made: None)
    assert {t.group_arn for t in world.targets.values()} == {BLUE}
    for group in (GREEN, BLUE):
        world.dies = dies
        world.deploy()

        def check(made: Plan, group: str = group) -> None:
            weights = world.weights[RULE]
            assert weights.groups[1] == group
            assert len(world.live()) <= 2 * desired
            there = {t.group_arn for t in world.targets.values() if t.state != "draining"}
            if not dies:  # whoever gets traffic is there
                assert weights.percent == 100 or weights.groups[0] in there
                assert weights.percent == 0 or group in there

        for _ in range(40):
            check(world.step())
            world.pass_time(1.0)
        world.dies = 0.0
        world.until(lambda: done(world), check)
        assert world.weights[RULE].percent == 100
        assert {t.group_arn for t in world.targets.values() if t.state != "draining"} == {group}
        assert world.process.status == "SUCCESSFUL"
    rests(world)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 5),
    st.sampled_from(("BLUE_GREEN", "LINEAR", "CANARY")),
    st.integers(0, 30),
    st.booleans(),
)
def test_a_shift_whose_listeners_go_is_rolled_back_or_was_over(
    seed: int, desired: int, strategy: str, steps: int, there: bool
) -> None:
    shape: dict[str, Any] = {"linearConfiguration": {"stepPercent": 25.0, "stepBakeTimeInMinutes": 1}}
    world = World(random.Random(seed), {"strategy": strategy, "bakeTimeInMinutes": 1, **shape}, desired, True)
    world.until(lambda: done(world), lambda made: None)
    first, serving = world.service.deployments[0].id, {t.arn for t in world.live()}
    world.deploy()
    for _ in range(steps):
        world.step()
        world.pass_time(10.0)
    over = world.process.stage == "CLEAN_UP"
    world.there = there
    world.lose(RULE, TEST_RULE)
    world.until(lambda: done(world), lambda made: None)
    assert world.process.status == ("SUCCESSFUL" if over else "ROLLBACK_SUCCESSFUL")
    if not over:
        said = "Target group {} is not associated with the" if there else "The"
        said = f"{said.format(GREEN)} productionListenerRule {RULE}{'.' if there else ' does not exist.'}"
        assert said in world.process.status_reason
        assert any("deployment failed" in m and RULE in m for m in world.messages)
        assert world.service.deployments[0].id == first
        assert {t.arn for t in world.live()} == serving, "what served runs on"


@settings(max_examples=60, deadline=None)
@given(WORLDS, st.integers(0, 8), st.integers(0, 20))
def test_an_interrupted_and_rescaled_deployment_comes_to_rest(world: World, desired: int, steps: int) -> None:
    world.until(lambda: done(world), Watched(world))
    for broken in (False, True, False):
        world.deploy(broken=broken)
        for _ in range(steps):
            world.step()
            world.pass_time(1.0)
    world.service = replace(world.service, desired_count=desired)
    world.until(lambda: done(world), lambda made: None)
    rests(world)


def test_a_deleted_service_stops_all_and_is_gone() -> None:
    world = World(random.Random(1), {}, 4, True)
    world.until(lambda: done(world), Watched(world))
    world.service = replace(world.service, status="DRAINING", desired_count=0)
    world.until(lambda: world.service.status == "INACTIVE", lambda made: None)
    assert not world.live() and not world.targets
    assert world.service.deployments == ()
    assert world.service.inactive_at is not None


def test_the_breaker_trips_at_the_documented_count() -> None:
    for desired, expected in ((1, 3), (4, 3), (8, 4)):
        world = World(random.Random(2), BREAKER, desired)
        world.until(lambda world=world: done(world), Watched(world))
        world.deploy(broken=True)
        started = len(world.tasks)
        process = world.process.arn
        world.until(
            lambda world=world, process=process: world.processes[process].status == "ROLLBACK_SUCCESSFUL",
            Watched(world),
        )
        ended = [t for t in list(world.tasks.values())[started:] if t.stop_code == "EssentialContainerExited"]
        assert len(ended) >= expected
        failed = world.processes[process]
        assert failed.breaker_threshold == expected
        assert expected <= failed.breaker_failures < expected + desired
