"""RegisterTaskDefinition's rules: from what the caller sent to the definition as AWS returns it. Pure.

Called by services/ecs. Each noun has its file: definition_containers (what any container must obey),
definition_network, definition_logs, definition_volumes, definition_fargate (what Fargate refuses),
definition_attributes (what AWS derives). The first rule that is broken is the error.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from neargate.kit.errors import ApiError
from neargate.model import sizes
from neargate.model.definition_attributes import required_attributes
from neargate.model.definition_containers import check_containers, normalise_container, refuse
from neargate.model.definition_fargate import check_fargate
from neargate.model.definition_logs import check_logs
from neargate.model.definition_network import check_network
from neargate.model.definition_volumes import check_volumes, normalise_volumes

Json = dict[str, Any]
MAX_BYTES = 64 * 1024
_FAMILY = re.compile(r"[A-Za-z0-9_-]+")
_NAME_LIMIT = 255
_COPIED = (
    "taskRoleArn",
    "executionRoleArn",
    "pidMode",
    "ipcMode",
    "proxyConfiguration",
    "ephemeralStorage",
    "runtimePlatform",
    "enableFaultInjection",
    "trustedExecutionConfiguration",
)


def normalise(params: Mapping[str, Any], *, large: bool = False) -> Json:
    """The definition's body: defaults filled, requiresAttributes and compatibilities derived.

    params -- RegisterTaskDefinition's members, of the model's types. large -- accept the 32 vCPU sizes.
    Raises ClientException with AWS's message. Nothing of the argument is changed.
    """
    _check_family(params["family"])
    _check_size(params)
    if params.get("inferenceAccelerators"):
        refuse("Unsupported field 'inferenceAccelerators'")
    body = _normalised(params)
    wanted: list[str] = body.get("requiresCompatibilities", [])
    if "FARGATE" in wanted:
        check_fargate(body, large=large)
    elif wanted and "ephemeralStorage" in body:
        refuse("Tasks using the EC2 launch type do not support EphemeralStorage")
    _check_any(body)
    fargate = "FARGATE" in wanted or _runs_on_fargate(body, large)
    body["requiresAttributes"] = [{"name": name} for name in required_attributes(body)]
    body["compatibilities"] = _compatibilities(body, fargate)
    return body


def _check_any(body: Json) -> None:
    """Rules that hold wherever the task may run."""
    check_containers(body)
    check_network(body)
    check_volumes(body)
    check_logs(body)


def _check_family(family: str) -> None:
    if not family:
        raise ApiError("ClientException", "Family should not be null or empty.")
    if len(family) > _NAME_LIMIT:
        raise ApiError("ClientException", f"Family name must be at most {_NAME_LIMIT} characters long.")
    if not _FAMILY.fullmatch(family):
        raise ApiError(
            "ClientException",
            "Family contains invalid characters. Valid ones are letters, numbers, hyphens and underscores.",
        )


def _check_size(params: Mapping[str, Any]) -> None:
    try:
        size = len(msgspec.json.encode({k: v for k, v in params.items() if k != "tags"}))
    except (UnicodeEncodeError, OverflowError):
        raise ApiError("ClientException", "The task definition holds text or numbers out of range.") from None
    if size > MAX_BYTES:
        raise ApiError(
            "ClientException", f"Actual length: '{size}'. Max allowed length is '{MAX_BYTES}' bytes."
        )


def _normalised(params: Mapping[str, Any]) -> Json:
    body: Json = {"family": params["family"]}
    wanted = list(dict.fromkeys(params.get("requiresCompatibilities") or ()))
    mode = params.get("networkMode")
    if mode is None and "FARGATE" not in wanted:
        mode = "bridge"
    if mode is not None:
        body["networkMode"] = mode
    body["containerDefinitions"] = [
        normalise_container(container, mode) for container in params["containerDefinitions"]
    ]
    body["volumes"] = normalise_volumes(params.get("volumes") or ())
    body["placementConstraints"] = [dict(c) for c in params.get("placementConstraints") or ()]
    if wanted:
        body["requiresCompatibilities"] = wanted
    if params.get("cpu"):
        body["cpu"] = str(sizes.parse_cpu(params["cpu"]))
    if params.get("memory"):
        body["memory"] = str(sizes.parse_memory(params["memory"]))
    body.update({name: params[name] for name in _COPIED if params.get(name) not in (None, "", [])})
    return body


def _runs_on_fargate(body: Json, large: bool) -> bool:
    """Whether it could have asked for FARGATE: AWS finds out for every definition."""
    try:
        check_fargate(body, large=large)
    except ApiError:
        return False
    return True


def _compatibilities(body: Json, fargate: bool) -> list[str]:
    found = ["EC2"]
    if body.get("networkMode") != "awsvpc":
        found.append("EXTERNAL")
    if fargate:
        found.append("FARGATE")
    return found
