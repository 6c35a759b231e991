"""IAM's policies as boto3 sees them: inline, managed, their versions, attachments, AWS's own, simulation."""

import json
from typing import Any

import pytest

from neargate.model.aws_policies import aws_policies
from neargate.model.policy import Decision, Request, decide
from neargate.model.policy_document import parse_kept
from neargate.services.iam.versions import MOST_VERSIONS
from tests.api.test_iam_roles import (
    ACCOUNT,
    ADMINISTRATOR,
    EXECUTION,
    READ,
    iam,
    policies_of,
    refused,
    role,
)
from tests.support.door import Door

__all__ = ["iam"]


def said(action: str, effect: str = "Allow", **more: Any) -> str:
    statement = {"Effect": effect, "Action": action, "Resource": "*"} | more
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def policy(iam: Any, name: str = "reader", document: str = READ, **more: Any) -> str:
    return str(iam.create_policy(PolicyName=name, PolicyDocument=document, **more)["Policy"]["Arn"])


def test_inline_policies(door: Door, iam: Any) -> None:
    arn = role(iam)["Arn"]
    iam.put_role_policy(RoleName="web", PolicyName="read", PolicyDocument=READ)
    iam.put_role_policy(RoleName="web", PolicyName="deny", PolicyDocument=said("s3:GetObject", "Deny"))
    assert iam.get_role_policy(RoleName="web", PolicyName="read")["PolicyDocument"] == json.loads(READ)
    pages = iam.get_paginator("list_role_policies").paginate(RoleName="web", PaginationConfig={"PageSize": 1})
    assert [page["PolicyNames"] for page in pages] == [["deny"], ["read"]]
    held = policies_of(door, arn)
    assert sorted(each.id for each in held) == ["deny", "read"]
    assert decide(held, Request("s3:GetObject", "*", {})) is Decision.EXPLICIT_DENY
    assert decide(held, Request("s3:GetBucketAcl", "*", {})) is Decision.ALLOWED
    iam.delete_role_policy(RoleName="web", PolicyName="deny")
    gone = ("NoSuchEntity", "The role policy with name deny cannot be found.", 404)
    assert refused(iam.get_role_policy, RoleName="web", PolicyName="deny") == gone
    assert refused(iam.delete_role_policy, RoleName="web", PolicyName="deny") == gone


def test_inline_policies_share_their_room(iam: Any) -> None:
    role(iam)
    for name, length in (("a", 5000), ("b", 5000)):
        iam.put_role_policy(RoleName="web", PolicyName=name, PolicyDocument=said(f"s3:{'x' * length}"))
    full = ("LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role web", 409)
    for name in ("a", "c"):
        document = said(f"s3:{'x' * 5200}")
        assert refused(iam.put_role_policy, RoleName="web", PolicyName=name, PolicyDocument=document) == full
    iam.put_role_policy(RoleName="web", PolicyName="a", PolicyDocument=READ)
    iam.put_role_policy(RoleName="web", PolicyName="c", PolicyDocument=said(f"s3:{'x' * 4000}"))


def test_a_managed_policy_is_made_and_read(iam: Any) -> None:
    tags = [{"Key": "a", "Value": "b"}]
    made = iam.create_policy(
        PolicyName="reader", PolicyDocument=READ, Path="/apps/", Description="reads", Tags=tags
    )["Policy"]
    arn = f"arn:aws:iam::{ACCOUNT}:policy/apps/reader"
    assert (made["Arn"], made["DefaultVersionId"], made["AttachmentCount"]) == (arn, "v1", 0)
    assert made["PolicyId"].startswith("ANPA")
    assert iam.get_policy(PolicyArn=arn)["Policy"] == made
    version = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    assert (version["Document"], version["IsDefaultVersion"]) == (json.loads(READ), True)
    assert refused(iam.create_policy, PolicyName="Reader", PolicyDocument=READ) == (
        "EntityAlreadyExists",
        "A policy called Reader already exists. Duplicate names are not allowed.",
        409,
    )
    assert refused(iam.create_policy, PolicyName="x", PolicyDocument=said(f"s3:{'x' * 6144}")) == (
        "LimitExceeded",
        "Cannot exceed quota for PolicySize: 6144",
        409,
    )
    assert refused(iam.create_policy, PolicyName="x", PolicyDocument="{}") == (
        "MalformedPolicyDocument",
        "Syntax errors in policy.",
        400,
    )
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "c", "Value": "d"}])
    iam.untag_policy(PolicyArn=arn, TagKeys=["a"])
    assert iam.list_policy_tags(PolicyArn=arn)["Tags"] == [{"Key": "c", "Value": "d"}]


