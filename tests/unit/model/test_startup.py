"""What to start, when to give up and what to stop, by tables; and whole lives of random sandboxes."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.model.sandbox import ContainerSpec, Dependency, RestartPolicy
from neargate.model.startup import ESSENTIAL_EXITED, Seen, Step, next_step, restarts, to_stop, up

NOW = 1000.0
NEW = Seen()
STARTING = Seen(starting=True)
RUNNING = Seen(started=True, running=True, started_at=NOW - 50)
HEALTHY = Seen(started=True, running=True, started_at=NOW - 50, healthy=True)
DONE = Seen(started=True, exit_code=0, started_at=NOW - 50, ran=50.0)
BROKE = Seen(started=True, exit_code=1, started_at=NOW - 50, ran=50.0)
FAILED = Seen(failed="CannotStartContainerError: no such file")


def spec(name: str, **settings: Any) -> ContainerSpec:
    return ContainerSpec(name=name, image="i", runtime_id=f"{name}-1", **settings)


def pair(condition: str, **first: Any) -> tuple[ContainerSpec, ContainerSpec]:
    """`first`, not essential, and `main`, which depends on it."""
    dependency = Dependency(container="first", condition=condition)  # type: ignore[arg-type]
    return spec("first", essential=False, **first), spec("main", depends_on=(dependency,))


@pytest.mark.parametrize(
    ("condition", "first", "starts"),
    [
        ("START", NEW, ("first",)),
        ("START", STARTING, ()),
        ("START", RUNNING, ("main",)),
        ("START", BROKE, ("main",)),
        ("COMPLETE", RUNNING, ()),
        ("COMPLETE", BROKE, ("main",)),
        ("SUCCESS", RUNNING, ()),
        ("SUCCESS", DONE, ("main",)),
        ("HEALTHY", RUNNING, ()),
        ("HEALTHY", HEALTHY, ("main",)),
    ],
)
def test_conditions(condition: str, first: Seen, starts: tuple[str, ...]) -> None:
    step = next_step(pair(condition), {"first": first, "main": NEW}, NOW)
    assert (step.start, step.end) == (starts, None)


@pytest.mark.parametrize(
    ("condition", "first", "reason"),
    [
        ("SUCCESS", BROKE, "[first] for target [main] as dependency did not exit successfully."),
        ("HEALTHY", DONE, "[first] for target [main] as it has stopped."),
        ("START", FAILED, "[first] for target [main] because dependency will never start"),
        ("COMPLETE", FAILED, "[first] for target [main] because dependency will never start"),
    ],
)
def test_what_cannot_come_any_more_ends_the_sandbox(condition: str, first: Seen, reason: str) -> None:
    step = next_step(pair(condition), {"first": first, "main": NEW}, NOW)
    assert step.end is not None and step.end.code == "TaskFailedToStart"
    assert step.end.reason == f"dependency graph: failed to resolve container ordering dependency {reason}"


@pytest.mark.parametrize("condition", ["COMPLETE", "SUCCESS", "HEALTHY"])
def test_start_timeout_is_the_dependencys_and_counts_from_its_start(condition: str) -> None:
    containers = pair(condition, start_timeout=60.0)
    seen = {"first": RUNNING, "main": NEW}
    assert next_step(containers, seen, NOW) == Step(wake_at=NOW + 10)
    late = next_step(containers, seen, NOW + 10)
    assert late.end is not None and late.end.reason == (
        "dependency graph: container ordering dependency [first] for target [main] has timed out."
    )


def test_start_has_no_timeout() -> None:
    assert next_step(pair("START", start_timeout=1.0), {"first": STARTING, "main": NEW}, NOW) == Step()


def test_volumes_from_orders_like_start() -> None:
    containers = (spec("main", volumes_from=(("data", True),)), spec("data"))
    assert next_step(containers, {"main": NEW, "data": NEW}, NOW).start == ("data",)
    assert next_step(containers, {"main": NEW, "data": RUNNING}, NOW).start == ("main",)


def test_containers_that_wait_for_each_other_end_the_sandbox() -> None:
    containers = (
        spec("a", depends_on=(Dependency(container="b", condition="START"),)),
        spec("b", depends_on=(Dependency(container="a", condition="START"),)),
    )
    end = next_step(containers, {"a": NEW, "b": NEW}, NOW).end
    assert end is not None and end.code == "TaskFailedToStart"


def test_an_essential_container_that_ended_ends_the_sandbox_whatever_waits() -> None:
    containers = (*pair("HEALTHY"), spec("other"))
    seen = {"first": RUNNING, "main": NEW, "other": DONE}
    assert next_step(containers, seen, NOW).end == ESSENTIAL_EXITED


def test_containers_that_cannot_be_started() -> None:
    containers = (spec("side", essential=False), spec("main"))
    assert next_step(containers, {"side": FAILED, "main": RUNNING}, NOW) == Step()
    assert up(containers, {"side": FAILED, "main": RUNNING})
    end = next_step(containers, {"side": RUNNING, "main": FAILED}, NOW).end
    assert end is not None and (end.code, end.reason) == ("TaskFailedToStart", FAILED.failed)
    assert not up(containers, {"side": RUNNING, "main": FAILED})


@pytest.mark.parametrize(
    ("policy", "code", "ran", "expected"),
    [
        (None, 1, 1e6, False),
        (RestartPolicy(), 1, 300.0, True),
        (RestartPolicy(), 0, 300.0, True),
        (RestartPolicy(), 1, 299.9, False),
        (RestartPolicy(attempt_period=60.0), 137, 60.0, True),
        (RestartPolicy(ignored_exit_codes=(0, 3)), 3, 1e6, False),
        (RestartPolicy(ignored_exit_codes=(0, 3)), 4, 1e6, True),
    ],
)
def test_restarts(policy: RestartPolicy | None, code: int, ran: float, expected: bool) -> None:
    assert restarts(policy, code, ran) is expected


def test_a_restarting_essential_container_does_not_end_the_sandbox() -> None:
    containers = (spec("main", restart=RestartPolicy(attempt_period=60.0)),)
    ran = Seen(started=True, exit_code=1, started_at=NOW, ran=61.0)
    assert next_step(containers, {"main": ran}, NOW) == Step(start=("main",))
    again = Seen(starting=True, started=True, exit_code=1, started_at=NOW, ran=61.0)
    assert next_step(containers, {"main": again}, NOW) == Step()
    gave_up = Seen(started=True, exit_code=1, started_at=NOW, ran=61.0, failed="CannotStartContainerError: x")
    assert next_step(containers, {"main": gave_up}, NOW).end == ESSENTIAL_EXITED


def test_a_dependency_that_is_being_restarted_is_not_complete() -> None:
    containers = pair("COMPLETE", restart=RestartPolicy(attempt_period=10.0))
    assert next_step(containers, {"first": BROKE, "main": NEW}, NOW).start == ("first",)


def test_stop_order_is_the_reverse() -> None:
    containers = (
        spec("db"),
        spec("web", depends_on=(Dependency(container="db", condition="HEALTHY"),)),
        spec("side", volumes_from=(("web", False),)),
        spec("alone"),
    )
    assert to_stop(containers, {"db", "web", "side", "alone"}) == ["side", "alone"]
    assert to_stop(containers, {"db", "web"}) == ["web"]
    assert to_stop(containers, {"db", "side"}) == ["db", "side"], "web has ended: nothing of side's needs db"
    assert to_stop(containers, {"db"}) == ["db"]
    assert to_stop(containers, set()) == []


# -- lives of random sandboxes ---------------------------------------------------------------------------


@st.composite
def sandboxes(draw: st.DrawFn) -> tuple[ContainerSpec, ...]:
    count = draw(st.integers(1, 6))
    specs = []
    for number in range(count):
        names = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        conditions = st.sampled_from(["START", "COMPLETE", "SUCCESS", "HEALTHY"])
        needs = tuple(
            Dependency(container=f"c{n}", condition=draw(conditions))  # type: ignore[arg-type]
            for n in sorted(names)
        )
        policy = draw(st.none() | st.just(RestartPolicy(attempt_period=5.0)))
        essential = number == count - 1 or draw(st.booleans())
        specs.append(spec(f"c{number}", depends_on=needs, essential=essential, restart=policy))
    return tuple(draw(st.permutations(specs)))


@settings(max_examples=300, deadline=None)
@given(sandboxes(), st.data())
def test_lives(containers: tuple[ContainerSpec, ...], data: st.DataObject) -> None:
    """Starting as told, with any luck of the containers, order is kept and the sandbox ends or stays up."""
    seen: dict[str, Seen] = {c.name: NEW for c in containers}
    specs = {c.name: c for c in containers}
    now = NOW
    for _ in range(60):
        step = next_step(containers, seen, now)
        if step.end is not None:
            return
        for name in step.start:
            assert not seen[name].running and not seen[name].failed
            if not seen[name].started:
                _check_conditions(specs[name], seen)
            ok = data.draw(st.booleans() | st.just(True))
            seen[name] = (
                Seen(started=True, running=True, started_at=now)
                if ok
                else Seen(started=seen[name].started, exit_code=seen[name].exit_code, failed="no")
            )
        if not step.start:
            if up(containers, seen) and not any(s.running for s in seen.values()):
                raise AssertionError(
                    "all have ended, an essential one among them, and nothing ends the sandbox"
                )
            now = _something_happens(seen, now, data) if any(s.running for s in seen.values()) else now + 200
    return


def _check_conditions(container: ContainerSpec, seen: Mapping[str, Seen]) -> None:
    for dependency in container.depends_on:
        this = seen[dependency.container]
        assert this.started
        if dependency.condition == "HEALTHY":
            assert this.running and this.healthy
        if dependency.condition in ("COMPLETE", "SUCCESS"):
            assert not this.running
        if dependency.condition == "SUCCESS":
            assert this.exit_code == 0


def _something_happens(seen: dict[str, Seen], now: float, data: st.DataObject) -> float:
    name = data.draw(st.sampled_from(sorted(n for n, s in seen.items() if s.running)))
    before = seen[name]
    passed = data.draw(st.sampled_from([0.5, 6.0, 200.0]))
    assert before.started_at is not None
    if data.draw(st.booleans()) and not before.healthy:
        seen[name] = Seen(started=True, running=True, started_at=before.started_at, healthy=True)
    else:
        code = data.draw(st.sampled_from([0, 1]))
        ran = now + passed - before.started_at
        seen[name] = Seen(started=True, exit_code=code, started_at=before.started_at, ran=ran)
    return now + passed
