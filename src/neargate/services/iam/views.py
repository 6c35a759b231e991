"""Roles, policies and their versions as answers show them. Used by the other modules here."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from neargate.model.role import InstanceProfile, ManagedPolicy, PolicyVersion, Role, account_wide, name_id
from neargate.services.call import Call
from neargate.state.catalog_iam import IAM_ROLE
from neargate.state.store import Tx


def document(text: str) -> str:
    """As IAM answers with policies: encoded like a part of a URL."""
    return quote(text, safe="")


def shown_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def listed_role(role: Role) -> dict[str, Any]:
    """As lists show it: without tags, boundary and use."""
    shown: dict[str, Any] = {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.id,
        "Arn": role.arn,
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": document(role.trust),
        "MaxSessionDuration": role.max_session,
    }
    return shown | ({"Description": role.description} if role.description else {})


def created_role(role: Role) -> dict[str, Any]:
    shown = listed_role(role)
    if role.boundary:
        shown["PermissionsBoundary"] = {
            "PermissionsBoundaryType": "Policy",
            "PermissionsBoundaryArn": role.boundary,
        }
    return shown | ({"Tags": shown_tags(role.tags)} if role.tags else {})


def whole_role(role: Role) -> dict[str, Any]:
    last = role.last_used
    return created_role(role) | {
        "RoleLastUsed": {} if last is None else {"LastUsedDate": last.at, "Region": last.region}
    }


@dataclass(frozen=True, slots=True)
class Uses:
    """How many roles have a policy, attached or as their boundary."""

    attached: Counter[str] = field(default_factory=Counter)
    bounding: Counter[str] = field(default_factory=Counter)


def uses_of(tx: Tx, call: Call) -> Uses:
    roles = tx.all(IAM_ROLE, account_wide(call.scope.account))
    return Uses(
        Counter(arn for role in roles for arn in role.attached),
        Counter(role.boundary for role in roles if role.boundary),
    )


def listed_policy(policy: ManagedPolicy, uses: Uses) -> dict[str, Any]:
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": f"v{policy.default}",
        "AttachmentCount": uses.attached[policy.arn],
        "PermissionsBoundaryUsageCount": uses.bounding[policy.arn],
        "IsAttachable": True,
        "CreateDate": policy.created_at,
        "UpdateDate": policy.updated_at,
    }


def whole_policy(policy: ManagedPolicy, uses: Uses) -> dict[str, Any]:
    described = {"Description": policy.description} if policy.description else {}
    return listed_policy(policy, uses) | described | {"Tags": shown_tags(policy.tags)}


def shown_version(policy: ManagedPolicy, version: PolicyVersion, *, whole: bool = False) -> dict[str, Any]:
    shown = {
        "VersionId": version.id,
        "IsDefaultVersion": version.number == policy.default,
        "CreateDate": version.created_at,
    }
    return shown | ({"Document": document(version.document)} if whole else {})


def shown_profile(tx: Tx, profile: InstanceProfile) -> dict[str, Any]:
    role = tx.get(IAM_ROLE, name_id(profile.account, profile.role)) if profile.role else None
    return {
        "Path": profile.path,
        "InstanceProfileName": profile.name,
        "InstanceProfileId": profile.id,
        "Arn": profile.arn,
        "CreateDate": profile.created_at,
        "Roles": [] if role is None else [listed_role(role)],
        "Tags": shown_tags(profile.tags),
    }
