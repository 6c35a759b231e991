"""Fargate tasks for real: what containers see, how they depend on each other, how they end."""

import subprocess
import time

from tests.e2e.conftest import Stack
from tests.support.real import eventually


def test_exit_code_reason_and_lines(stack: Stack) -> None:
    task, containers = stack.finished(stack.container("echo out; echo err >&2; printf tail; exit 3"))
    assert task["stopCode"] == "EssentialContainerExited"
    assert task["stoppedReason"] == "Essential container in task exited"
    assert containers["main"]["exitCode"] == 3
    assert sorted(stack.lines(task["taskArn"])) == ["err", "out", "tail"]
    moments = [
        task[name]
        for name in ("createdAt", "pullStartedAt", "pullStoppedAt", "startedAt", "stoppingAt", "stoppedAt")
    ]
    assert moments == sorted(moments)


def test_a_running_task_as_describe_tasks_shows_it(stack: Stack) -> None:
    check = {"command": ["CMD-SHELL", "true"], "interval": 5}
    arn = stack.run(stack.container("httpd -f -p 80 -h /", healthCheck=check))
    task = stack.wait(arn, "RUNNING")
    details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    assert task["attachments"][0]["type"] == "ElasticNetworkInterface"
    assert task["attachments"][0]["status"] == "ATTACHED"
    assert list(details) == [
        "subnetId",
        "networkInterfaceId",
        "macAddress",
        "privateDnsName",
        "privateIPv4Address",
    ]
    interfaces = stack.daemon.client("ec2").describe_network_interfaces(
        NetworkInterfaceIds=[details["networkInterfaceId"]]
    )["NetworkInterfaces"]
    assert interfaces[0]["PrivateIpAddress"] == details["privateIPv4Address"]
    container = task["containers"][0]
    assert container["runtimeId"].startswith(arn.rsplit("/", 1)[1] + "-")
    assert container["imageDigest"].startswith("sha256:")
    assert {"name": "neargate.isolation", "value": "process"} in task["attributes"]
    stack.ecs.get_waiter("tasks_running").wait(cluster="e2e", tasks=[arn])
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--retry", "10", "--retry-connrefused", "--retry-delay", "1",
         f"http://{stack.address(task)}/etc/hostname"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stopped = stack.stop(arn)
    assert (stopped["stopCode"], stopped["stoppedReason"]) == ("UserInitiated", "Task stopped by user")
    left = stack.daemon.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    assert details["networkInterfaceId"] not in {interface["NetworkInterfaceId"] for interface in left}


def test_containers_share_localhost_and_order_by_depends_on(stack: Stack) -> None:
    task, containers = stack.finished(
        stack.container("echo made > /scratch/file", "setup", essential=False,
                        mountPoints=[{"sourceVolume": "scratch", "containerPath": "/scratch"}]),
        stack.container("mkdir -p /www; echo hello > /www/index.html; httpd -f -p 8080 -h /www", "server",
                        essential=False,
                        healthCheck={"command": ["CMD-SHELL", "wget -qO- http://127.0.0.1:8080/ || exit 1"],
                                     "interval": 5, "startPeriod": 10},
                        dependsOn=[{"containerName": "setup", "condition": "SUCCESS"}]),
        stack.container("cat /scratch/file; wget -qO- http://127.0.0.1:8080/", "main",
                        mountPoints=[{"sourceVolume": "scratch", "containerPath": "/scratch",
                                      "readOnly": True}],
                        dependsOn=[{"containerName": "server", "condition": "HEALTHY"}]),
        volumes=[{"name": "scratch"}],
    )  # fmt: skip
    assert stack.lines(task["taskArn"]) == ["made", "hello"]
    assert containers["setup"]["exitCode"] == 0
    assert containers["main"]["exitCode"] == 0


def test_a_failed_dependency_stops_the_task(stack: Stack) -> None:
    task, containers = stack.finished(
        stack.container("exit 9", "setup", essential=False),
        stack.container("echo never", "main", dependsOn=[{"containerName": "setup", "condition": "SUCCESS"}]),
    )
    assert task["stopCode"] == "TaskFailedToStart"
    assert containers["setup"]["exitCode"] == 9
    assert "exitCode" not in containers["main"]
    assert stack.lines(task["taskArn"]) == []


