"""What callers call things: clusters, tasks, task definitions and roles by name or ARN; tags.

Called by every module of this room. Raises AWS's errors.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from neargate.kit.errors import ApiError
from neargate.model.record import Scope
from neargate.model.task import Cluster, Task, TaskDefinition
from neargate.services.call import Params
from neargate.state.catalog import CLUSTER, FAMILY, TASK, TASK_DEFINITION
from neargate.state.store import Tx

DEFAULT_CLUSTER = "default"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_TASK_ID = re.compile(r"[0-9a-f-]{32,36}")
_REVISION = re.compile(r"[1-9][0-9]{0,8}")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}")
_ROLE = re.compile(r"[A-Za-z0-9+=,.@_-]{1,64}")
_MAX_TAGS = 50


def invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)


def client_error(message: str) -> ApiError:
    return ApiError("ClientException", message)


def cluster_not_found() -> ApiError:
    return ApiError("ClusterNotFoundException", "Cluster not found.")


def no_definition() -> ApiError:
    return client_error("Unable to describe task definition.")


def storable(params: Params) -> bytes:
    """The parameters as JSON. Raises InvalidParameterException on text or numbers that no store keeps."""
    try:
        return msgspec.json.encode(params, order="sorted")
    except (UnicodeEncodeError, OverflowError):
        raise invalid("The request holds text or numbers out of range.") from None


def cluster_name(text: str | None, scope: Scope) -> str:
    """The cluster's name in a name or ARN; `default` if there is none."""
    if not text:
        return DEFAULT_CLUSTER
    if text.startswith("arn:"):
        text = resource(text, scope, "cluster", cluster_not_found())
        if "/" in text:
            raise invalid(f"Invalid cluster ARN: {text[:300]}")
    if not _NAME.fullmatch(text):
        raise invalid(
            "Invalid cluster name: up to 255 letters, numbers, hyphens and underscores are allowed."
        )
    return text


def cluster_arn(text: str | None, scope: Scope) -> str:
    return scope.arn("ecs", f"cluster/{cluster_name(text, scope)}")


def resource(arn: str, scope: Scope, kind: str, missing: ApiError) -> str:
    """What follows `<kind>/` in an ECS ARN; `missing` is raised for one of another account or region."""
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[2] != "ecs" or not parts[5].startswith(f"{kind}/"):
        raise invalid(f"Invalid identifier: {arn[:300]} is not the ARN of a {kind}.")
    if parts[1] != "aws" or (parts[3], parts[4]) != (scope.region, scope.account):
        raise missing
    return parts[5][len(kind) + 1 :]


def need_cluster(tx: Tx, arn: str) -> Cluster:
    """An ACTIVE cluster. Raises ClusterNotFoundException."""
    cluster = tx.get(CLUSTER, arn)
    if cluster is None:
        raise cluster_not_found()
    if cluster.status != "ACTIVE":
        raise ApiError("ClusterNotFoundException", "The referenced cluster was inactive.")
    return cluster


def task_arn(text: str, cluster: str, scope: Scope) -> str:
    """ARN of a task by its id or ARN, old short ones as well. `cluster` is the named cluster's name."""
    if text.startswith("arn:"):
        rest = resource(text, scope, "task", invalid("The referenced task was not found."))
    else:
        rest = text.removeprefix("task/")
    where, _, id = rest.rpartition("/")
    if where and where != cluster:
        raise invalid(f"Identifier is for {where[:300]}. Your cluster is {cluster}")
    if not _TASK_ID.fullmatch(id):
        raise invalid("taskId length should be one of [32,36]")
    return scope.arn("ecs", f"task/{cluster}/{id}")


def need_task(tx: Tx, arn: str) -> Task:
    task = tx.get(TASK, arn)
    if task is None:
        raise invalid("The referenced task was not found.")
    return task


def definition_name(text: str, scope: Scope) -> tuple[str, int | None]:
    """(family, revision or None) of `family`, `family:3` or an ARN. Raises ClientException."""
    if text.startswith("arn:"):
        text = resource(text, scope, "task-definition", no_definition())
    family, colon, revision = text.partition(":")
    if not _NAME.fullmatch(family):
        raise client_error(f"Invalid task definition '{text[:300]}'.")
    if not colon:
        return family, None
    if not _REVISION.fullmatch(revision):
        raise client_error(f"Invalid revision number. Number: {revision[:100]}")
    return family, int(revision)


def with_role_arns(params: Params, scope: Scope) -> Params:
    """The parameters with taskRoleArn and executionRoleArn as ARNs: AWS takes a role's bare name as well."""
    roles = {n: _role_arn(params[n], scope) for n in ("taskRoleArn", "executionRoleArn") if params.get(n)}
    return {**params, **roles}


def _role_arn(text: str, scope: Scope) -> str:
    if _ROLE.fullmatch(text):
        return f"arn:aws:iam::{scope.account}:role/{text}"
    if not _ROLE_ARN.fullmatch(text):
        raise client_error("Role is not valid")
    return text


def definition_arn(scope: Scope, family: str, revision: int) -> str:
    return scope.arn("ecs", f"task-definition/{family}:{revision}")


def family_id(scope: Scope, family: str) -> str:
    return f"{scope.account}/{scope.region}/{family}"


def find_definition(tx: Tx, scope: Scope, text: str) -> TaskDefinition | None:
    """The revision named; by family alone, the newest ACTIVE one."""
    family, revision = definition_name(text, scope)
    if revision is None:
        record = tx.get(FAMILY, family_id(scope, family))
        revision = record.active if record is not None else 0
    return tx.get(TASK_DEFINITION, definition_arn(scope, family, revision)) if revision else None


def active_definition(tx: Tx, scope: Scope, text: str) -> TaskDefinition:
    """The revision to run. Raises ClientException."""
    definition = find_definition(tx, scope, text)
    if definition is None:
        raise no_definition()
    if definition.status != "ACTIVE":
        raise client_error("TaskDefinition is inactive")
    return definition


def read_tags(given: Sequence[Mapping[str, Any]] | None) -> dict[str, str]:
    """Tags of a request. Raises InvalidParameterException on reserved, empty or doubled keys."""
    tags: dict[str, str] = {}
    storable({"tags": given})
    for item in given or ():
        key, value = item.get("key") or "", item.get("value") or ""
        if not key:
            raise invalid("Tag key must not be null or empty.")
        if key.lower().startswith("aws:"):
            raise invalid("aws: prefixed tag key names are not allowed for external use.")
        if key in tags:
            raise invalid(f"Duplicate tag key '{key}'. Tag keys must be unique.")
        tags[key] = value
    check_tag_count(tags)
    return tags


def check_tag_count(tags: Mapping[str, str]) -> None:
    """AWS's own tags do not count."""
    if sum(1 for key in tags if not key.startswith("aws:")) > _MAX_TAGS:
        raise invalid(f"The maximum number of tags per resource is {_MAX_TAGS}.")


def missing(arn: str) -> dict[str, str]:
    return {"arn": arn, "reason": "MISSING"}
