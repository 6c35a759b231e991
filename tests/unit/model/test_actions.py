"""What calls need: IAM's names of actions, and the resources that parameters name."""

from typing import Any

import pytest

from neargate.gateway.dispatch import build_rooms
from neargate.model.actions import action_of, needs, task_roles
from neargate.model.record import Scope
from neargate.wire.models import Catalogue

SCOPE = Scope("123456789012", "eu-west-1")
AT = "eu-west-1:123456789012"
ID = "a" * 32


def asked(service_name: str, operation: str, /, **params: Any) -> list[tuple[str, str | None]]:
    return [(need.action, need.resource) for need in needs(service_name, operation, params, SCOPE)]


@pytest.mark.parametrize(
    ("service", "operation", "action"),
    [
        ("s3", "ListObjectsV2", "s3:ListBucket"),
        ("s3", "HeadObject", "s3:GetObject"),
        ("s3", "ListBuckets", "s3:ListAllMyBuckets"),
        ("s3", "UploadPart", "s3:PutObject"),
        ("s3", "AbortMultipartUpload", "s3:AbortMultipartUpload"),
        ("elbv2", "DescribeLoadBalancers", "elasticloadbalancing:DescribeLoadBalancers"),
        ("efs", "CreateAccessPoint", "elasticfilesystem:CreateAccessPoint"),
        ("cloudwatch", "PutMetricData", "cloudwatch:PutMetricData"),
        ("application-autoscaling", "PutScalingPolicy", "application-autoscaling:PutScalingPolicy"),
        ("sqs", "SendMessageBatch", "sqs:SendMessage"),
        ("ecs", "StopTask", "ecs:StopTask"),
    ],
)  # fmt: skip
def test_what_iam_calls_an_operation(service: str, operation: str, action: str) -> None:
    assert action_of(service, operation) == action


@pytest.mark.parametrize(
    ("service", "operation", "params", "resources"),
    [
        ("secretsmanager", "GetSecretValue", {"SecretId": "db"}, [f"arn:aws:secretsmanager:{AT}:secret:db"]),
        ("secretsmanager", "ListSecrets", {}, ["*"]),
        ("ssm", "GetParameter", {"Name": "/app/key:3"}, [f"arn:aws:ssm:{AT}:parameter/app/key"]),
        ("ssm", "GetParameters", {"Names": ["a", "/b/c"]},
         [f"arn:aws:ssm:{AT}:parameter/a", f"arn:aws:ssm:{AT}:parameter/b/c"]),
        ("ssm", "GetParameter", {"Name": f"arn:aws:ssm:{AT}:parameter/a:prod"},
         [f"arn:aws:ssm:{AT}:parameter/a"]),
        ("ssm", "GetParametersByPath", {"Path": "/app"}, [f"arn:aws:ssm:{AT}:parameter/app"]),
        ("ssm", "DescribeParameters", {}, [f"arn:aws:ssm:{AT}:*"]),
        ("s3", "GetObject", {"Bucket": "b", "Key": "a/k"}, ["arn:aws:s3:::b/a/k"]),
        ("s3", "ListObjectsV2", {"Bucket": "b", "Prefix": "a/"}, ["arn:aws:s3:::b"]),
        ("s3", "ListBuckets", {}, ["*"]),
        ("s3", "DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "1"}, {"Key": "2"}]}},
         ["arn:aws:s3:::b/1", "arn:aws:s3:::b/2"]),
        ("logs", "PutLogEvents", {"logGroupName": "/e", "logStreamName": "s"},
         [f"arn:aws:logs:{AT}:log-group:/e:log-stream:s"]),
        ("logs", "CreateLogGroup", {"logGroupName": "/e"}, [f"arn:aws:logs:{AT}:log-group:/e:log-stream:"]),
        ("logs", "FilterLogEvents", {"logGroupIdentifier": f"arn:aws:logs:{AT}:log-group:/e:*"},
         [f"arn:aws:logs:{AT}:log-group:/e:log-stream:"]),
        ("logs", "TagResource", {"resourceArn": f"arn:aws:logs:{AT}:log-group:/e"},
         [f"arn:aws:logs:{AT}:log-group:/e"]),
        ("ecr", "GetAuthorizationToken", {}, ["*"]),
        ("ecr", "PutImage", {"repositoryName": "team/web"}, [f"arn:aws:ecr:{AT}:repository/team/web"]),
        ("ecs", "StopTask", {"cluster": "c", "task": ID}, [f"arn:aws:ecs:{AT}:task/c/{ID}"]),
        ("ecs", "StopTask", {"cluster": f"arn:aws:ecs:{AT}:cluster/c", "task": f"task/x/{ID}"},
         [f"arn:aws:ecs:{AT}:task/c/{ID}"]),
        ("ecs", "DescribeTasks", {"tasks": [ID, "b" * 32]},
         [f"arn:aws:ecs:{AT}:task/default/{ID}", f"arn:aws:ecs:{AT}:task/default/{'b' * 32}"]),
        ("ecs", "ExecuteCommand", {"cluster": "c", "task": ID},
         [f"arn:aws:ecs:{AT}:cluster/c", f"arn:aws:ecs:{AT}:task/c/{ID}"]),
        ("ecs", "RunTask", {"taskDefinition": "web:3"}, [f"arn:aws:ecs:{AT}:task-definition/web:3"]),
        ("ecs", "UpdateService", {"cluster": "c", "service": "s"}, [f"arn:aws:ecs:{AT}:service/c/s"]),
        ("ecs", "DescribeTaskDefinition", {"taskDefinition": "web:3"}, ["*"]),
        ("ecs", "ListTasks", {"cluster": "c"}, ["*"]),
        ("sqs", "SendMessage", {"QueueUrl": "http://x:1/123456789012/q"}, [f"arn:aws:sqs:{AT}:q"]),
        ("sqs", "SendMessage", {"QueueUrl": "http://x:1/123456789012/my\tqueue"},
         [f"arn:aws:sqs:{AT}:myqueue"]),
        ("efs", "DescribeMountTargets", {"FileSystemId": "fs-0123"},
         [f"arn:aws:elasticfilesystem:{AT}:file-system/fs-0123"]),
        ("efs", "DeleteAccessPoint", {"AccessPointId": "fsap-0123"},
         [f"arn:aws:elasticfilesystem:{AT}:access-point/fsap-0123"]),
        ("events", "PutRule", {"Name": "r"}, [f"arn:aws:events:{AT}:rule/r"]),
        ("events", "PutRule", {"Name": "r", "EventBusName": "b"}, [f"arn:aws:events:{AT}:rule/b/r"]),
        ("scheduler", "GetSchedule", {"Name": "s"}, [f"arn:aws:scheduler:{AT}:schedule/default/s"]),
        ("cloudwatch", "SetAlarmState", {"AlarmName": "a"}, [f"arn:aws:cloudwatch:{AT}:alarm:a"]),
        ("sts", "AssumeRole", {"RoleArn": "arn:aws:iam::123456789012:role/x"},
         ["arn:aws:iam::123456789012:role/x"]),
        ("iam", "GetRole", {"RoleName": "x"}, ["arn:aws:iam::123456789012:role/x"]),
        ("servicediscovery", "GetService", {"Id": "srv-1"}, [None]),
    ],
)  # fmt: skip
def test_the_resources_of_a_call(
    service: str, operation: str, params: dict[str, Any], resources: list[str | None]
) -> None:
    assert [resource for _, resource in asked(service, operation, **params)] == resources