def test_versions(door: Door, iam: Any) -> None:
    arn, owner = policy(iam), role(iam)["Arn"]
    iam.attach_role_policy(RoleName="web", PolicyArn=arn)

    def decided() -> Decision:
        held = policies_of(door, owner)
        return decide(held, Request("ecs:RunTask", "*", {}))

    second = iam.create_policy_version(PolicyArn=arn, PolicyDocument=said("ecs:*"))["PolicyVersion"]
    assert (second["VersionId"], second["IsDefaultVersion"]) == ("v2", False)
    assert decided() is Decision.IMPLICIT_DENY
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    assert decided() is Decision.ALLOWED
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
    for _ in range(3):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ, SetAsDefault=True)
    assert decided() is Decision.IMPLICIT_DENY
    full = (
        f"A managed policy can have up to {MOST_VERSIONS} versions. Before you create a new version, you must"
    )
    assert refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument=READ) == (
        "LimitExceeded",
        f"{full} delete an existing version.",
        409,
    )
    pages = iam.get_paginator("list_policy_versions").paginate(
        PolicyArn=arn, PaginationConfig={"PageSize": 2}
    )
    listed = [each["VersionId"] for page in pages for each in page["Versions"]]
    assert listed == ["v5", "v4", "v3", "v2", "v1"]
    assert refused(iam.delete_policy_version, PolicyArn=arn, VersionId="v5") == (
        "DeleteConflict",
        "Cannot delete the default version of a policy.",
        409,
    )
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    # Numbers are not given twice.
    sixth = iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)["PolicyVersion"]
    assert sixth["VersionId"] == "v6"
    assert refused(iam.get_policy_version, PolicyArn=arn, VersionId="v1") == (
        "NoSuchEntity",
        f"Policy {arn} version v1 does not exist or is not attachable.",
        404,
    )


def test_a_policy_in_use_is_not_deleted(iam: Any) -> None:
    arn = policy(iam)
    role(iam, PermissionsBoundary=arn)
    iam.attach_role_policy(RoleName="web", PolicyArn=arn)
    iam.attach_role_policy(RoleName="web", PolicyArn=arn)
    counted = iam.get_policy(PolicyArn=arn)["Policy"]
    assert (counted["AttachmentCount"], counted["PermissionsBoundaryUsageCount"]) == (1, 1)
    used = ("DeleteConflict", "Cannot delete a policy attached to entities.", 409)
    assert refused(iam.delete_policy, PolicyArn=arn) == used
    iam.detach_role_policy(RoleName="web", PolicyArn=arn)
    assert refused(iam.delete_policy, PolicyArn=arn) == used
    iam.delete_role_permissions_boundary(RoleName="web")
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)
    code, message, _ = refused(iam.delete_policy, PolicyArn=arn)
    assert (code, message[:46]) == ("DeleteConflict", "This policy has more than one version. Before ")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy(PolicyArn=arn)
    gone = ("NoSuchEntity", f"Policy {arn} was not found.", 404)
    assert refused(iam.get_policy, PolicyArn=arn) == gone
    assert refused(iam.detach_role_policy, RoleName="web", PolicyArn=arn) == gone
    assert refused(iam.attach_role_policy, RoleName="web", PolicyArn=arn) == (
        "NoSuchEntity",
        f"Policy {arn} does not exist or is not attachable.",
        404,
    )
    bad = "arn:aws:s3:::bucket/with/a/name"
    assert refused(iam.attach_role_policy, RoleName="web", PolicyArn=bad) == (
        "InvalidInput",
        f"ARN {bad} is not valid.",
        400,
    )


