"""By what a service's task is healthy, or has failed its checks."""

import pytest

from neargate.model.balancer import Target
from neargate.model.deployments.health import CONTAINERS, Checks, Verdict, checked, judge
from neargate.model.task import Container, Task

STARTED = 1000.0
GROUP, OTHER = "arn:group", "arn:other"


def task(health: str = "UNKNOWN", status: str = "RUNNING") -> Task:
    container = Container(name="web", arn="arn:c", image="i", runtime_id="r", health=health)
    side = Container(name="side", arn="arn:s", image="i", runtime_id="s")
    return Task(
        account="0",
        region="r",
        arn="arn:t",
        id="t",
        cluster_arn="c",
        definition_arn="d",
        family="f",
        revision=1,
        last_status=status,
        desired_status="RUNNING",
        cpu="256",
        memory="512",
        containers=(container, side),
        started_at=STARTED if status == "RUNNING" else None,
    )


def target(state: str, group: str = GROUP) -> Target:
    return Target(account="0", region="r", group_arn=group, address="10.0.0.1", port=80, state=state)


def test_without_any_check_it_is_healthy_after_it_ran_for_a_while() -> None:
    assert judge(task(), Checks(), [], STARTED + 39.9) == Verdict(again_at=STARTED + 40)
    assert judge(task(), Checks(), [], STARTED + 40) == Verdict(healthy=True)
    assert judge(task(status="PENDING"), Checks(), [], STARTED + 100) == Verdict()


BOTH = Checks(containers=frozenset(("web",)), groups=(GROUP,))


@pytest.mark.parametrize(
    ("checks", "health", "states", "expected"),
    [
        (Checks(groups=(GROUP,)), "UNKNOWN", ["healthy"], Verdict(healthy=True)),
        (Checks(groups=(GROUP,)), "UNKNOWN", ["initial"], Verdict()),
        (Checks(groups=(GROUP,)), "UNKNOWN", [], Verdict()),
        (Checks(groups=(GROUP,)), "UNKNOWN", ["unhealthy"], Verdict(bad=GROUP)),
        (Checks(groups=(GROUP,)), "UNKNOWN", ["draining"], Verdict()),
        (Checks(containers=frozenset(("web",))), "UNKNOWN", [], Verdict()),
        (Checks(containers=frozenset(("web",))), "HEALTHY", [], Verdict(healthy=True)),
        (Checks(containers=frozenset(("web",))), "UNHEALTHY", [], Verdict(bad=CONTAINERS)),
        (BOTH, "HEALTHY", ["healthy"], Verdict(healthy=True)),
        (BOTH, "HEALTHY", ["initial"], Verdict()),
        (BOTH, "UNKNOWN", ["healthy"], Verdict()),
        (BOTH, "HEALTHY", ["unhealthy"], Verdict(bad=GROUP)),
        (BOTH, "UNHEALTHY", ["unhealthy"], Verdict(bad=CONTAINERS)),
    ],
)
def test_what_is_checked_tells(checks: Checks, health: str, states: list[str], expected: Verdict) -> None:
    found = judge(task(health), checks, [target(state) for state in states], STARTED + 1000)
    assert found == expected


def test_in_two_groups_it_is_healthy_only_in_both() -> None:
    checks = Checks(groups=(GROUP, OTHER))
    assert not judge(task(), checks, [target("healthy")], STARTED).healthy
    both = [target("healthy"), target("healthy", OTHER)]
    assert judge(task(), checks, both, STARTED).healthy
    assert judge(task(), checks, [both[0], target("unhealthy", OTHER)], STARTED).bad == OTHER


def test_in_its_grace_period_nothing_counts_against_it() -> None:
    checks = Checks(containers=frozenset(("web",)), groups=(GROUP,), grace=60)
    for health, state in (("UNHEALTHY", "healthy"), ("HEALTHY", "unhealthy")):
        early = judge(task(health), checks, [target(state)], STARTED + 59)
        assert early == Verdict(again_at=STARTED + 60)
        assert judge(task(health), checks, [target(state)], STARTED + 60).bad
    assert judge(task("HEALTHY"), checks, [target("healthy")], STARTED).healthy


def test_only_essential_containers_with_a_check_are_asked() -> None:
    check = {"command": ["CMD", "true"]}
    body = {
        "containerDefinitions": [
            {"name": "web", "essential": True, "healthCheck": check},
            {"name": "side", "essential": False, "healthCheck": check},
            {"name": "plain", "essential": True},
        ]
    }
    assert checked(body) == {"web"}


def test_a_task_that_began_before_the_clock_was_set_back_has_run_for_a_while() -> None:
    before = STARTED - 3600
    assert judge(task(), Checks(), [], before) == Verdict(healthy=True)
    grace = Checks(groups=(GROUP,), grace=300)
    assert judge(task(), grace, [target("unhealthy")], before) == Verdict(bad=GROUP)