def test_calls_that_need_more_than_one_right() -> None:
    assert asked("s3", "CopyObject", Bucket="to", Key="k", CopySource="/from/a%20b?versionId=null") == [
        ("s3:PutObject", "arn:aws:s3:::to/k"),
        ("s3:GetObject", "arn:aws:s3:::from/a b"),
    ]
    role = "arn:aws:iam::123456789012:role/x"
    passed = needs("ecs", "RegisterTaskDefinition", {"family": "web", "taskRoleArn": role}, SCOPE)
    assert [(need.action, need.resource) for need in passed] == [
        ("ecs:RegisterTaskDefinition", f"arn:aws:ecs:{AT}:task-definition/web:*"),
        ("iam:PassRole", role),
    ]
    assert passed[1].context == {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    assert asked("secretsmanager", "BatchGetSecretValue", SecretIdList=["a"]) == [
        ("secretsmanager:BatchGetSecretValue", "*"),
        ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{AT}:secret:a"),
    ]


def test_nobody_needs_a_right_to_ask_who_he_is() -> None:
    assert asked("sts", "GetCallerIdentity") == []


def test_keys_for_conditions() -> None:
    (need,) = needs("s3", "ListObjectsV2", {"Bucket": "b", "Prefix": "home/"}, SCOPE)
    assert need.context == {"s3:prefix": "home/"}
    (need,) = needs("ecs", "StopTask", {"task": ID, "cluster": "c"}, SCOPE)
    assert need.context == {"ecs:cluster": f"arn:aws:ecs:{AT}:cluster/c"}
    (need,) = needs("ecs", "CreateCluster", {"tags": [{"key": "team", "value": "a"}]}, SCOPE)
    assert need.context["aws:RequestTag/team"] == "a" and need.context["aws:TagKeys"] == ("team",)


def test_the_roles_of_tasks_are_those_of_the_overrides_first() -> None:
    definition = {"taskRoleArn": "a", "executionRoleArn": "b"}
    assert task_roles({"taskRoleArn": "c"}, definition) == ["c", "b"]
    assert task_roles({}, {"taskRoleArn": "b", "executionRoleArn": "b"}) == ["b"]
    assert task_roles({}, {}) == []


def test_every_operation_that_is_built_needs_something_that_can_be_said() -> None:
    for name, room in build_rooms(Catalogue()).items():
        for operation in room.functions:
            for need in needs(name, operation, {}, SCOPE):
                prefix, _, action = need.action.partition(":")
                assert prefix.islower() and action.isalnum(), need
                assert need.resource in (None, "*") or str(need.resource).startswith("arn:aws:"), need
