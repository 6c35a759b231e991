"""A demand for an isolation tier, by tags: met, or a failure; never another tier."""

from typing import Any

import pytest

from neargate.model.isolation import TAG
from neargate.model.placement import NO_TIER
from neargate.state.catalog import TASK
from tests.support.ecs import SCOPE, Ecs, definition

CLUSTER = SCOPE.arn("ecs", "cluster/default")


def tag(tier: str) -> list[dict[str, str]]:
    return [{"key": TAG, "value": tier}]


async def prepare(ecs: Ecs, *, cluster: str = "", family: str = "") -> None:
    await ecs.create_cluster(**({"tags": tag(cluster)} if cluster else {}))
    await ecs.register_task_definition(**definition(), **({"tags": tag(family)} if family else {}))


def shown(task: dict[str, Any]) -> dict[str, str]:
    return {a["name"]: a["value"] for a in task["attributes"]}


@pytest.mark.parametrize(
    ("demands", "tags", "tier"),
    [
        ({}, "", "process"),
        ({}, "gvisor", "gvisor"),
        ({"family": "gvisor"}, "", "gvisor"),
        ({"cluster": "gvisor"}, "process", "gvisor"),
    ],
)
async def test_a_demand_that_can_be_met(ecs: Ecs, demands: dict[str, str], tags: str, tier: str) -> None:
    await ecs.add_node(tiers=("process", "gvisor"))
    await prepare(ecs, **demands)
    (arn,) = [t["taskArn"] for t in (await ecs.run(**({"tags": tag(tags)} if tags else {})))["tasks"]]
    await ecs.settle()
    assert shown(await ecs.task(arn))[TAG] == tier
    (task,) = await ecs.store.read(lambda tx: tx.all(TASK))
    assert task.isolation == tier


@pytest.mark.parametrize(("demands", "tags"), [({}, "microvm"), ({"cluster": "gvisor"}, ""), ({}, "docker")])
async def test_a_demand_that_cannot_be_met(ecs: Ecs, demands: dict[str, str], tags: str) -> None:
    await ecs.add_node(tiers=("process",))
    await prepare(ecs, **demands)
    answer = await ecs.run(count=2, **({"tags": tag(tags)} if tags else {}))
    detail = NO_TIER.format(tags or "gvisor")
    assert answer["tasks"] == []
    assert answer["failures"] == [{"arn": CLUSTER, "reason": "ATTRIBUTE", "detail": detail}] * 2


async def test_a_task_that_waited_for_a_node_is_stopped_if_that_lacks_the_tier(ecs: Ecs) -> None:
    await prepare(ecs, family="microvm")
    (arn,) = [t["taskArn"] for t in (await ecs.run())["tasks"]]
    await ecs.add_node(tiers=("gvisor", "process"))
    await ecs.settle()
    task = await ecs.task(arn)
    assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "TaskFailedToStart")
    assert task["stoppedReason"] == NO_TIER.format("microvm")
    assert TAG not in shown(task)
