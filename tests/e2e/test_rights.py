"""Roles with rights of their own in real tasks: what the execution role gets for them, and what their own
credentials open, for stock clients inside them.
"""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.test_metadata import process_of
from tests.support import roles
from tests.support.real import BIN, eventually
from tests.support.roles import allow, deny

AT = "us-east-1:000000000000"
LOGS = allow(["logs:CreateLogStream", "logs:PutLogEvents"], f"arn:aws:logs:{AT}:log-group:/e2e:*")
PULL = allow(["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"])


@pytest.fixture
def iam(stack: Stack) -> Iterator[Any]:
    client = stack.daemon.client("iam")
    yield client
    for role in client.list_roles()["Roles"]:
        roles.unmake(client, role["RoleName"])


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    keeper = stack.daemon.client("secretsmanager")
    return str(keeper.create_secret(Name="rights/db", SecretString="hunter5")["ARN"])


def run(stack: Stack, container: dict[str, Any], **members: Any) -> str:
    definition = stack.ecs.register_task_definition(
        family="rights",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[container],
        **members,
    )["taskDefinition"]["taskDefinitionArn"]
    return stack.run_definition(definition)


def aws(arn: str, *arguments: str) -> tuple[int, str]:
    """The stock aws CLI in a running task's network, with its container's environment and nothing else."""
    pid, environment = process_of(arn.rsplit("/", 1)[1])
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", str(BIN / "aws"), *arguments],
        env={"PATH": "/usr/bin:/bin"} | {k: v for k, v in environment.items() if k.startswith("AWS_")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_secret_that_the_execution_role_may_read_is_injected(stack: Stack, iam: Any, secret: str) -> None:
    role = roles.make(iam, "rights-execution", LOGS, PULL, allow("secretsmanager:GetSecretValue", secret))
    container = stack.container('echo "$S"', secrets=[{"name": "S", "valueFrom": secret}])
    arn = run(stack, container, executionRoleArn=role)
    stack.wait(arn, "STOPPED")
    assert stack.lines(arn) == ["hunter5"]


def test_one_that_it_may_not_read_stops_the_task(stack: Stack, iam: Any, secret: str) -> None:
    role = roles.make(iam, "rights-execution", LOGS, PULL)
    container = stack.container('echo "$S"', secrets=[{"name": "S", "valueFrom": secret}])
    arn = run(stack, container, executionRoleArn=role)
    task = stack.wait(arn, "STOPPED")
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].partition(" status code: 400, request id: ")[0] == (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval"
        " failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to"
        f" fetch secret {secret} from secrets manager: AccessDeniedException: User:"
        f" arn:aws:sts::000000000000:assumed-role/rights-execution/{arn.rsplit('/', 1)[1]} is not authorized"
        f" to perform: secretsmanager:GetSecretValue on resource: {secret} because no identity-based policy"
        " allows the secretsmanager:GetSecretValue action"
    )


@pytest.mark.parametrize(
    ("taken", "reason"),
    [
        ("ecr:GetAuthorizationToken", "ResourceInitializationError: unable to pull secrets or registry auth:"
         " execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been"
         " retried 1 time(s): AccessDeniedException: User: "),
        ("ecr:BatchGetImage", "CannotPullContainerError: pull image manifest has been retried 1 time(s):"
         " failed to resolve ref "),
    ],
)  # fmt: skip
def test_an_image_that_is_here_already_is_nobodys_right(
    stack: Stack, iam: Any, taken: str, reason: str
) -> None:
    role = roles.make(iam, "rights-execution", LOGS, PULL, deny(taken))
    task = stack.wait(run(stack, stack.container("true"), executionRoleArn=role), "STOPPED")
    assert task["stoppedReason"].startswith(reason), task["stoppedReason"]
    end = "403 Forbidden" if taken == "ecr:BatchGetImage" else ""
    assert task["stoppedReason"].endswith(end)


def test_lines_wait_for_the_right_to_be_written(stack: Stack, iam: Any) -> None:
    role = roles.make(iam, "rights-execution", PULL, allow("logs:CreateLogStream"))
    arn = run(stack, stack.container("echo one; sleep 600"), executionRoleArn=role)
    stack.wait(arn, "RUNNING")
    assert stack.lines(arn) == []
    roles.put(iam, "rights-execution", PULL, LOGS)
    eventually(lambda: stack.lines(arn) == ["one"], "the line came")
    stack.stop(arn)