def test_the_policies_of_services_are_for_services(iam: Any) -> None:
    role(iam)
    own = "arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy"
    told = ("PolicyNotAttachable", "Cannot attach a Service Role Policy to a Customer Role.", 400)
    assert refused(iam.attach_role_policy, RoleName="web", PolicyArn=own) == told
    assert refused(iam.put_role_permissions_boundary, RoleName="web", PermissionsBoundary=own) == told


def test_ten_are_attached_and_no_more(iam: Any) -> None:
    role(iam)
    arns = [policy(iam, f"p{place:02}", Path="/a/" if place < 4 else "/") for place in range(11)]
    for arn in arns[:10]:
        iam.attach_role_policy(RoleName="web", PolicyArn=arn)
    assert refused(iam.attach_role_policy, RoleName="web", PolicyArn=arns[10]) == (
        "LimitExceeded",
        "Cannot exceed quota for PoliciesPerRole: 10",
        409,
    )
    pages = iam.get_paginator("list_attached_role_policies").paginate(
        RoleName="web", PaginationConfig={"PageSize": 4}
    )
    assert [each["PolicyArn"] for page in pages for each in page["AttachedPolicies"]] == arns[:10]
    some = iam.list_attached_role_policies(RoleName="web", PathPrefix="/a/")["AttachedPolicies"]
    assert [each["PolicyName"] for each in some] == ["p00", "p01", "p02", "p03"]


def test_who_has_a_policy(iam: Any) -> None:
    first, second = role(iam, "first"), role(iam, "second", PermissionsBoundary=EXECUTION)
    iam.attach_role_policy(RoleName="first", PolicyArn=EXECUTION)

    def entities(**more: Any) -> list[str]:
        found = iam.list_entities_for_policy(PolicyArn=EXECUTION, **more)
        assert found["PolicyUsers"] == found["PolicyGroups"] == []
        return [each["RoleId"] for each in found["PolicyRoles"]]

    assert entities() == entities(EntityFilter="Role") == [first["RoleId"], second["RoleId"]]
    assert entities(PolicyUsageFilter="PermissionsPolicy") == [first["RoleId"]]
    assert entities(PolicyUsageFilter="PermissionsBoundary") == [second["RoleId"]]
    assert entities(EntityFilter="User") == entities(PathPrefix="/none/") == []


def test_lists_of_policies(iam: Any) -> None:
    mine = policy(iam, "zz", Path="/x/")
    role(iam)
    iam.attach_role_policy(RoleName="web", PolicyArn=EXECUTION)

    def arns(**params: Any) -> list[str]:
        pages = iam.get_paginator("list_policies").paginate(**params, PaginationConfig={"PageSize": 7})
        return [each["Arn"] for page in pages for each in page["Policies"]]

    assert arns(Scope="Local") == arns(PathPrefix="/x/") == [mine]
    assert sorted(arns(Scope="AWS")) == sorted(aws_policies())
    assert sorted(arns()) == sorted([mine, *aws_policies()])
    assert arns(OnlyAttached=True) == arns(PolicyUsageFilter="PermissionsPolicy") == [EXECUTION]
    assert arns(PolicyUsageFilter="PermissionsBoundary") == []


