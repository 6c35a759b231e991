"""What a role's credentials may do at the door, as boto3 sees it."""

import base64
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.support import roles
from tests.support.door import Door
from tests.support.roles import ACCOUNT, TASKS, allow, deny, document

WHO = "arn:aws:sts::000000000000:assumed-role/web/me"
AT = "us-east-1:000000000000"
NO_POLICY = "because no identity-based policy allows the {} action"


class Held:
    """Clients with a role's credentials. `refused` calls and tells code, message and status."""

    def __init__(self, door: Door, role: str, **session: Any) -> None:
        sts = door.client("sts")
        self._keys = sts.assume_role(RoleArn=role, RoleSessionName="me", **session)["Credentials"]
        self._door = door

    def client(self, service: str) -> Any:
        return self._door.client(
            service,
            aws_access_key_id=self._keys["AccessKeyId"],
            aws_secret_access_key=self._keys["SecretAccessKey"],
            aws_session_token=self._keys["SessionToken"],
        )

    def refused(self, service: str, operation: str, **params: Any) -> tuple[str, str, int]:
        with pytest.raises(ClientError) as caught:
            getattr(self.client(service), operation)(**params)
        answer = caught.value.response
        error = answer["Error"]
        return error["Code"], error.get("Message", ""), answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def role(door: Door) -> Callable[..., Held]:
    """Makes the role `web` of these statements, and assumes it."""

    def made(*statements: dict[str, Any], **session: Any) -> Held:
        return Held(door, roles.make(door.client("iam"), "web", *statements), **session)

    return made


@pytest.mark.parametrize(
    ("service", "operation", "params", "code", "status", "action", "resource"),
    [
        ("ecs", "list_clusters", {}, "AccessDeniedException", 400, "ecs:ListClusters", " on resource: *"),
        ("ecs", "stop_task", {"cluster": "c", "task": "a" * 32}, "AccessDeniedException", 400, "ecs:StopTask",
         f" on resource: arn:aws:ecs:{AT}:task/c/{'a' * 32}"),
        ("secretsmanager", "list_secrets", {}, "AccessDeniedException", 400, "secretsmanager:ListSecrets",
         ""),
        ("ssm", "get_parameter", {"Name": "/a"}, "AccessDeniedException", 400, "ssm:GetParameter",
         f" on resource: arn:aws:ssm:{AT}:parameter/a"),
        ("s3", "list_objects_v2", {"Bucket": "some"}, "AccessDenied", 403, "s3:ListBucket",
         ' on resource: "arn:aws:s3:::some"'),
        ("iam", "list_roles", {}, "AccessDenied", 403, "iam:ListRoles", " on resource: *"),
        ("elbv2", "describe_load_balancers", {}, "AccessDenied", 403,
         "elasticloadbalancing:DescribeLoadBalancers", " on resource: *"),
        ("efs", "describe_file_systems", {}, "AccessDeniedException", 403,
         "elasticfilesystem:DescribeFileSystems",
         f" on resource: arn:aws:elasticfilesystem:{AT}:file-system/*"),
        ("cloudwatch", "list_metrics", {}, "AccessDenied", 403, "cloudwatch:ListMetrics", " on resource: *"),
        ("sqs", "receive_message", {"QueueUrl": "http://localhost:1/000000000000/q"}, "AccessDenied", 403,
         "sqs:receivemessage", f" on resource: arn:aws:sqs:{AT}:q"),
        ("logs", "describe_log_groups", {}, "AccessDeniedException", 400, "logs:DescribeLogGroups",
         f" on resource: arn:aws:logs:{AT}:log-group::log-stream:"),
        ("ecr", "get_authorization_token", {}, "AccessDeniedException", 400, "ecr:GetAuthorizationToken",
         " on resource: *"),
    ],
)  # fmt: skip
def test_a_role_without_policies_may_nothing(
    role: Callable[..., Held],
    service: str,
    operation: str,
    params: dict[str, Any],
    code: str,
    status: int,
    action: str,
    resource: str,
) -> None:
    told = f"User: {WHO} is not authorized to perform: {action}{resource} {NO_POLICY.format(action)}"
    assert role().refused(service, operation, **params) == (code, told, status)