def test_a_task_gets_one_prefix_and_nothing_else(stack: Stack, iam: Any) -> None:
    stack.daemon.aws("s3", "mb", "s3://rights")
    s3 = stack.daemon.client("s3")
    for key in ("mine/a", "yours/a"):
        s3.put_object(Bucket="rights", Key=key, Body=b"hello")
    inside = {"StringLike": {"s3:prefix": "mine/*"}}
    role = roles.make(
        iam,
        "rights-own",
        allow(["s3:GetObject", "s3:PutObject"], "arn:aws:s3:::rights/mine/*"),
        allow("s3:ListBucket", "arn:aws:s3:::rights", Condition=inside),
    )
    neighbour = stack.run(stack.container("sleep 600"))
    arn = stack.run(stack.container("sleep 600"), taskRoleArn=role)
    for one in (neighbour, arn):
        stack.wait(one, "RUNNING")
    try:
        assert aws(arn, "s3", "cp", "s3://rights/mine/a", "-") == (0, "hello")
        status, told = aws(arn, "s3", "ls", "s3://rights/mine/")
        assert status == 0 and told.endswith(" a\n")
        for refused in (
            ("s3", "cp", "s3://rights/yours/a", "-"),
            ("s3", "ls", "s3://rights/yours/"),
            ("s3", "ls"),
            ("s3", "rm", "s3://rights/mine/a"),
            ("s3", "cp", "s3://rights/yours/a", "s3://rights/mine/b"),
            ("ecs", "stop-task", "--cluster", "e2e", "--task", neighbour),
            ("ecs", "list-tasks", "--cluster", "e2e"),
            ("iam", "put-role-policy", "--role-name", "rights-own", "--policy-name", "p",
             "--policy-document", roles.document(allow("*"))),
            ("sts", "assume-role", "--role-arn", "arn:aws:iam::000000000000:role/any", "--role-session-name",
             "other"),
            ("secretsmanager", "list-secrets"),
        ):  # fmt: skip
            status, told = aws(arn, *refused)
            assert status != 0 and ("AccessDenied" in told or "(403)" in told), (refused, told)
        assert stack.describe(neighbour)["lastStatus"] == "RUNNING"
        roles.put(iam, "rights-own", allow("s3:ListAllMyBuckets"))
        assert aws(arn, "s3", "cp", "s3://rights/mine/a", "-")[0] != 0  # at once
        assert aws(arn, "s3", "ls")[0] == 0
        roles.unmake(iam, "rights-own")
        status, told = aws(arn, "s3", "ls")
        assert status != 0 and "InvalidToken" in told
    finally:
        for one in (neighbour, arn):
            stack.stop(one)


def test_a_file_system_that_the_role_may_only_read(stack: Stack, iam: Any) -> None:
    efs = stack.daemon.client("efs")
    id = efs.create_file_system(CreationToken="rights")["FileSystemId"]
    for subnet in stack.subnets:
        efs.create_mount_target(FileSystemId=id, SubnetId=subnet)
    roles.make(iam, "rights-own")
    read = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "elasticfilesystem:ClientMount"}
    volume = {
        "fileSystemId": id, "transitEncryption": "ENABLED", "authorizationConfig": {"iam": "ENABLED"},
    }  # fmt: skip
    members: dict[str, Any] = {
        "taskRoleArn": "arn:aws:iam::000000000000:role/rights-own",
        "volumes": [{"name": "v", "efsVolumeConfiguration": volume}],
    }
    mount = {"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}
    efs.put_file_system_policy(FileSystemId=id, Policy=roles.document(read))
    script = "ls /v && touch /v/x 2>&1; mount -o remount,rw /v 2>/dev/null; touch /v/x 2>/dev/null || echo no"
    task, _ = stack.finished(stack.container(script, **mount), **members)
    (first, last) = stack.lines(task["taskArn"])
    assert "Read-only file system" in first and last == "no"
    efs.put_file_system_policy(FileSystemId=id, Policy=roles.document({**read, "Effect": "Deny"}))
    task, _ = stack.finished(stack.container(script, **mount), **members)
    assert "access denied by server while mounting" in task["stoppedReason"]
