"""What ECS may do for a task by its execution role, and which roles a task may have: by AWS's words."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from neargate.kit.errors import CellError
from neargate.model.sandbox import LogBatch, LogCursor, LogEvent, LogSink
from neargate.services.cell.local import LocalCell
from tests.support import roles
from tests.support.door import Door
from tests.support.roles import ACCOUNT, TASKS, allow, deny

ACCOUNT_ID, REGION = "000000000000", "us-east-1"
AT = f"{REGION}:{ACCOUNT_ID}"
ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/execution"
UNABLE = (
    "ECS was unable to assume the role '{}' that was provided for this task. Please verify that the role"
    " being passed has the proper trust relationship and permissions and that your IAM user has permissions"
    " to pass this role."
)


def definition(door: Door, **members: Any) -> None:
    container = {"name": "main", "image": "busybox", **members.pop("container", {})}
    door.client("ecs").register_task_definition(
        **{
            "family": "web", "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256",
            "memory": "512", "executionRoleArn": ROLE, "containerDefinitions": [container], **members,
        }
    )  # fmt: skip


def start(door: Door, **more: Any) -> str:
    ecs = door.client("ecs")
    ecs.create_cluster()
    subnets = [s["SubnetId"] for s in door.client("ec2").describe_subnets()["Subnets"]]
    network = {"awsvpcConfiguration": {"subnets": subnets}}
    answer = ecs.run_task(taskDefinition="web", launchType="FARGATE", networkConfiguration=network, **more)
    return str(answer["tasks"][0]["taskArn"])


def settled(door: Door, arn: str) -> dict[str, Any]:
    """The task once it is RUNNING, or has STOPPED."""
    for _ in range(3000):
        (task,) = door.client("ecs").describe_tasks(tasks=[arn])["tasks"]
        if task["lastStatus"] in ("RUNNING", "STOPPED"):
            return dict(task)
        time.sleep(0.01)
    raise AssertionError(f"neither RUNNING nor STOPPED: {task}")


def ended(door: Door, **members: Any) -> tuple[str, str]:
    """Of a task that must not start: its reason, and its id."""
    definition(door, container=members)
    arn = start(door)
    task = settled(door, arn)
    assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "TaskFailedToStart"), task
    return task["stoppedReason"], arn.rpartition("/")[2]


@pytest.fixture
def stores(door: Door) -> dict[str, str]:
    secret = door.client("secretsmanager").create_secret(Name="db", SecretString="hunter2")["ARN"]
    door.client("ssm").put_parameter(Name="/app/key", Value="hunter3", Type="SecureString")
    s3 = door.client("s3")
    s3.create_bucket(Bucket="config")
    s3.put_object(Bucket="config", Key="a.env", Body=b"A=1\n")
    return {"secret": secret, "parameter": "/app/key", "file": "arn:aws:s3:::config/a.env"}


def who(task: str) -> str:
    return f"User: arn:aws:sts::{ACCOUNT_ID}:assumed-role/execution/{task} is not authorized to perform: "


def test_a_secret_that_the_role_may_not_read(door: Door, stores: dict[str, str]) -> None:
    roles.make(door.client("iam"), "execution", allow("ssm:*"))
    reason, task = ended(door, secrets=[{"name": "S", "valueFrom": stores["secret"]}])
    told, _, request = reason.rpartition(" status code: 400, request id: ")
    assert len(request) == 36
    assert told == (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval"
        " failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to"
        f" fetch secret {stores['secret']} from secrets manager: AccessDeniedException: {who(task)}"
        f"secretsmanager:GetSecretValue on resource: {stores['secret']} because no identity-based policy"
        " allows the secretsmanager:GetSecretValue action"
    )


def test_a_parameter_that_the_role_may_not_read(door: Door, stores: dict[str, str]) -> None:
    roles.make(door.client("iam"), "execution", allow("*"), deny("ssm:GetParameters"))
    reason, task = ended(door, secrets=[{"name": "S", "valueFrom": stores["parameter"]}])
    assert reason.partition(" status code")[0] == (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval"
        " failed: unable to retrieve secrets from ssm: service call has been retried 1 time(s):"
        f" AccessDeniedException: {who(task)}ssm:GetParameters on resource:"
        f" arn:aws:ssm:{AT}:parameter/app/key with an explicit deny in an identity-based policy"
    )


@pytest.mark.parametrize(
    ("allowed", "missing"),
    [("s3:GetObject", 's3:GetBucketLocation on resource: "arn:aws:s3:::config"'),
     ("s3:GetBucketLocation", 's3:GetObject on resource: "arn:aws:s3:::config/a.env"')],
)  # fmt: skip
def test_a_file_that_the_role_may_not_read(
    door: Door, stores: dict[str, str], allowed: str, missing: str
) -> None:
    roles.make(door.client("iam"), "execution", allow(allowed))
    reason, task = ended(door, environmentFiles=[{"type": "s3", "value": stores["file"]}])
    assert reason.startswith("ResourceInitializationError: failed to download env files: ")
    assert f"AccessDenied: {who(task)}{missing} because no identity-based policy" in reason


@pytest.mark.parametrize(
    ("missing", "group"), [("logs:CreateLogStream", "/there"), ("logs:CreateLogGroup", "/new")]
)
def test_a_log_that_the_role_may_not_write(door: Door, missing: str, group: str) -> None:
    door.client("logs").create_log_group(logGroupName="/there")
    roles.make(door.client("iam"), "execution", allow("logs:*"), deny(missing))
    options = {
        "awslogs-group": group, "awslogs-region": REGION, "awslogs-stream-prefix": "t",
        "awslogs-create-group": "true",
    }  # fmt: skip
    reason, task = ended(door, logConfiguration={"logDriver": "awslogs", "options": options})
    stream = f"t/main/{task}" if missing == "logs:CreateLogStream" else ""
    assert reason.startswith(
        "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times:"
        f" failed to create Cloudwatch log stream: AccessDeniedException: {who(task)}{missing} on resource:"
        f" arn:aws:logs:{AT}:log-group:{group}:log-stream:{stream} with an explicit deny"
    )
    assert reason.endswith(" : exit status 1")


def test_a_role_that_may_gets_all_of_it(door: Door, stores: dict[str, str]) -> None:
    door.client("logs").create_log_group(logGroupName="/there")
    roles.make(
        door.client("iam"),
        "execution",
        allow("secretsmanager:GetSecretValue", stores["secret"]),
        allow("ssm:GetParameters", f"arn:aws:ssm:{AT}:parameter/app/*"),
        allow("s3:GetObject", "arn:aws:s3:::config/*.env"),
        allow("s3:GetBucketLocation", "arn:aws:s3:::config"),
        allow(["logs:CreateLogStream", "logs:PutLogEvents"], f"arn:aws:logs:{AT}:log-group:/there:*"),
    )
    options = {"awslogs-group": "/there", "awslogs-region": REGION, "awslogs-stream-prefix": "t"}
    container = {
        "secrets": [
            {"name": "S", "valueFrom": stores["secret"]},
            {"name": "P", "valueFrom": stores["parameter"]},
        ],
        "environmentFiles": [{"type": "s3", "value": stores["file"]}],
        "logConfiguration": {"logDriver": "awslogs", "options": options},
    }
    definition(door, container=container)
    arn = start(door)
    assert settled(door, arn)["lastStatus"] == "RUNNING"
    sandbox = door.daemon.driver.sandboxes[arn.rpartition("/")[2]]  # type: ignore[attr-defined]
    given = dict(sandbox.given("main").environment)
    assert (given["S"], given["P"], given["A"]) == ("hunter2", "hunter3", "1")


def test_a_secrets_own_policy_may_let_the_role_in(door: Door, stores: dict[str, str]) -> None:
    roles.make(door.client("iam"), "execution")
    statement = {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "secretsmanager:*", "Resource": "*"}
    door.client("secretsmanager").put_resource_policy(SecretId="db", ResourcePolicy=roles.document(statement))
    definition(door, container={"secrets": [{"name": "S", "valueFrom": stores["secret"]}]})
    assert settled(door, start(door))["lastStatus"] == "RUNNING"


def test_lines_are_taken_as_long_as_the_role_may_write_them(door: Door) -> None:
    iam = door.client("iam")
    door.client("logs").create_log_group(logGroupName="/there")
    roles.make(iam, "execution", allow("logs:*"))
    definition(door)
    task = start(door).rpartition("/")[2]
    settled(door, task)
    cell = LocalCell(door.daemon.house)
    sink = LogSink(group="/there", stream="s")
    door.call(cell.open_log_stream(ACCOUNT_ID, REGION, "/there", "s", False, task))

    def put(offset: int) -> None:
        cursor = LogCursor(runtime_id=f"{task}-1", offset=offset)
        events = (LogEvent(timestamp=1, message="line"),)
        batch = LogBatch(account=ACCOUNT_ID, region=REGION, sink=sink, events=events, cursor=cursor)
        door.call(cell.put_logs([batch]))

    put(1)
    roles.put(iam, "execution", allow("logs:CreateLogStream"))
    with pytest.raises(
        CellError, match=r"logs:PutLogEvents on resource: .*:log-stream:s because no identity"
    ):
        put(2)
    roles.put(iam, "execution", allow("logs:*"))
    put(3)


def test_the_registry_asks_whoever_pulls(door: Door) -> None:
    iam = door.client("iam")
    roles.make(iam, "execution", allow("logs:*"))
    definition(door)
    task = start(door).rpartition("/")[2]
    settled(door, task)
    cell = LocalCell(door.daemon.house)
    with pytest.raises(CellError, match=r"ecr:GetAuthorizationToken on resource: \* because"):
        door.call(cell.registry_token(ACCOUNT_ID, REGION, task))
    repository = f"arn:aws:ecr:{AT}:repository/team/web"
    roles.put(iam, "execution", allow("ecr:GetAuthorizationToken"), allow("ecr:BatchGetImage", repository))
    assert door.call(cell.registry_token(ACCOUNT_ID, REGION, task))[0] == "AWS"
    with pytest.raises(CellError, match="ecr:GetDownloadUrlForLayer on resource: arn:aws:ecr:"):
        door.call(cell.registry_access(ACCOUNT_ID, REGION, "team/web", task))
    iam.attach_role_policy(
        RoleName="execution",
        PolicyArn="arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy",
    )
    door.call(cell.registry_access(ACCOUNT_ID, REGION, "other", task))
    door.call(cell.registry_access(ACCOUNT_ID, REGION, "other", ""))  # the daemon itself


# -- which roles a task may have -------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["taskRoleArn", "executionRoleArn"])
def test_a_role_that_does_not_trust_tasks(door: Door, member: str) -> None:
    wrong = roles.make(door.client("iam"), "wrong", allow("*"), trusts=(ACCOUNT,))
    definition(door, **{member: wrong})
    with pytest.raises(ClientError) as caught:
        start(door)
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"]) == ("ClientException", UNABLE.format(wrong))
    definition(door)
    with pytest.raises(ClientError, match="ECS was unable to assume"):
        start(door, overrides={member: wrong})


def test_a_services_task_whose_role_does_not_trust_tasks_stops(door: Door) -> None:
    wrong = roles.make(door.client("iam"), "wrong", allow("*"), trusts=(ACCOUNT,))
    definition(door, taskRoleArn=wrong)
    ecs = door.client("ecs")
    ecs.create_cluster()
    subnets = [s["SubnetId"] for s in door.client("ec2").describe_subnets()["Subnets"]]
    ecs.create_service(
        serviceName="s",
        taskDefinition="web",
        desiredCount=1,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
    )
    for _ in range(6000):
        stopped = ecs.list_tasks(desiredStatus="STOPPED")["taskArns"]
        if stopped:
            break
        time.sleep(0.01)
    task = settled(door, stopped[0])
    assert task["stoppedReason"] == f"ResourceInitializationError: {UNABLE.format(wrong)}"


def test_a_role_that_stops_trusting_tasks_while_they_run(door: Door) -> None:
    iam = door.client("iam")
    only = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": TASKS}
    theirs = {
        "StringEquals": {"aws:SourceAccount": ACCOUNT_ID},
        "ArnLike": {"aws:SourceArn": f"arn:aws:ecs:{AT}:*"},
    }
    trust = roles.document({**only, "Condition": theirs})
    role = iam.create_role(RoleName="own", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    definition(door, taskRoleArn=role)
    arn = start(door)
    settled(door, arn)
    id = arn.rpartition("/")[2]
    cell = LocalCell(door.daemon.house)
    held = door.call(cell.task_credentials(id))
    assert held.session.role_arn == role and held.session.unique_id.startswith("AROA")
    others = {"StringEquals": {"aws:SourceAccount": "111111111111"}}
    iam.update_assume_role_policy(
        RoleName="own", PolicyDocument=roles.document({**only, "Condition": others})
    )
    with pytest.raises(CellError, match="ECS was unable to assume the role"):
        door.call(cell.task_credentials(id))


def test_a_role_that_was_deleted(door: Door) -> None:
    iam = door.client("iam")
    role = roles.make(iam, "own", allow("*"))
    definition(door, taskRoleArn=role)
    arn = start(door)
    settled(door, arn)
    roles.unmake(iam, "own")
    with pytest.raises(CellError, match="ECS was unable to assume the role"):
        door.call(LocalCell(door.daemon.house).task_credentials(arn.rpartition("/")[2]))
    with pytest.raises(ClientError, match="ECS was unable to assume the role"):
        start(door)
    with pytest.raises(ClientError, match="Role is not valid"):
        definition(door, taskRoleArn=role)


# -- NEARGATE_IAM ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict() -> Iterator[Door]:
    door = Door(iam="strict", vpc_cidr="10.63.0.0/16").start()
    yield door
    door.stop()


def test_strict_knows_no_role_that_nobody_created(strict: Door) -> None:
    with pytest.raises(ClientError) as caught:
        definition(strict)
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"]) == ("ClientException", "Role is not valid")
    with pytest.raises(ClientError, match="not authorized to perform: sts:AssumeRole"):
        strict.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="me")
    roles.make(strict.client("iam"), "execution")
    definition(strict)
    assert settled(strict, start(strict))["lastStatus"] == "RUNNING"
    with pytest.raises(ClientError, match="ECS was unable to assume the role"):
        start(strict, overrides={"taskRoleArn": f"arn:aws:iam::{ACCOUNT_ID}:role/none"})


def test_off_asks_nothing() -> None:
    door = Door(iam="off", vpc_cidr="10.64.0.0/16").start()
    try:
        role = roles.make(door.client("iam"), "web", trusts=(TASKS,))
        held = door.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
        ecs = door.client(
            "ecs",
            aws_access_key_id=held["AccessKeyId"],
            aws_secret_access_key=held["SecretAccessKey"],
            aws_session_token=held["SessionToken"],
        )
        assert ecs.list_clusters()["clusterArns"] == []
    finally:
        door.stop()
