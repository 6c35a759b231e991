"""RunTask's parameters, read and checked as far as they can be without the store.

Called by run.py. Raises AWS's errors; the order of the checks is the order of the members below.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from neargate.kit.errors import ApiError
from neargate.model import sizes
from neargate.model.record import Scope
from neargate.services.call import Params
from neargate.services.ecs import names
from neargate.services.ecs.network import Network, read_network

_MAX_COUNT: Final = 10
_STARTED_BY: Final = re.compile(r"[A-Za-z0-9_/:.-]{1,128}")
_TOKEN: Final = re.compile(r"[!-~]{1,64}")
_GROUP_LIMIT: Final = 255
_PLATFORMS: Final = {"LATEST": "1.4.0", "1.4.0": "1.4.0", "1.3.0": "1.3.0"}


@dataclass(frozen=True, slots=True)
class Request:
    task_definition: str
    count: int
    launch_type: str | None
    strategy: Sequence[Mapping[str, Any]]
    platform_version: str
    overrides: Mapping[str, Any]
    group: str
    started_by: str | None
    tags: dict[str, str]
    propagate_tags: bool
    managed_tags: bool
    enable_execute_command: bool
    params: Params

    def network(self) -> Network:
        return read_network(self.params)


def read_request(params: Params, scope: Scope) -> Request:
    launch_type, strategy = params.get("launchType"), params.get("capacityProviderStrategy") or ()
    if launch_type and strategy:
        raise names.invalid("Specifying both a launch type and capacity provider strategy is not supported")
    _check_texts(params)
    for member, what in (("placementConstraints", "constraints"), ("placementStrategy", "strategies")):
        if params.get(member) and launch_type not in ("EC2", "EXTERNAL", "MANAGED_INSTANCES"):
            raise names.invalid(f"Placement {what} are not supported with FARGATE launch type.")
    if params.get("propagateTags") == "SERVICE":
        raise names.invalid("propagateTags SERVICE is only supported for tasks of a service.")
    if params.get("volumeConfigurations"):
        raise ApiError(
            "UnsupportedFeatureException", "volumeConfigurations are not available in this version."
        )
    return Request(
        task_definition=params["taskDefinition"],
        count=_count(params.get("count")),
        launch_type=launch_type,
        strategy=strategy,
        platform_version=platform(params.get("platformVersion") or "LATEST"),
        overrides=names.with_role_arns(params.get("overrides") or {}, scope),
        group=params.get("group") or "",
        started_by=params.get("startedBy") or None,
        tags=names.read_tags(params.get("tags")),
        propagate_tags=params.get("propagateTags") == "TASK_DEFINITION",
        managed_tags=bool(params.get("enableECSManagedTags")),
        enable_execute_command=bool(params.get("enableExecuteCommand")),
        params=params,
    )


def _count(count: int | None) -> int:
    if count is None:
        return 1
    if not 1 <= count <= _MAX_COUNT:
        raise names.invalid(f"count must be between 1 and {_MAX_COUNT}.")
    return count


def _check_texts(params: Params) -> None:
    if params.get("startedBy") and not _STARTED_BY.fullmatch(params["startedBy"]):
        raise names.invalid(
            "startedBy can have up to 128 letters, numbers, hyphens, underscores, slashes, dots and colons."
        )
    if params.get("clientToken") is not None and not _TOKEN.fullmatch(params["clientToken"]):
        raise names.invalid("clientToken can have 1 to 64 characters in the range of 33-126.")
    if len(params.get("group") or "") > _GROUP_LIMIT:
        raise names.invalid(f"group can have at most {_GROUP_LIMIT} characters.")


def platform(version: str) -> str:
    """The number of a platform version. Raises PlatformUnknownException."""
    if version not in _PLATFORMS:
        raise ApiError(
            "PlatformUnknownException",
            f"The platform version {version[:100]} is unknown. Specify one of {', '.join(_PLATFORMS)}.",
        )
    return _PLATFORMS[version]


class Platform(Protocol):
    """What check_platform asks of a request; services make tasks by theirs."""

    @property
    def platform_version(self) -> str: ...
    @property
    def overrides(self) -> Mapping[str, Any]: ...
    @property
    def enable_execute_command(self) -> bool: ...


def check_platform(request: Platform, body: Mapping[str, Any], *, spot: bool) -> None:
    """Whether the platform version, and what neargate's nodes are, can run the definition (on Spot)."""
    platform = body.get("runtimePlatform", {})
    if platform.get("operatingSystemFamily", "LINUX") != "LINUX":
        raise ApiError(
            "UnsupportedFeatureException", "Windows tasks cannot be run here: the nodes run Linux."
        )
    if any(volume.get("configuredAtLaunch") for volume in body["volumes"]):
        raise names.invalid(
            "volumeConfigurations must be specified for volumes that are configured at launch."
        )
    if request.enable_execute_command and not (
        body.get("taskRoleArn") or request.overrides.get("taskRoleArn")
    ):
        raise names.invalid(
            "A valid taskRoleArn is not being used. Specify a valid task role in your task definition and try"
            " again."
        )
    arm_spot = spot and platform.get("cpuArchitecture") == "ARM64"
    if request.platform_version == "1.3.0" and (arm_spot or _needs_newest(request, body)):
        raise ApiError(
            "PlatformTaskDefinitionIncompatibilityException",
            "One or more of the requested capabilities are not supported.",
        )


def _needs_newest(request: Platform, body: Mapping[str, Any]) -> bool:
    """Whether anything asked for came with platform version 1.4.0."""
    overrides = request.overrides
    cpu = sizes.parse_cpu(overrides["cpu"]) if overrides.get("cpu") else int(body["cpu"])
    containers = body["containerDefinitions"]
    changed = overrides.get("containerOverrides") or ()
    return (
        request.enable_execute_command
        or cpu >= sizes.BIG_CPU
        or "pidMode" in body
        or bool(body.get("ephemeralStorage") or overrides.get("ephemeralStorage"))
        or any("efsVolumeConfiguration" in volume for volume in body["volumes"])
        or any(c.get("environmentFiles") for c in (*containers, *changed))
        or any(c["systemControls"] for c in containers)
        or any(c.get("linuxParameters", {}).get("capabilities", {}).get("add") for c in containers)
    )