def test_policies_of_aws_are_there_and_are_aws_s(iam: Any) -> None:
    got = iam.get_policy(PolicyArn=EXECUTION)["Policy"]
    assert (got["Path"], got["DefaultVersionId"], got["CreateDate"].year) == ("/service-role/", "v1", 2017)
    version = iam.get_policy_version(PolicyArn=EXECUTION, VersionId="v1")["PolicyVersion"]
    assert version["Document"] == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [
                    "ecr:GetAuthorizationToken",
                    "ecr:BatchCheckLayerAvailability",
                    "ecr:GetDownloadUrlForLayer",
                    "ecr:BatchGetImage",
                    "logs:CreateLogStream",
                    "logs:PutLogEvents",
                ],
                "Resource": "*",
            }
        ],
    }
    for call, params in (
        (iam.create_policy_version, {"PolicyDocument": READ}),
        (iam.delete_policy, {}),
        (iam.set_default_policy_version, {"VersionId": "v1"}),
    ):
        code, message, status = refused(call, PolicyArn=EXECUTION, **params)
        assert (code, status) == ("AccessDenied", 403)
        assert message.endswith(f"on resource: policy {EXECUTION}")


@pytest.mark.parametrize("arn", sorted(aws_policies()))
def test_every_policy_of_aws_can_be_read(arn: str) -> None:
    found = parse_kept(aws_policies()[arn].document)
    assert found.statements and all(statement.actions for statement in found.statements)


@pytest.mark.parametrize(
    ("name", "action", "decision"),
    [
        ("AdministratorAccess", "iam:CreateRole", Decision.ALLOWED),
        ("PowerUserAccess", "iam:CreateRole", Decision.IMPLICIT_DENY),
        ("PowerUserAccess", "ecs:RunTask", Decision.ALLOWED),
        ("ReadOnlyAccess", "ecs:DescribeTasks", Decision.ALLOWED),
        ("ReadOnlyAccess", "ecs:RunTask", Decision.IMPLICIT_DENY),
        ("AmazonSSMReadOnlyAccess", "ssm:GetParameters", Decision.ALLOWED),
        ("SecretsManagerReadWrite", "secretsmanager:GetSecretValue", Decision.ALLOWED),
        ("CloudWatchLogsFullAccess", "logs:PutLogEvents", Decision.ALLOWED),
        ("AmazonS3ReadOnlyAccess", "s3:PutObject", Decision.IMPLICIT_DENY),
        ("AmazonS3FullAccess", "s3:PutObject", Decision.ALLOWED),
        ("AmazonECS_FullAccess", "ecs:RunTask", Decision.ALLOWED),
        ("AmazonEC2ContainerRegistryReadOnly", "ecr:PutImage", Decision.IMPLICIT_DENY),
        ("AmazonElasticFileSystemClientFullAccess", "elasticfilesystem:ClientRootAccess", Decision.ALLOWED),
    ],
)
def test_what_policies_of_aws_allow(name: str, action: str, decision: Decision) -> None:
    document = aws_policies()[f"arn:aws:iam::aws:policy/{name}"].document
    assert decide([parse_kept(document)], Request(action, "*", {})) is decision


def results(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (each["EvalActionName"], each["EvalResourceName"], each["EvalDecision"])
        for each in answer["EvaluationResults"]
    ]


