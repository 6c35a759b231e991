"""Roles for tests: made through the IAM API, with policies written short."""

import json
from typing import Any

TASKS = {"Service": "ecs-tasks.amazonaws.com"}
ACCOUNT = {"AWS": "000000000000"}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


def trust(*principals: dict[str, Any]) -> str:
    return document(
        *({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": one} for one in principals)
    )


def make(
    iam: Any, name: str, *statements: dict[str, Any], trusts: tuple[dict[str, Any], ...] = (TASKS, ACCOUNT)
) -> str:
    """The role's ARN; its policy is the inline one of the name `p`."""
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(*trusts))["Role"]["Arn"]
    if statements:
        put(iam, name, *statements)
    return arn


def put(iam: Any, name: str, *statements: dict[str, Any]) -> None:
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(*statements))


def unmake(iam: Any, name: str) -> None:
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    iam.delete_role(RoleName=name)