def test_ec2_says_it_its_own_way(role: Callable[..., Held]) -> None:
    code, message, status = role().refused("ec2", "describe_vpcs")
    assert (code, status) == ("UnauthorizedOperation", 403)
    assert message.startswith("You are not authorized to perform this operation. User: ")
    assert "perform: ec2:DescribeVpcs because no identity-based" in message


def test_who_one_is_can_be_asked_by_anybody(role: Callable[..., Held]) -> None:
    held = role(deny("*"))
    found = held.client("sts").get_caller_identity()
    assert found["Arn"] == WHO and found["UserId"].startswith("AROA")


def test_one_prefix_and_nothing_else(door: Door, role: Callable[..., Held]) -> None:
    door.client("s3").create_bucket(Bucket="data")
    for key in ("in/1", "out/1"):
        door.client("s3").put_object(Bucket="data", Key=key, Body=b"x")
    only = {"StringLike": {"s3:prefix": "in/*"}}
    held = role(
        allow(["s3:GetObject", "s3:PutObject"], "arn:aws:s3:::data/in/*"),
        allow("s3:ListBucket", "arn:aws:s3:::data", Condition=only),
    )
    s3 = held.client("s3")
    assert s3.get_object(Bucket="data", Key="in/1")["Body"].read() == b"x"
    assert s3.head_object(Bucket="data", Key="in/1")["ContentLength"] == 1
    s3.put_object(Bucket="data", Key="in/2", Body=b"y")
    assert s3.list_objects_v2(Bucket="data", Prefix="in/")["KeyCount"] == 2
    for operation, params in (
        ("get_object", {"Key": "out/1"}),
        ("put_object", {"Key": "out/2", "Body": b""}),
        ("list_objects_v2", {"Prefix": "out/"}),
        ("list_objects_v2", {}),
        ("delete_object", {"Key": "in/1"}),
        ("copy_object", {"Key": "in/3", "CopySource": "data/out/1"}),
        ("create_multipart_upload", {"Key": "out/3"}),
    ):
        code, message, status = held.refused("s3", operation, Bucket="data", **params)
        assert (code, status) == ("AccessDenied", 403) and "no identity-based policy" in message
    roles.put(door.client("iam"), "web", allow("s3:DeleteObject", "arn:aws:s3:::data/in/*"))
    keys = [{"Key": key} for key in ("in/1", "out/1", "in/2")]
    answer = s3.delete_objects(Bucket="data", Delete={"Objects": keys})
    assert [deleted["Key"] for deleted in answer["Deleted"]] == ["in/1", "in/2"]
    (error,) = answer["Errors"]
    assert (error["Key"], error["Code"]) == ("out/1", "AccessDenied")
    assert 's3:DeleteObject on resource: "arn:aws:s3:::data/out/1" because' in error["Message"]
    answer = s3.delete_objects(Bucket="data", Delete={"Objects": [{"Key": "out/1"}]})
    assert "Deleted" not in answer and len(answer["Errors"]) == 1
    assert door.client("s3").head_object(Bucket="data", Key="out/1")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "data", "Key": "out/1"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url)
    assert caught.value.code == 403


def test_the_last_use_of_a_role_is_told(door: Door, role: Callable[..., Held]) -> None:
    held, iam = role(allow("ecs:*")), door.client("iam")
    assert iam.get_role(RoleName="web")["Role"].get("RoleLastUsed", {}) == {}
    held.client("ecs").list_clusters()
    used = iam.get_role(RoleName="web")["Role"]["RoleLastUsed"]
    assert used["Region"] == "us-east-1" and abs(used["LastUsedDate"].timestamp() - time.time()) < 60


