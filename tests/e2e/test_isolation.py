"""`auto` with a real daemon: a kernel per task, a demand by a tag, and what is there after a crash."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Stack
from tests.support.images import busybox_image
from tests.support.real import RealDaemon, assert_nothing_left, eventually


@pytest.fixture(scope="module")
def strong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A daemon that was told nothing about isolation."""
    work = tmp_path_factory.mktemp("isolation")
    with RealDaemon(work / "data", NEARGATE_ISOLATION="auto") as daemon:
        image = daemon.push(busybox_image(work / "image"), "busybox")
        daemon.client("logs").create_log_group(logGroupName="/e2e")
        daemon.client("ecs").create_cluster(clusterName="e2e")
        yield Stack(daemon, image)
    assert_nothing_left(work / "data")


def tier(stack: Stack, arn: str) -> str:
    shown = {a["name"]: a["value"] for a in stack.describe(arn)["attributes"]}
    return shown["neargate.isolation"]


def test_auto_gives_a_task_a_kernel_of_its_own(strong: Stack) -> None:
    scratch = [{"sourceVolume": "scratch", "containerPath": "/scratch"}]
    setup = strong.container("cat /proc/version > /scratch/it", "setup", essential=False, mountPoints=scratch)
    main = strong.container(
        "cat /scratch/it; wget -qO- http://127.0.0.1:8080/page; exit 5",
        mountPoints=scratch,
        dependsOn=[
            {"containerName": "setup", "condition": "SUCCESS"},
            {"containerName": "web", "condition": "HEALTHY"},
        ],
    )
    check = {"command": ["CMD-SHELL", "wget -qO /dev/null http://127.0.0.1:8080/page"], "interval": 5}
    web = strong.container("echo hello > /tmp/page; exec httpd -f -p 8080 -h /tmp", "web", healthCheck=check)
    task, containers = strong.finished(setup, main, web, volumes=[{"name": "scratch", "host": {}}])
    assert (containers["main"]["exitCode"], containers["setup"]["exitCode"]) == (5, 0)
    version, page = strong.lines(task["taskArn"])
    assert page == "hello"
    with open("/proc/version") as host:  # noqa: PTH123
        assert version != host.read().strip()
    assert tier(strong, task["taskArn"]) == strong.daemon.info["isolation"] in ("gvisor", "microvm")


def test_a_demand_by_tag(strong: Stack) -> None:
    arn = strong.run(strong.container("sleep 600"), tags=[{"key": "neargate.isolation", "value": "process"}])
    strong.wait(arn, "RUNNING")
    assert tier(strong, arn) == "process"
    strong.stop(arn)
    definition = strong.describe(arn)["taskDefinitionArn"]
    answer = strong.ecs.run_task(
        cluster="e2e",
        taskDefinition=definition,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": strong.subnets}},
        tags=[{"key": "neargate.isolation", "value": "bare-metal"}],
    )
    assert answer["tasks"] == []
    assert [f["reason"] for f in answer["failures"]] == ["ATTRIBUTE"]
    assert "bare-metal" in answer["failures"][0]["detail"]


def test_a_sandbox_outlives_its_daemon(strong: Stack) -> None:
    script = "trap 'echo bye; exit 4' TERM; i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done"
    arn = strong.run(strong.container(script, stopTimeout=60))
    strong.wait(arn, "RUNNING")
    strong.daemon.kill()
    strong.daemon.up()
    before = len(strong.lines(arn))
    eventually(lambda: len(strong.lines(arn)) > before, "it writes on")
    assert tier(strong, arn) == strong.daemon.info["isolation"]
    task = strong.stop(arn)
    assert task["containers"][0]["exitCode"] == 4
    written = strong.lines(arn)
    assert written == [*(str(n) for n in range(len(written) - 1)), "bye"]