def test_simulation_of_a_role(iam: Any) -> None:
    arn = role(iam, Tags=[{"Key": "team", "Value": "blue"}])["Arn"]
    mine = said("s3:GetObject", Resource="arn:aws:s3:::${aws:PrincipalTag/team}/*")
    iam.put_role_policy(RoleName="web", PolicyName="own", PolicyDocument=mine)
    blue, red = "arn:aws:s3:::blue/x", "arn:aws:s3:::red/x"
    asked = {"PolicySourceArn": arn, "ActionNames": ["s3:GetObject", "s3:PutObject"]}
    answer = iam.simulate_principal_policy(**asked, ResourceArns=[blue, red])
    assert results(answer) == [
        ("s3:GetObject", blue, "allowed"),
        ("s3:GetObject", red, "implicitDeny"),
        ("s3:PutObject", blue, "implicitDeny"),
        ("s3:PutObject", red, "implicitDeny"),
    ]
    told = answer["EvaluationResults"][0]["MatchedStatements"]
    assert [each["SourcePolicyId"] for each in told] == ["own"]
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        **asked, ResourceArns=[blue, red], PaginationConfig={"PageSize": 3}
    )
    assert [len(page["EvaluationResults"]) for page in pages] == [3, 1]
    bounded = iam.simulate_principal_policy(
        **asked, ResourceArns=[blue], PermissionsBoundaryPolicyInputList=[said("ecs:*")]
    )["EvaluationResults"][0]
    assert bounded["EvalDecision"] == "implicitDeny"
    assert bounded["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}
    none = f"arn:aws:iam::{ACCOUNT}:role/none"
    assert refused(iam.simulate_principal_policy, PolicySourceArn=none, ActionNames=["s3:x"]) == (
        "NoSuchEntity",
        "The role with name none cannot be found.",
        404,
    )


def test_simulation_without_some_policies(iam: Any) -> None:
    arn = role(iam, PermissionsBoundary=ADMINISTRATOR)["Arn"]
    iam.put_role_policy(RoleName="web", PolicyName="own", PolicyDocument=said("s3:*"))
    iam.attach_role_policy(RoleName="web", PolicyArn=EXECUTION)
    mine = policy(iam, "mine", said("ecs:*"))
    iam.attach_role_policy(RoleName="web", PolicyArn=mine)
    actions = ["s3:GetObject", "logs:PutLogEvents", "ecs:RunTask"]

    def allowed(*excluded: dict[str, Any]) -> list[str]:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=arn, ActionNames=actions, PolicyExclusionList=list(excluded)
        )
        return [action for action, _, decision in results(answer) if decision == "allowed"]

    def inline(name: str, of: str, kind: str = "role") -> dict[str, Any]:
        named = {"PolicyName": name, "AttachmentType": kind, "AttachmentName": of}
        return {"InlinePolicyIdentifier": named}

    assert (
        allowed()
        == allowed({"PolicyType": "permission-boundary"})
        == allowed({"PolicyType": "scp"})
        == actions
    )
    assert allowed({"PolicyType": "inline"}) == allowed(inline("own", "WEB")) == actions[1:]
    assert allowed(inline("own", "other")) == allowed(inline("own", "web", "user")) == actions
    assert (
        allowed({"PolicyType": "aws-managed"})
        == allowed({"PolicyArn": EXECUTION})
        == [actions[0], actions[2]]
    )
    assert allowed({"PolicyType": "user-managed"}, {"PolicyArn": f"{EXECUTION[:-4]}*"}) == actions[:1]
    both = {"PolicyArn": mine, "PolicyType": "inline"}
    asked = {"PolicySourceArn": arn, "ActionNames": actions, "PolicyExclusionList": [both]}
    assert refused(iam.simulate_principal_policy, **asked)[0] == "InvalidInput"


def test_simulation_of_policies_that_nobody_has(iam: Any) -> None:
    condition = {"Condition": {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}}
    documents = [said("s3:*", **condition), said("s3:Delete*", "Deny")]
    asked: dict[str, Any] = {"PolicyInputList": documents, "ActionNames": ["s3:GetObject", "s3:DeleteObject"]}
    answer = iam.simulate_custom_policy(**asked)
    assert [each[2] for each in results(answer)] == ["implicitDeny", "explicitDeny"]
    assert answer["EvaluationResults"][0]["MissingContextValues"] == ["aws:requestedregion"]
    entry = {"ContextKeyName": "aws:RequestedRegion", "ContextKeyValues": ["eu-west-1"]}
    answer = iam.simulate_custom_policy(**asked, ContextEntries=[entry | {"ContextKeyType": "string"}])
    assert [each[2] for each in results(answer)] == ["allowed", "explicitDeny"]
    assert answer["EvaluationResults"][0]["MissingContextValues"] == []
    assert refused(iam.simulate_custom_policy, PolicyInputList=["{"], ActionNames=["s3:x"]) == (
        "InvalidInput",
        "Invalid Input Parameter [PolicyInputList]: Syntax errors in policy.",
        400,
    )
