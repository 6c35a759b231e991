"""IAM's roles as boto3 sees them: made, changed, tagged, bounded, deleted; and what is refused."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from neargate.model.policy import Decision, Purpose, Request, decide
from neargate.state import roles
from neargate.state.store import Tx
from tests.support.door import Door

ACCOUNT = "000000000000"
TASKS = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
TRUST = json.dumps(TASKS)
READ = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}}
)
EXECUTION = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"


@pytest.fixture
def iam(door: Door) -> Any:
    return door.client("iam", config=Config(parameter_validation=False, retries={"total_max_attempts": 1}))


def refused(call: Callable[..., Any], **params: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    answer = caught.value.response
    error = answer["Error"]
    return error["Code"], error["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


def role(iam: Any, name: str = "web", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST, **more)["Role"]
    return made


def read(door: Door, body: Callable[[Tx], Any]) -> Any:
    return door.call(door.daemon.house.store.read(body))


def policies_of(door: Door, arn: str) -> Any:
    """What is in force for a role; None if there is none."""

    def body(tx: Tx) -> Any:
        found = roles.find_role(tx, ACCOUNT, arn)
        return None if found is None else roles.policies_of(tx, found)

    return read(door, body)


def test_a_role_is_made_and_read(iam: Any) -> None:
    made = role(iam, Path="/apps/", Description="of the web", Tags=[{"Key": "team", "Value": "blue"}])
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/apps/web"
    assert re.fullmatch("AROA[A-Z2-7]{17}", made["RoleId"])
    assert (made["Path"], made["MaxSessionDuration"]) == ("/apps/", 3600)
    assert made["AssumeRolePolicyDocument"] == TASKS
    assert made["Tags"] == [{"Key": "team", "Value": "blue"}]
    got = iam.get_role(RoleName="web")["Role"]
    assert got == made | {"RoleLastUsed": {}}
    # Names are the same in any case.
    assert iam.get_role(RoleName="WEB")["Role"]["Arn"] == made["Arn"]


def test_documents_are_encoded_on_the_wire(door: Door, iam: Any) -> None:
    role(iam)
    seen: list[bytes] = []
    iam.meta.events.register(
        "after-call.iam.GetRole", lambda http_response, **_: seen.append(http_response.content)
    )
    iam.get_role(RoleName="web")
    assert b"<AssumeRolePolicyDocument>%7B%22Version%22%3A%20%222012-10-17%22%2C%20" in seen[0]
    assert b'xmlns="https://iam.amazonaws.com/doc/2010-05-08/"' in seen[0]


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1"])
def test_any_region_is_the_same_iam(door: Door, iam: Any, region: str) -> None:
    role(iam)
    assert door.client("iam", region_name=region).get_role(RoleName="web")["Role"]["RoleName"] == "web"


def test_what_create_role_refuses(iam: Any) -> None:
    role(iam)
    again = refused(iam.create_role, RoleName="Web", AssumeRolePolicyDocument=TRUST)
    assert again == ("EntityAlreadyExists", "Role with name Web already exists.", 409)
    bad = refused(iam.create_role, RoleName="x", AssumeRolePolicyDocument="{")
    assert bad == ("MalformedPolicyDocument", "This policy contains invalid Json", 400)
    long = json.dumps(TASKS | {"Id": "x" * 2048})
    assert refused(iam.create_role, RoleName="x", AssumeRolePolicyDocument=long) == (
        "LimitExceeded",
        "Cannot exceed quota for ACLSizePerRole: 2048",
        409,
    )
    code, message, status = refused(iam.create_role, RoleName="a b", AssumeRolePolicyDocument=TRUST)
    assert (code, status) == ("ValidationError", 400)
    assert message.startswith("1 validation error detected: Value 'a b' at 'roleName' failed to satisfy")
    nowhere = f"arn:aws:iam::{ACCOUNT}:policy/nowhere"
    assert refused(
        iam.create_role, RoleName="x", AssumeRolePolicyDocument=TRUST, PermissionsBoundary=nowhere
    ) == ("NoSuchEntity", f"Scope ARN: {nowhere} does not exist or is not attachable.", 404)
    assert [each["RoleName"] for each in iam.list_roles()["Roles"]] == ["web"]


def test_white_space_does_not_count(iam: Any) -> None:
    iam.create_role(RoleName="airy", AssumeRolePolicyDocument=TRUST.replace(" ", " " * 300))


def test_roles_are_listed_in_pages(iam: Any) -> None:
    names = sorted(f"role-{place}" for place in range(7))
    for name in reversed(names):
        role(iam, name, Path="/a/" if name < "role-3" else "/b/")
    pages = list(iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["Roles"]) for page in pages] == [3, 3, 1]
    assert [each["RoleName"] for page in pages for each in page["Roles"]] == names
    assert [page["IsTruncated"] for page in pages] == [True, True, False]
    some = iam.list_roles(PathPrefix="/a/")
    assert [each["RoleName"] for each in some["Roles"]] == names[:3]
    assert "Marker" not in some
    assert refused(iam.list_roles, Marker="=")[:2] == ("ValidationError", "Invalid Marker.")


def test_a_role_is_changed(iam: Any) -> None:
    role(iam, Description="old")
    iam.update_role(RoleName="web", MaxSessionDuration=7200)
    got = iam.get_role(RoleName="web")["Role"]
    assert (got["Description"], got["MaxSessionDuration"]) == ("old", 7200)
    assert iam.update_role_description(RoleName="web", Description="new")["Role"]["Description"] == "new"
    other = TASKS | {"Id": "other"}
    iam.update_assume_role_policy(RoleName="web", PolicyDocument=json.dumps(other))
    assert iam.get_role(RoleName="web")["Role"]["AssumeRolePolicyDocument"] == other
    assert refused(iam.update_assume_role_policy, RoleName="web", PolicyDocument=READ) == (
        "MalformedPolicyDocument",
        "Missing required field Principal",
        400,
    )


@pytest.mark.parametrize(
    "operation", ["get_role", "delete_role", "update_role", "list_role_tags", "list_role_policies"]
)
def test_a_role_that_is_not_there(iam: Any, operation: str) -> None:
    assert refused(getattr(iam, operation), RoleName="none") == (
        "NoSuchEntity",
        "The role with name none cannot be found.",
        404,
    )


def test_tags(iam: Any) -> None:
    role(iam, Tags=[{"Key": "Team", "Value": "blue"}])
    iam.tag_role(RoleName="web", Tags=[{"Key": "team", "Value": "red"}, {"Key": "é", "Value": ""}])
    tags = iam.list_role_tags(RoleName="web")
    assert tags["Tags"] == [{"Key": "team", "Value": "red"}, {"Key": "é", "Value": ""}]
    long = [{"Key": f"{place}" + "é" * 120, "Value": "x"} for place in range(9)]
    iam.tag_role(RoleName="web", Tags=long)
    pages = iam.get_paginator("list_role_tags").paginate(RoleName="web", PaginationConfig={"PageSize": 2})
    assert len([tag for page in pages for tag in page["Tags"]]) == 11
    iam.untag_role(RoleName="web", TagKeys=[tag["Key"] for tag in long] + ["TEAM", "none"])
    assert iam.list_role_tags(RoleName="web")["Tags"] == [{"Key": "é", "Value": ""}]
    twice = [{"Key": "a", "Value": ""}, {"Key": "A", "Value": ""}]
    assert refused(iam.tag_role, RoleName="web", Tags=twice) == (
        "InvalidInput",
        "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
        400,
    )
    assert refused(iam.tag_role, RoleName="web", Tags=[{"Key": "aws:x", "Value": ""}])[0] == "InvalidInput"
    many = [{"Key": f"k{place}", "Value": ""} for place in range(50)]
    assert refused(iam.tag_role, RoleName="web", Tags=many) == (
        "LimitExceeded",
        "The number of tags has reached the maximum limit.",
        409,
    )


def test_a_role_with_anything_is_not_deleted(iam: Any) -> None:
    role(iam)
    iam.put_role_policy(RoleName="web", PolicyName="read", PolicyDocument=READ)
    iam.attach_role_policy(RoleName="web", PolicyArn=EXECUTION)
    iam.create_instance_profile(InstanceProfileName="web")
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="web")
    told = []
    for undo in (
        lambda: iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="web"),
        lambda: iam.detach_role_policy(RoleName="web", PolicyArn=EXECUTION),
        lambda: iam.delete_role_policy(RoleName="web", PolicyName="read"),
    ):
        told.append(refused(iam.delete_role, RoleName="web"))
        undo()
    assert told == [
        ("DeleteConflict", f"Cannot delete entity, must {what} first.", 409)
        for what in ("remove roles from instance profile", "detach all policies", "delete policies")
    ]
    first = iam.get_role(RoleName="web")["Role"]["RoleId"]
    iam.delete_role(RoleName="web")
    assert refused(iam.get_role, RoleName="web")[0] == "NoSuchEntity"
    # A role of the same name is another role.
    assert role(iam)["RoleId"] != first


def test_a_boundary_bounds(door: Door, iam: Any) -> None:
    made = role(iam, PermissionsBoundary=ADMINISTRATOR)
    bounded = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": ADMINISTRATOR}
    assert made["PermissionsBoundary"] == bounded
    iam.put_role_policy(RoleName="web", PolicyName="read", PolicyDocument=READ)
    get, run = Request("s3:GetObject", "*", {}), Request("logs:CreateLogStream", "*", {})

    def decided() -> list[Decision]:
        held = policies_of(door, made["Arn"])
        return [decide(held, get), decide(held, run)]

    assert decided() == [Decision.ALLOWED, Decision.IMPLICIT_DENY]
    iam.put_role_permissions_boundary(RoleName="web", PermissionsBoundary=EXECUTION)
    iam.attach_role_policy(RoleName="web", PolicyArn=ADMINISTRATOR)
    assert decided() == [Decision.IMPLICIT_DENY, Decision.ALLOWED]
    held = policies_of(door, made["Arn"])
    assert {policy.purpose for policy in held} == {Purpose.GRANT, Purpose.BOUNDARY}
    iam.delete_role_permissions_boundary(RoleName="web")
    assert "PermissionsBoundary" not in iam.get_role(RoleName="web")["Role"]
    assert decided() == [Decision.ALLOWED, Decision.ALLOWED]


def test_what_the_store_says_of_roles(door: Door, iam: Any) -> None:
    made = role(iam, Path="/apps/")

    assert policies_of(door, made["Arn"]) == ()
    assert policies_of(door, f"arn:aws:iam::{ACCOUNT}:role/web") is None
    assert policies_of(door, "arn:aws:iam::111111111111:role/apps/web") is None
    assert policies_of(door, "no arn") is None
    trust = read(door, lambda tx: roles.trust_policy(tx, ACCOUNT, made["Arn"]))
    service = {"aws:PrincipalServiceName": "ecs-tasks.amazonaws.com"}
    assert decide([trust], Request("sts:AssumeRole", made["Arn"], service)) is Decision.ALLOWED


def test_last_use_is_told(door: Door, iam: Any) -> None:
    made = role(iam)
    store = door.daemon.house.store
    door.call(store.write(lambda tx: roles.note_use(tx, ACCOUNT, made["Arn"], "eu-west-1", 1_700_000_000.0)))
    last = iam.get_role(RoleName="web")["Role"]["RoleLastUsed"]
    assert (last["Region"], last["LastUsedDate"].timestamp()) == ("eu-west-1", 1_700_000_000.0)
    kept = read(door, lambda tx: roles.find_role(tx, ACCOUNT, made["Arn"]))
    assert not roles.use_is_news(kept, "eu-west-1", 1_700_000_100.0)
    assert roles.use_is_news(kept, "eu-west-2", 1_700_000_100.0)
    assert roles.use_is_news(kept, "eu-west-1", 1_700_003_600.0)


def test_a_services_own_role(iam: Any) -> None:
    made = iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com", Description="own")["Role"]
    path = "/aws-service-role/ecs.amazonaws.com/"
    assert (made["RoleName"], made["Path"]) == ("AWSServiceRoleForECS", path)
    assert iam.list_attached_role_policies(RoleName="AWSServiceRoleForECS")["AttachedPolicies"] == [
        {
            "PolicyName": "AmazonECSServiceRolePolicy",
            "PolicyArn": "arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy",
        }
    ]
    assert refused(iam.create_service_linked_role, AWSServiceName="ecs.amazonaws.com") == (
        "InvalidInput",
        "Service role name AWSServiceRoleForECS has been taken in this account, please try a different"
        " suffix.",
        400,
    )
    assert refused(iam.delete_role, RoleName="AWSServiceRoleForECS") == (
        "UnmodifiableEntity",
        "Cannot perform the operation on the protected role 'AWSServiceRoleForECS' - this role is only"
        " modifiable by AWS",
        400,
    )
    assert refused(iam.create_service_linked_role, AWSServiceName="none.amazonaws.com")[0] == "InvalidInput"
    task = iam.delete_service_linked_role(RoleName="AWSServiceRoleForECS")["DeletionTaskId"]
    assert task.startswith(f"task{path}AWSServiceRoleForECS/")
    assert iam.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"] == "SUCCEEDED"
    assert refused(iam.get_service_linked_role_deletion_status, DeletionTaskId="x")[0] == "NoSuchEntity"
    assert iam.list_roles()["Roles"] == []


def test_instance_profiles(iam: Any) -> None:
    made = role(iam)
    profile = iam.create_instance_profile(InstanceProfileName="p", Path="/x/")["InstanceProfile"]
    assert profile["Arn"] == f"arn:aws:iam::{ACCOUNT}:instance-profile/x/p"
    assert profile["Roles"] == []
    assert iam.list_instance_profiles_for_role(RoleName="web")["InstanceProfiles"] == []
    iam.add_role_to_instance_profile(InstanceProfileName="p", RoleName="web")
    assert refused(iam.add_role_to_instance_profile, InstanceProfileName="p", RoleName="web") == (
        "LimitExceeded",
        "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
        409,
    )
    for listed in (
        iam.list_instance_profiles_for_role(RoleName="web")["InstanceProfiles"],
        iam.list_instance_profiles(PathPrefix="/x/")["InstanceProfiles"],
        [iam.get_instance_profile(InstanceProfileName="p")["InstanceProfile"]],
    ):
        assert [(each["InstanceProfileName"], each["Roles"][0]["Arn"]) for each in listed] == [
            ("p", made["Arn"])
        ]
    assert refused(iam.delete_instance_profile, InstanceProfileName="p")[0] == "DeleteConflict"
    assert refused(iam.create_instance_profile, InstanceProfileName="P") == (
        "EntityAlreadyExists",
        "Instance Profile P already exists.",
        409,
    )
    iam.tag_instance_profile(InstanceProfileName="p", Tags=[{"Key": "a", "Value": "b"}])
    assert iam.list_instance_profile_tags(InstanceProfileName="p")["Tags"] == [{"Key": "a", "Value": "b"}]
    iam.untag_instance_profile(InstanceProfileName="p", TagKeys=["a"])
    assert refused(iam.remove_role_from_instance_profile, InstanceProfileName="p", RoleName="x")[0] == (
        "NoSuchEntity"
    )
    iam.remove_role_from_instance_profile(InstanceProfileName="p", RoleName="web")
    iam.delete_instance_profile(InstanceProfileName="p")
    assert refused(iam.get_instance_profile, InstanceProfileName="p") == (
        "NoSuchEntity",
        "Instance Profile p cannot be found.",
        404,
    )


def test_users_are_not_built(iam: Any) -> None:
    assert refused(iam.create_user, UserName="ana")[2] == 501