def test_rights_change_at_once(door: Door, role: Callable[..., Held]) -> None:
    held, iam = role(allow("ecs:List*")), door.client("iam")
    ecs = held.client("ecs")
    assert ecs.list_clusters()["clusterArns"] == []
    roles.put(iam, "web", allow("ecs:Describe*"))
    assert held.refused("ecs", "list_clusters")[0] == "AccessDeniedException"
    roles.put(iam, "web", allow("*"), deny("ecs:List*"))
    message = held.refused("ecs", "list_clusters")[1]
    assert message.endswith("on resource: * with an explicit deny in an identity-based policy")
    roles.put(iam, "web", allow("*"))
    assert ecs.list_clusters()["clusterArns"] == []


def test_a_role_that_is_gone_has_no_rights_left(door: Door, role: Callable[..., Held]) -> None:
    held, iam = role(allow("*")), door.client("iam")
    invalid = ("UnrecognizedClientException", "The security token included in the request is invalid.", 400)
    roles.unmake(iam, "web")
    assert held.refused("ecs", "list_clusters") == invalid
    with pytest.raises(ClientError, match="AccessDenied"):
        Held(door, "arn:aws:iam::000000000000:role/web")
    roles.make(iam, "web", allow("*"))  # another one of the same name
    assert held.refused("ecs", "list_clusters") == invalid


def test_a_role_that_nobody_created_has_all_rights(door: Door) -> None:
    held = Held(door, "arn:aws:iam::000000000000:role/unheard-of")
    assert held.client("ecs").list_clusters()["clusterArns"] == []


def test_a_session_is_restricted_further(door: Door, role: Callable[..., Held]) -> None:
    held = role(allow("ecs:*"), Policy=document(allow("ecs:ListClusters"), allow("s3:*")))
    assert held.client("ecs").list_clusters()["clusterArns"] == []
    assert held.refused("ecs", "list_services")[1].endswith(
        "because no session policy allows the ecs:ListServices action"
    )
    assert "no identity-based policy allows the s3:ListAllMyBuckets" in held.refused("s3", "list_buckets")[1]
    read_only = {"arn": "arn:aws:iam::aws:policy/AmazonECS_FullAccess"}
    other = Held(door, "arn:aws:iam::000000000000:role/unheard-of", PolicyArns=[read_only])
    assert other.client("ecs").list_clusters()["clusterArns"] == []
    assert "no session policy" in other.refused("secretsmanager", "list_secrets")[1]


