"""What a task finds at 169.254.170.2: its metadata, its role's credentials, the AWS API; no other task's."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from neargate.node.network.endpoint import own_address
from tests.e2e.conftest import Stack
from tests.support.images import busybox_image
from tests.support.real import RealDaemon, assert_nothing_left, eventually

ROLE = "arn:aws:iam::000000000000:role/web"
CREDENTIALS = "wget -qO- http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
API = "http://169.254.170.2:4566"


def sts(daemon: RealDaemon, held: dict[str, str]) -> Any:
    return boto3.client(
        "sts",
        region_name="us-east-1",
        endpoint_url=daemon.endpoint,
        aws_access_key_id=held["AccessKeyId"],
        aws_secret_access_key=held["SecretAccessKey"],
        aws_session_token=held["Token"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def documents(stack: Stack, arn: str, count: int) -> list[Any]:
    """What a running task has logged, once it is as many lines."""
    lines = eventually(lambda: (found := stack.lines(arn))[count - 1 :] and found, f"{count} lines")
    return [json.loads(line) for line in lines]


def test_every_path_of_the_metadata(stack: Stack) -> None:
    paths = ("", "/task", "/taskWithTags", "/stats", "/task/stats")
    starts = """wget -qO- $ECS_CONTAINER_METADATA_URI_V4/task | grep -qE '"KnownStatus": ?"([^R]|RE)'"""
    script = (
        f"dd if=/dev/zero of=/dev/null bs=1M count=2000 2>/dev/null; while {starts}; do sleep 0.1; done\n"
    )
    script += "".join(f"wget -qO- $ECS_CONTAINER_METADATA_URI_V4{path}; echo\n" for path in paths)
    definition = stack.ecs.register_task_definition(
        family="metadata",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="512",
        memory="1024",
        executionRoleArn=ROLE,
        containerDefinitions=[
            stack.container(f"{script}\nsleep 600", memory=256, cpu=128),
            stack.container("sleep 600", "side", essential=False),
        ],
    )["taskDefinition"]["taskDefinitionArn"]
    arn = stack.run_definition(definition, tags=[{"key": "team", "value": "x"}])
    described = stack.wait(arn, "RUNNING")
    own, task, tagged, stats, both = documents(stack, arn, 5)
    containers = {c["name"]: c for c in described["containers"]}
    assert own["DockerId"] == containers["main"]["runtimeId"]
    assert own["ContainerARN"] == containers["main"]["containerArn"]
    assert own["ImageID"] == containers["main"]["imageDigest"]
    assert (own["KnownStatus"], own["Limits"]) == ("RUNNING", {"CPU": 128, "Memory": 256})
    assert own["LogOptions"]["awslogs-stream"] == f"t/main/{arn.rsplit('/', 1)[1]}"
    network = own["Networks"][0]
    details = {d["name"]: d["value"] for d in described["attachments"][0]["details"]}
    assert network["IPv4Addresses"] == [details["privateIPv4Address"]]
    assert (network["MACAddress"], network["PrivateDNSName"]) == (
        details["macAddress"],
        details["privateDnsName"],
    )
    assert (task["TaskARN"], task["Cluster"]) == (arn, described["clusterArn"])
    assert (task["Family"], task["Revision"], task["LaunchType"]) == ("metadata", "1", "FARGATE")
    assert (task["KnownStatus"], task["Limits"]) == ("RUNNING", {"CPU": 0.5, "Memory": 1024})
    assert task["AvailabilityZone"] == described["availabilityZone"]
    assert {c["Name"] for c in task["Containers"]} == {"main", "side"} and "TaskTags" not in task
    assert tagged["TaskTags"] == {"team": "x"}
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] > 10_000_000
    assert 0 < stats["memory_stats"]["usage"] <= stats["memory_stats"]["max_usage"] <= 256 * 1024**2
    assert stats["memory_stats"]["limit"] == 256 * 1024**2
    assert stats["memory_stats"]["stats"]["rss"] > 0 and stats["memory_stats"]["stats"]["total_pgfault"] > 0
    assert stats["networks"]["eth1"]["rx_bytes"] > 1000 and stats["networks"]["eth1"]["tx_bytes"] > 300
    assert set(both) == {c["runtimeId"] for c in containers.values()}
    assert both[own["DockerId"]]["preread"] == stats["read"]
    stack.ecs.stop_task(cluster="e2e", task=arn)


def test_credentials_of_the_role_are_the_tasks_alone_and_end_with_it(stack: Stack) -> None:
    first = stack.run(stack.container(f"{CREDENTIALS}; echo; sleep 600"), taskRoleArn=ROLE)
    stack.wait(first, "RUNNING")
    (held,) = documents(stack, first, 1)
    assert held["RoleArn"] == ROLE and held["AccessKeyId"].startswith("ASIA")
    client = sts(stack.daemon, held)
    id = first.rsplit("/", 1)[1]
    assert client.get_caller_identity()["Arn"] == f"arn:aws:sts::000000000000:assumed-role/web/{id}"

    runtime = stack.describe(first)["containers"][0]["runtimeId"]
    ask = "timeout 1 wget -qO- {} >/dev/null 2>&1 && echo got {} || echo denied"
    own = own_address(stack.daemon.info["settings"]["vpc_cidr"])
    listening = subprocess.run(["ss", "-Hltn", "src", own], capture_output=True, text=True, check=True)
    behind = [line.split()[3] for line in listening.stdout.splitlines()]
    assert len(behind) == 2
    forbidden = [
        f"http://169.254.170.2/v4/{runtime}",
        f"http://169.254.170.2/v4/{runtime}/task",
        f"http://169.254.170.2/api/{runtime}/task-protection/v1/state",
        *(f"http://{address}/" for address in behind),
        f"{API}/_neargate/health",
        f"{API}/v2/",
        f"{API}/?Action=GetCallerIdentity&Version=2011-06-15",
        "http://169.254.170.2:81/",
        "http://169.254.169.254/",
        f"http://127.0.0.1:{stack.daemon.port}/_neargate/health",
    ]
    signed = AWSRequest("GET", f"{API}/?Action=GetCallerIdentity&Version=2011-06-15")
    keys = Credentials(held["AccessKeyId"], held["SecretAccessKey"], held["Token"])
    SigV4QueryAuth(keys, "sts", "us-east-1", expires=600).add_auth(signed)
    lines = [ask.format(f"'{url}'", f"'{url}'") for url in forbidden]
    lines.append(f"wget -qO- '{signed.prepare().url}' | grep -o assumed-role/web/{id}")
    task, _ = stack.finished(stack.container("\n".join(lines)), taskRoleArn=ROLE)
    assert stack.lines(task["taskArn"]) == ["denied"] * len(forbidden) + [f"assumed-role/web/{id}"]

    stack.stop(first)
    with pytest.raises(ClientError) as caught:
        client.get_caller_identity()
    assert caught.value.response["Error"]["Code"] == "ExpiredToken"


def test_an_sdk_in_a_task_needs_no_configuration(stack: Stack) -> None:
    """boto3 in the task's network namespace, with a container's environment and nothing else."""
    arn = stack.run(stack.container("sleep 600"), taskRoleArn=ROLE)
    stack.wait(arn, "RUNNING")
    id = arn.rsplit("/", 1)[1]
    pid, environment = process_of(id)
    script = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", script],
        env={k: v for k, v in environment.items() if k.startswith(("AWS_", "ECS_"))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == f"arn:aws:sts::000000000000:assumed-role/web/{id}", done.stderr
    stack.ecs.stop_task(cluster="e2e", task=arn)


def process_of(task: str) -> tuple[str, dict[str, str]]:
    """The id of a process of a running task's container, and its environment: soon it has one."""

    def look() -> tuple[str, dict[str, str]] | None:
        for found in Path("/proc").glob("[0-9]*"):
            pairs = environment_of(found)
            if f"/v4/{task}" in pairs.get("ECS_CONTAINER_METADATA_URI_V4", ""):
                return found.name, pairs
        return None

    process: tuple[str, dict[str, str]] = eventually(look, f"a process of {task}")
    return process


