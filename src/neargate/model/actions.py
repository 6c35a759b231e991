"""What a call needs: IAM's actions, the resources that they are on, the keys that conditions ask for. Pure.

Called by gateway/rights.py with a call's parsed parameters; services/cell names what ECS itself needs.
Resources are named in model/action_resources.py. Names: the Service Authorization Reference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from neargate.model.action_resources import bucket_arn, resources
from neargate.model.record import Scope

Params = Mapping[str, Any]
Value = str | tuple[str, ...]

_PREFIXES = {"elbv2": "elasticloadbalancing", "efs": "elasticfilesystem"}
"""Of services that IAM calls otherwise than botocore does."""
_ACTIONS = {
    ("s3", "ListBuckets"): "ListAllMyBuckets",
    ("s3", "HeadBucket"): "ListBucket",
    ("s3", "ListObjects"): "ListBucket",
    ("s3", "ListObjectsV2"): "ListBucket",
    ("s3", "ListMultipartUploads"): "ListBucketMultipartUploads",
    ("s3", "ListParts"): "ListMultipartUploadParts",
    ("s3", "HeadObject"): "GetObject",
    ("s3", "CopyObject"): "PutObject",
    ("s3", "CreateMultipartUpload"): "PutObject",
    ("s3", "UploadPart"): "PutObject",
    ("s3", "UploadPartCopy"): "PutObject",
    ("s3", "CompleteMultipartUpload"): "PutObject",
    ("s3", "DeleteObjects"): "DeleteObject",
    ("sqs", "SendMessageBatch"): "SendMessage",
    ("sqs", "DeleteMessageBatch"): "DeleteMessage",
    ("sqs", "ChangeMessageVisibilityBatch"): "ChangeMessageVisibility",
}
"""Of operations that IAM calls otherwise."""
_OPEN = frozenset((("sts", "GetCallerIdentity"), ("sts", "GetSessionToken")))
"""What needs no permission; nor can it be taken from anybody."""
_ROLES = ("taskRoleArn", "executionRoleArn")
_PASSED = {
    ("events", "PutRule"): "events.amazonaws.com",
    ("events", "PutTargets"): "events.amazonaws.com",
    ("scheduler", "CreateSchedule"): "scheduler.amazonaws.com",
    ("scheduler", "UpdateSchedule"): "scheduler.amazonaws.com",
}
PASS_ROLE = "iam:PassRole"
TASKS = "ecs-tasks.amazonaws.com"


@dataclass(frozen=True, slots=True)
class Need:
    """An action on a resource. `resource` is None where no table can name it."""

    action: str
    resource: str | None
    context: Mapping[str, Value] = field(default_factory=dict)


def action_of(service: str, operation: str) -> str:
    """`service` by botocore's name."""
    return f"{_PREFIXES.get(service, service)}:{_ACTIONS.get((service, operation), operation)}"


def needs(service: str, operation: str, params: Params, scope: Scope) -> list[Need]:
    """All that the call's principal must be allowed. Empty for what anybody may."""
    if (service, operation) in _OPEN:
        return []
    action, context = action_of(service, operation), _context(service, operation, params, scope)
    found = [Need(action, arn, context) for arn in resources(service, operation, params, scope)]
    if service == "s3" and params.get("CopySource"):
        found.append(Need("s3:GetObject", bucket_arn(*_source(params["CopySource"]))))
    if (service, operation) == ("secretsmanager", "BatchGetSecretValue"):
        found += needs_each("secretsmanager", "GetSecretValue", "SecretId", params.get("SecretIdList"), scope)
    return found + [passed(role, service_of) for role, service_of in _passed(service, operation, params)]


def needs_each(
    service: str, operation: str, member: str, values: Sequence[Any] | None, scope: Scope
) -> list[Need]:
    return [need for value in values or () for need in needs(service, operation, {member: value}, scope)]


def passed(role: str, service: str) -> Need:
    """The right to hand a role to a service."""
    return Need(PASS_ROLE, role, {"iam:PassedToService": service})


def task_roles(*given: Params) -> list[str]:
    """The roles that tasks get by the first of these to name each: overrides, then the definition."""
    found = (next((str(g[name]) for g in given if g.get(name)), "") for name in _ROLES)
    return list(dict.fromkeys(role for role in found if role))


def _passed(service: str, operation: str, params: Params) -> list[tuple[str, str]]:
    if (service, operation) == ("ecs", "RegisterTaskDefinition"):
        return [(role, TASKS) for role in task_roles(params)]
    receiver = _PASSED.get((service, operation))
    if receiver is None:
        return []
    targets = [params, params.get("Target") or {}, *(params.get("Targets") or ())]
    roles = dict.fromkeys(str(target["RoleArn"]) for target in targets if target.get("RoleArn"))
    return [(role, receiver) for role in roles]


def _source(text: str) -> tuple[str, str]:
    bucket, _, key = unquote(text.partition("?versionId=")[0]).removeprefix("/").partition("/")
    return bucket, key


def _context(service: str, operation: str, params: Params, scope: Scope) -> dict[str, Value]:
    """The keys of the service's own."""
    found: dict[str, Value] = {}
    if service == "s3":
        for name, member in (("prefix", "Prefix"), ("delimiter", "Delimiter"), ("max-keys", "MaxKeys")):
            if params.get(member) is not None:
                found[f"s3:{name}"] = str(params[member])
    elif service == "ecs":
        from_arn = str(params.get("cluster") or "default").rpartition("/")[2]
        found["ecs:cluster"] = scope.arn("ecs", f"cluster/{from_arn}")
    elif service == "secretsmanager" and operation == "GetSecretValue":
        found["secretsmanager:VersionStage"] = str(params.get("VersionStage") or "AWSCURRENT")
    tags = _tags(params)
    if tags:
        found |= {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        found["aws:TagKeys"] = tuple(tags)
    return found


def _tags(params: Params) -> dict[str, str]:
    given = params.get("tags") or params.get("Tags") or ()
    if isinstance(given, Mapping):
        return {str(key): str(value) for key, value in given.items()}
    pairs = [tag for tag in given if isinstance(tag, Mapping)]
    return {str(t.get("key", t.get("Key"))): str(t.get("value", t.get("Value")) or "") for t in pairs}
