"""The task's state machine: the table of legal ways, and what must hold whatever a node reports."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from neargate.model import lifecycle
from neargate.model.lifecycle import (
    LEGAL,
    ORDER,
    RANK,
    IllegalTransition,
    advance,
    end_unplaced,
    request_stop,
)
from neargate.model.sandbox import ContainerStatus, Failure, Phase, SandboxStatus
from neargate.model.task import Container, Task

T0 = 1_800_000_000.0
TASK_ID = "0" * 32


def container(name: str, essential: bool = True, **fields: object) -> Container:
    base = Container(name=name, arn=f"arn:{name}", image="i", runtime_id=f"{TASK_ID}-1", essential=essential)
    return replace(base, **fields)


def task(**fields: object) -> Task:
    base = Task(
        account="000000000000",
        region="us-east-1",
        arn=f"arn:aws:ecs:us-east-1:000000000000:task/c/{TASK_ID}",
        id=TASK_ID,
        cluster_arn="arn:aws:ecs:us-east-1:000000000000:cluster/c",
        definition_arn="arn:d",
        family="f",
        revision=1,
        last_status="PROVISIONING",
        desired_status="RUNNING",
        cpu="256",
        memory="512",
        containers=(container("web"), container("side", essential=False)),
        node="n1",
        attachment_status="ATTACHING",
        created_at=T0,
    )
    return replace(base, **fields)


def status(phase: Phase, sequence: int = 1, **fields: object) -> SandboxStatus:
    return replace(SandboxStatus(id=TASK_ID, sequence=sequence, phase=phase), **fields)


def test_every_status_has_its_legal_followers_and_only_stopped_has_none() -> None:
    assert set(LEGAL) == set(ORDER)
    assert [s for s in ORDER if not LEGAL[s]] == ["STOPPED"]
    for before, followers in LEGAL.items():
        assert all(RANK[after] > RANK[before] for after in followers)


@pytest.mark.parametrize(
    ("before", "after"),
    [("RUNNING", "PENDING"), ("PROVISIONING", "RUNNING"), ("STOPPED", "RUNNING"), ("RUNNING", "STOPPED")],
)
def test_illegal_transitions_raise(before: str, after: str) -> None:
    with pytest.raises(IllegalTransition, match=f"from {before} to {after}"):
        lifecycle.check_transition(before, after)


@pytest.mark.parametrize(
    ("before", "seen", "path"),
    [
        ("PROVISIONING", status("ACCEPTED"), ()),
        ("PROVISIONING", status("ATTACHED"), ("PENDING",)),
        ("PROVISIONING", status("RUNNING"), ("PENDING", "ACTIVATING", "RUNNING")),
        ("PENDING", status("PULLING"), ()),
        ("PENDING", status("STARTING"), ("ACTIVATING",)),
        ("RUNNING", status("STARTING"), ()),
        ("RUNNING", status("STOPPING"), ("DEACTIVATING", "STOPPING")),
        ("RUNNING", status("STOPPED"), ("DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED")),
        ("PROVISIONING", status("STOPPED"), ("DEPROVISIONING", "STOPPED")),
        ("PENDING", status("STOPPING"), ("DEPROVISIONING",)),
        (
            "PENDING",
            status("CLEANING", containers=(ContainerStatus(name="web", started_at=T0 + 1),)),
            ("ACTIVATING", "DEACTIVATING", "STOPPING", "DEPROVISIONING"),
        ),
        (
            "PROVISIONING",
            status("STOPPED", started_at=T0 + 1),
            ("PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"),
        ),
        ("STOPPING", status("RUNNING"), ()),
    ],
)
def test_route(before: str, seen: SandboxStatus, path: tuple[str, ...]) -> None:
    assert lifecycle.route(before, seen) == path


def test_a_start_is_told_step_by_step() -> None:
    t = advance(task(), status("ATTACHED", 1, accepted_at=T0 + 0.1), T0 + 0.2)
    assert (t.last_status, t.attachment_status, t.connectivity) == ("PENDING", "ATTACHED", "CONNECTED")
    assert t.connectivity_at == T0 + 0.1
    t = advance(t, status("PULLING", 2, pull_started_at=T0 + 1), T0 + 1)
    assert (t.last_status, t.pull_started_at, t.pull_stopped_at) == ("PENDING", T0 + 1, None)
    running = status(
        "RUNNING",
        3,
        pull_started_at=T0 + 1,
        pull_stopped_at=T0 + 2,
        started_at=T0 + 3,
        containers=(
            ContainerStatus(name="web", phase="RUNNING", image_digest="sha256:1", health="HEALTHY"),
            ContainerStatus(name="side", phase="CREATED"),
        ),
    )
    t = advance(t, running, T0 + 4)
    assert (t.last_status, t.started_at, t.pull_stopped_at) == ("RUNNING", T0 + 3, T0 + 2)
    assert [(c.last_status, c.image_digest) for c in t.containers] == [
        ("RUNNING", "sha256:1"),
        ("PENDING", None),
    ]
    assert (t.health, t.version, t.sandbox_sequence) == ("HEALTHY", 4, 3)


def test_an_essential_container_ends_the_task() -> None:
    running = task(last_status="RUNNING", started_at=T0 + 3)
    gone = (
        ContainerStatus(name="web", phase="STOPPED", exit_code=3, started_at=T0 + 3, stopped_at=T0 + 9),
        ContainerStatus(name="side", phase="STOPPED", exit_code=143),
    )
    t = advance(running, status("STOPPED", 5, containers=gone, execution_stopped_at=T0 + 9), T0 + 11)
    assert (t.last_status, t.desired_status, t.attachment_status) == ("STOPPED", "STOPPED", "DELETED")
    assert (t.stop_code, t.stopped_reason) == (
        "EssentialContainerExited",
        "Essential container in task exited",
    )
    assert [c.exit_code for c in t.containers] == [3, 143]
    assert (t.execution_stopped_at, t.stopped_at) == (T0 + 9, T0 + 11)


def test_a_failed_start_says_why_and_its_containers_are_stopped() -> None:
    failure = Failure(code="TaskFailedToStart", reason="CannotPullContainerError: no such image")
    seen = status(
        "STOPPED",
        2,
        failure=failure,
        pull_started_at=T0 + 1,
        containers=(ContainerStatus(name="web", reason="CannotPullContainerError: no such image"),),
    )
    t = advance(task(), seen, T0 + 2)
    assert (t.stop_code, t.stopped_reason) == (failure.code, failure.reason)
    assert t.started_at is None
    assert {c.last_status for c in t.containers} == {"STOPPED"}
    assert t.containers[0].reason == failure.reason
    assert t.containers[0].exit_code is None


def test_the_first_stop_reason_stays() -> None:
    t = request_stop(task(last_status="RUNNING", started_at=T0 + 1), "UserInitiated", "", T0 + 5)
    assert (t.stop_code, t.stopped_reason, t.stopping_at) == ("UserInitiated", "Task stopped by user", T0 + 5)
    assert request_stop(t, "SpotInterruption", "", T0 + 6) is t
    t = advance(t, status("STOPPED", 9, stopped_at=T0 + 7, failure=None), T0 + 8)
    assert (t.stop_code, t.stopping_at, t.stopped_at) == ("UserInitiated", T0 + 5, T0 + 7)


def test_a_task_without_a_node_ends_at_once_and_one_with_a_node_does_not() -> None:
    t = end_unplaced(request_stop(task(node=""), "UserInitiated", "enough", T0 + 5), T0 + 6)
    assert (t.last_status, t.stopped_reason, t.stopped_at) == ("STOPPED", "enough", T0 + 6)
    with pytest.raises(IllegalTransition, match="on node n1"):
        end_unplaced(task(), T0)


def test_old_observations_and_those_of_a_stopped_task_change_nothing() -> None:
    t = advance(task(), status("RUNNING", 7, started_at=T0 + 1), T0 + 1)
    assert advance(t, status("STOPPED", 7), T0 + 2) is t
    assert advance(t, status("STOPPED", 6), T0 + 2) is t
    t = advance(t, status("STOPPED", 8), T0 + 2)
    assert advance(t, status("RUNNING", 9), T0 + 3) is t


def test_an_observation_without_news_does_not_count_as_a_version() -> None:
    t = advance(task(), status("RUNNING", 1, started_at=T0 + 1), T0 + 1)
    again = advance(t, status("RUNNING", 2, started_at=T0 + 1), T0 + 9)
    assert again.version == t.version
    assert again.sandbox_sequence == 2


@pytest.mark.parametrize(
    ("essential", "other", "health"),
    [
        (["HEALTHY"], "UNHEALTHY", "HEALTHY"),
        (["HEALTHY", "UNKNOWN"], "HEALTHY", "UNKNOWN"),
        (["UNHEALTHY", "UNKNOWN"], "HEALTHY", "UNHEALTHY"),
        (["UNKNOWN"], "HEALTHY", "UNKNOWN"),
    ],
)
def test_task_health(essential: list[str], other: str, health: str) -> None:
    containers = [container(f"c{i}", health=h) for i, h in enumerate(essential)]
    assert lifecycle.task_health([*containers, container("x", False, health=other)]) == health


moments = st.none() | st.floats(min_value=T0 - 50, max_value=T0 + 500)
container_statuses = st.builds(
    ContainerStatus,
    name=st.sampled_from(["web", "side", "stranger"]),
    phase=st.sampled_from(["PENDING", "CREATED", "RUNNING", "STOPPED"]),
    exit_code=st.none() | st.integers(0, 255),
    health=st.sampled_from(["UNKNOWN", "HEALTHY", "UNHEALTHY"]),
    started_at=moments,
    restarts=st.integers(0, 3),
)
statuses = st.builds(
    SandboxStatus,
    id=st.just(TASK_ID),
    sequence=st.integers(0, 12),
    phase=st.sampled_from(get_args(Phase)),
    containers=st.lists(container_statuses, max_size=3).map(tuple),
    accepted_at=moments,
    pull_started_at=moments,
    pull_stopped_at=moments,
    started_at=moments,
    stopping_at=moments,
    execution_stopped_at=moments,
    stopped_at=moments,
    failure=st.none() | st.just(Failure(code="TaskFailedToStart", reason="x")),
)
begins = ("pull_started_at", "pull_stopped_at", "started_at")
ends = ("stopping_at", "execution_stopped_at")


@settings(max_examples=60, deadline=None)
@given(st.lists(statuses, max_size=10), st.none() | st.integers(0, 9))
def test_whatever_is_reported_a_task_goes_forward(
    seen: list[SandboxStatus], stopped_at_step: int | None
) -> None:
    t = task()
    for step, observed in enumerate(seen):
        now = T0 + step
        if step == stopped_at_step:
            t = request_stop(t, "UserInitiated", "", now)
        before, t = t, advance(t, observed, now)
        assert RANK[t.last_status] >= RANK[before.last_status]
        assert t.version in (before.version, before.version + 1)
        assert advance(t, observed, now + 1) is t, "idempotent"
        for name in (*begins, *ends, "stopped_at"):
            was = getattr(before, name)
            assert was is None or getattr(t, name) == was, f"{name} is set once"
        if t.last_status == "STOPPED":
            assert t.desired_status == "STOPPED"
            assert t.stop_code is not None
            assert t.stopped_reason
            assert t.stopped_at is not None
            assert all(c.last_status == "STOPPED" for c in t.containers)
        started = [t.created_at, *(v for n in begins if (v := getattr(t, n)) is not None)]
        assert started == sorted(started)
        for end in (v for n in ends if (v := getattr(t, n)) is not None):
            assert end >= started[-1]
            assert t.stopped_at is None or end <= t.stopped_at


PHASES: tuple[Phase, ...] = (
    "ACCEPTED",
    "ATTACHED",
    "PULLING",
    "STARTING",
    "RUNNING",
    "STOPPING",
    "CLEANING",
    "STOPPED",
)
STEPS = (
    "accepted_at",
    None,
    "pull_started_at",
    "pull_stopped_at",
    "started_at",
    "stopping_at",
    None,
    "stopped_at",
)


def told() -> list[SandboxStatus]:
    """A whole life, as a node tells it: each report holds all that is known by then."""
    known: dict[str, float] = {}
    reports = []
    for step, (phase, moment) in enumerate(zip(PHASES, STEPS, strict=True)):
        if moment is not None:
            known[moment] = T0 + step
        reports.append(status(phase, step, **known))
    return reports


@given(st.lists(st.integers(0, 7), max_size=20), st.sets(st.integers(0, 6)))
def test_reports_that_come_twice_late_or_never_make_no_difference_in_the_end(
    noise: list[int], lost: set[int]
) -> None:
    reports = told()
    whole = task()
    for report in reports:
        whole = advance(whole, report, T0 + 100)
    t = task()
    latest = -1
    for number in [*noise, *(n for n in range(8) if n not in lost)]:
        before, t = t, advance(t, reports[number], T0 + 100)
        if number <= latest:
            assert t is before, "older than the last one applied"
        latest = max(latest, number)
    assert t.last_status == "STOPPED"
    assert replace(t, version=0) == replace(whole, version=0)
    assert t.version <= whole.version


@given(st.permutations(range(8)))
def test_a_status_never_goes_back_in_whatever_order_reports_come(order: list[int]) -> None:
    reports, t = told(), task()
    for number in order:
        before, t = t, advance(t, reports[number], T0 + 100)
        assert RANK[t.last_status] >= RANK[before.last_status]
    assert t.last_status == "STOPPED"