def test_stop_sends_sigterm_and_then_sigkill(stack: Stack) -> None:
    loop = "while true; do sleep 0.1; done"
    arn = stack.run(
        stack.container("trap 'echo bye; exit 5' TERM; echo up; " + loop, "polite", stopTimeout=60),
        stack.container("trap '' TERM; echo up; " + loop, "stubborn", stopTimeout=2),
    )
    stack.wait(arn, "RUNNING")
    for name in ("polite", "stubborn"):
        eventually(lambda name=name: stack.lines(arn, name) == ["up"], "its trap is set")
    began = time.monotonic()
    containers = {c["name"]: c for c in stack.stop(arn)["containers"]}
    assert (containers["polite"]["exitCode"], containers["stubborn"]["exitCode"]) == (5, 137)
    assert 1.5 < time.monotonic() - began < 45  # two seconds, and not the polite one's sixty
    assert stack.lines(arn, "polite") == ["up", "bye"]


def test_out_of_memory(stack: Stack) -> None:
    _, containers = stack.finished(stack.container("tail /dev/zero", memory=64))
    assert containers["main"]["exitCode"] == 137
    assert containers["main"]["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def test_what_a_container_sees(stack: Stack) -> None:
    script = (
        "id -u; id -g; pwd; echo $GREETING; ulimit -n; ulimit -Hn; touch /x 2>/dev/null || echo read-only;"
        " touch /tmp/y && echo tmpfs; cat /proc/sys/net/ipv4/tcp_keepalive_time; hostname | cut -c1-3"
    )
    task, _ = stack.finished(
        stack.container(
            script,
            user="1000:1001",
            workingDirectory="/var/work",
            environment=[{"name": "GREETING", "value": "hi there"}],
            ulimits=[{"name": "nofile", "softLimit": 1000, "hardLimit": 2000}],
            readonlyRootFilesystem=True,
            linuxParameters={"tmpfs": [{"containerPath": "/tmp", "size": 16}]},
            systemControls=[{"namespace": "net.ipv4.tcp_keepalive_time", "value": "777"}],
        )
    )
    lines = stack.lines(task["taskArn"])
    assert lines[:9] == ["1000", "1001", "/var/work", "hi there", "1000", "2000", "read-only", "tmpfs", "777"]
    assert lines[9] == "ip-"


def test_failures_to_start_say_why(stack: Stack) -> None:
    missing = stack.image.replace("busybox:latest", "busybox:nosuch")
    task, _ = stack.finished(stack.container(image=missing))
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("CannotPullContainerError: ")
    assert "exitCode" not in task["containers"][0]

    task, containers = stack.finished(stack.container(entryPoint=["/nosuch"]))
    assert task["stopCode"] == "TaskFailedToStart"
    assert containers["main"]["reason"].startswith("CannotStartContainerError: ")

    container = stack.container()
    container["logConfiguration"]["options"]["awslogs-group"] = "/nosuch"
    task, _ = stack.finished(container)
    assert task["stoppedReason"].startswith("ResourceInitializationError: ")
    assert "/nosuch" in task["stoppedReason"] or "log group does not exist" in task["stoppedReason"]


def test_overrides(stack: Stack) -> None:
    definition = stack.describe(stack.run(stack.container("echo original")))["taskDefinitionArn"]
    arn = stack.run_definition(
        definition,
        overrides={
            "containerOverrides": [
                {
                    "name": "main",
                    "command": ["echo $WHAT"],
                    "environment": [{"name": "WHAT", "value": "changed"}],
                }
            ]
        },
    )
    stack.wait(arn, "STOPPED")
    assert stack.lines(arn) == ["changed"]


def test_ten_tasks_at_once_each_with_its_own_address(stack: Stack) -> None:
    definition = stack.describe(stack.run(stack.container("httpd -f -p 80")))["taskDefinitionArn"]
    answer = stack.ecs.run_task(
        cluster="e2e", taskDefinition=definition, launchType="FARGATE", count=10,
        networkConfiguration={"awsvpcConfiguration": {"subnets": stack.subnets}},
    )  # fmt: skip
    arns = [task["taskArn"] for task in answer["tasks"]]
    tasks = [stack.wait(arn, "RUNNING") for arn in arns]
    assert len({stack.address(task) for task in tasks}) == 10
    for arn in arns:
        stack.ecs.stop_task(cluster="e2e", task=arn)
    for arn in arns:
        stack.wait(arn, "STOPPED")