def environment_of(process: Path) -> dict[str, str]:
    try:
        text = (process / "environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(entry.partition("=")[::2] for entry in text.split("\0"))


def test_protection_of_a_task_without_a_service(stack: Stack) -> None:
    arn = stack.run(
        stack.container("wget -qO- $ECS_AGENT_URI/task-protection/v1/state; echo; sleep 600"),
        taskRoleArn=ROLE,
    )
    stack.wait(arn, "RUNNING")
    (told,) = documents(stack, arn, 1)
    assert (told["failure"]["Arn"], told["failure"]["Reason"]) == (arn, "TASK_NOT_VALID")
    stack.ecs.stop_task(cluster="e2e", task=arn)


def test_daemons_side_by_side_and_one_that_is_killed(stack: Stack, tmp_path: Path) -> None:
    """Each serves its own tasks; the next one on the same directory serves them on."""
    image = busybox_image(tmp_path / "image")
    with RealDaemon(tmp_path / "data", NEARGATE_INJECT_ENDPOINT_URL="false") as daemon:
        other = Stack(daemon, daemon.push(image, "busybox"))
        daemon.client("logs").create_log_group(logGroupName="/e2e")
        other.ecs.create_cluster(clusterName="e2e")
        ask = f'held=$({CREDENTIALS}) && echo "$held"'  # nobody answers while there is no daemon
        script = f'echo \\"$AWS_ENDPOINT_URL\\"; while sleep 0.2; do {ask}; done'
        theirs = other.run(other.container(script), taskRoleArn=ROLE)
        ours = stack.run(stack.container(f"{CREDENTIALS}; echo; sleep 600"), taskRoleArn=ROLE)
        other.wait(theirs, "RUNNING")
        assert documents(stack, ours, 1)[0]["RoleArn"] == ROLE
        url, first, *_ = documents(other, theirs, 3)
        assert url == ""
        with pytest.raises(ClientError):
            sts(stack.daemon, first).get_caller_identity()
        daemon.kill()
        daemon.up()
        assert sts(daemon, first).get_caller_identity()["Arn"].endswith(theirs.rsplit("/", 1)[1])
        key = first["AccessKeyId"]
        later = eventually(
            lambda: [d for d in documents(other, theirs, 3)[1:] if d["AccessKeyId"] != key],
            "credentials of the next daemon",
        )
        assert sts(daemon, later[0]).get_caller_identity()["Account"] == "000000000000"
        stack.ecs.stop_task(cluster="e2e", task=ours)
        own = own_address(daemon.info["settings"]["vpc_cidr"])
        assert own in local_routes()
    assert own not in local_routes()
    assert_nothing_left(tmp_path / "data")


def local_routes() -> list[str]:
    done = subprocess.run(
        ["ip", "route", "show", "table", "local"], capture_output=True, text=True, check=True
    )
    return [line.split()[1] for line in done.stdout.splitlines()]