@pytest.mark.parametrize(
    ("session", "code", "words"),
    [
        ({"Policy": "{"}, "MalformedPolicyDocument", "Syntax errors in policy."),
        ({"PolicyArns": [{"arn": "arn:aws:iam::000000000000:policy/none"}]}, "ValidationError", "y/none"),
        ({"DurationSeconds": 7200}, "ValidationError", "MaxSessionDuration"),
    ],
)  # fmt: skip
def test_sessions_that_cannot_be(
    role: Callable[..., Held], session: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(ClientError) as caught:
        role(**session)
    error = caught.value.response["Error"]
    assert error["Code"] == code and words in error["Message"]


def test_conditions_know_the_request(role: Callable[..., Held], door: Door) -> None:
    here = {
        "IpAddress": {"aws:SourceIp": "127.0.0.0/8"},
        "StringEquals": {"aws:RequestedRegion": "us-east-1"},
    }
    own = {"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::000000000000:role/web"}}
    ahead = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    held = role(
        allow("ecs:ListClusters", Condition={**here, **own}),
        allow("ecs:ListServices", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
        allow("ecs:ListTaskDefinitions", Condition={"DateGreaterThan": {"aws:CurrentTime": ahead}}),
        allow(
            "ecs:DescribeTasks", Condition={"ArnEquals": {"ecs:cluster": f"arn:aws:ecs:{AT}:cluster/mine"}}
        ),
    )
    ecs = held.client("ecs")
    assert ecs.list_clusters()["clusterArns"] == []
    for operation in ("list_services", "list_task_definitions"):
        assert held.refused("ecs", operation)[0] == "AccessDeniedException"
    for cluster in ("mine", "yours"):
        door.client("ecs").create_cluster(clusterName=cluster)
    assert ecs.describe_tasks(cluster="mine", tasks=["a" * 32])["tasks"] == []
    assert (
        held.refused("ecs", "describe_tasks", cluster="yours", tasks=["a" * 32])[0] == "AccessDeniedException"
    )


def test_secrets_by_name_are_judged_by_their_arn(door: Door, role: Callable[..., Held]) -> None:
    keeper = door.client("secretsmanager")
    mine, yours = (keeper.create_secret(Name=name, SecretString=name)["ARN"] for name in ("mine", "yours"))
    held = role(allow("secretsmanager:GetSecretValue", mine))
    client = held.client("secretsmanager")
    for id in ("mine", mine, mine[:-7]):
        assert client.get_secret_value(SecretId=id)["SecretString"] == "mine"
    for id in ("yours", yours):
        assert yours in held.refused("secretsmanager", "get_secret_value", SecretId=id)[1]


def test_a_secrets_own_policy_counts(door: Door, role: Callable[..., Held]) -> None:
    keeper, held = door.client("secretsmanager"), role()
    arn = keeper.create_secret(Name="s", SecretString="v")["ARN"]
    read = {"Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    me = {"AWS": "arn:aws:iam::000000000000:role/web"}
    client = held.client("secretsmanager")
    assert held.refused("secretsmanager", "get_secret_value", SecretId="s")[0] == "AccessDeniedException"
    keeper.put_resource_policy(
        SecretId="s", ResourcePolicy=document({"Effect": "Allow", "Principal": me, **read})
    )
    assert client.get_secret_value(SecretId=arn)["SecretString"] == "v"
    keeper.put_resource_policy(
        SecretId="s", ResourcePolicy=document({"Effect": "Deny", "Principal": me, **read})
    )
    roles.put(door.client("iam"), "web", allow("*"))
    message = held.refused("secretsmanager", "get_secret_value", SecretId="s")[1]
    assert message.endswith(f"on resource: {arn} with an explicit deny in a resource-based policy")


def test_a_secrets_policy_that_is_none_is_refused(door: Door) -> None:
    keeper = door.client("secretsmanager")
    keeper.create_secret(Name="s", SecretString="v")
    wrong = document({"Effect": "Allow", "Principal": {"AWS": "me"}, "Action": "x", "Resource": "*"})
    with pytest.raises(ClientError, match="MalformedPolicyDocumentException"):
        keeper.put_resource_policy(SecretId="s", ResourcePolicy=wrong)


def test_a_repositorys_and_a_queues_own_policies_count(door: Door, role: Callable[..., Held]) -> None:
    held, me = role(), {"AWS": "arn:aws:iam::000000000000:role/web"}
    door.client("ecr").create_repository(repositoryName="repo")
    url = door.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    assert held.refused("ecr", "list_images", repositoryName="repo")[0] == "AccessDeniedException"
    assert held.refused("sqs", "send_message", QueueUrl=url, MessageBody="x")[0] == "AccessDenied"
    listing = {"Effect": "Allow", "Principal": me, "Action": "ecr:ListImages"}  # theirs name no resource
    door.client("ecr").set_repository_policy(repositoryName="repo", policyText=document(listing))
    sending = {"Effect": "Allow", "Principal": me, "Action": "sqs:SendMessage", "Resource": "*"}
    door.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": document(sending)})
    assert held.client("ecr").list_images(repositoryName="repo")["imageIds"] == []
    assert held.client("sqs").send_message(QueueUrl=url, MessageBody="x")["MessageId"]
    assert held.refused("sqs", "purge_queue", QueueUrl=url)[0] == "AccessDenied"


# -- roles that roles assume, and pass on ----------------------------------------------------------------


def test_a_role_says_who_may_assume_it(door: Door) -> None:
    iam = door.client("iam")
    tasks_only = roles.make(iam, "tasks", allow("*"), trusts=(TASKS,))
    with pytest.raises(ClientError) as caught:
        Held(door, tasks_only)
    assert caught.value.response["Error"]["Message"] == (
        "User: arn:aws:iam::000000000000:root is not authorized to perform: sts:AssumeRole on resource:"
        f" {tasks_only}"
    )
    web = roles.make(iam, "web", allow("sts:AssumeRole"))
    held = Held(door, web)
    sts = held.client("sts")
    anybody = roles.make(iam, "anybody", trusts=(ACCOUNT,))
    named = roles.make(iam, "named", trusts=({"AWS": web},))
    for role in (anybody, named):
        assert sts.assume_role(RoleArn=role, RoleSessionName="me")
    assert held.refused("sts", "assume_role", RoleArn=tasks_only, RoleSessionName="me")[0] == "AccessDenied"
    roles.put(iam, "web", allow("ecs:*"))
    assert sts.assume_role(RoleArn=named, RoleSessionName="me")  # which names it, and so needs nobody else
    assert "sts:AssumeRole" in held.refused("sts", "assume_role", RoleArn=anybody, RoleSessionName="me")[1]


def test_a_restricted_caller_hands_no_role_to_tasks(door: Door, role: Callable[..., Held]) -> None:
    other = roles.make(door.client("iam"), "other", allow("*"))
    held = role(allow("ecs:*"))
    members: dict[str, Any] = {
        "family": "web", "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256",
        "memory": "512", "taskRoleArn": other, "containerDefinitions": [{"name": "a", "image": "b"}],
    }  # fmt: skip
    why = NO_POLICY.format("iam:PassRole")
    told = f"User: {WHO} is not authorized to perform: iam:PassRole on resource: {other} {why}"
    assert held.refused("ecs", "register_task_definition", **members)[1] == told
    door.client("ecs").register_task_definition(**members)
    door.client("ecs").create_cluster()
    for name in ("web", "web:1", f"arn:aws:ecs:{AT}:task-definition/web:1"):
        assert held.refused("ecs", "run_task", taskDefinition=name, launchType="FARGATE")[1] == told
    only = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    roles.put(door.client("iam"), "web", allow("ecs:*"), allow("iam:PassRole", other, Condition=only))
    assert held.client("ecs").register_task_definition(**members)["taskDefinition"]["revision"] == 2


# -- the registry ----------------------------------------------------------------------------------------


def test_a_login_has_the_rights_of_its_role(door: Door, role: Callable[..., Held]) -> None:
    door.client("ecr").create_repository(repositoryName="mine")
    door.client("ecr").create_repository(repositoryName="yours")
    held = role(
        allow("ecr:GetAuthorizationToken"),
        allow(["ecr:ListImages", "ecr:InitiateLayerUpload"], f"arn:aws:ecr:{AT}:repository/mine"),
    )
    login = held.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    assert base64.b64decode(login).startswith(b"AWS:")

    def asked(method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(door.endpoint).netloc)
        connection.request(method, path, headers={"authorization": f"Basic {login}"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    assert asked("GET", "/v2/")[0] == 200
    assert asked("GET", "/v2/mine/tags/list")[0] == 200
    status, body = asked("GET", "/v2/yours/tags/list")
    assert status == 403 and b"not authorized to perform: ecr:ListImages on resource: arn:aws:ecr:" in body
    assert asked("POST", "/v2/mine/blobs/uploads/")[0] == 202
    for path in ("/v2/yours/blobs/uploads/", f"/v2/mine/blobs/uploads/?from=yours&mount=sha256:{'a' * 64}"):
        assert asked("POST", path)[0] == 403
    assert asked("GET", "/v2/_catalog")[0] == 403
    assert asked("HEAD", "/v2/mine/manifests/latest")[0] == 403
    roles.unmake(door.client("iam"), "web")
    assert asked("GET", "/v2/mine/tags/list")[0] == 403
