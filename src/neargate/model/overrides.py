"""RunTask's overrides against the definition: checked, and what the task's size becomes. Pure.

Called by services/ecs; applied to the containers by assembly when a node gets the task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from neargate.kit.errors import ApiError
from neargate.model import sizes
from neargate.model.definition_containers import check_variable
from neargate.model.definition_fargate import check_container_sizes

Json = dict[str, Any]
_MAX_CHARACTERS = 8192
_CONTAINER_MEMBERS = ("command", "environment", "environmentFiles", "cpu", "memory", "memoryReservation")


@dataclass(frozen=True, slots=True)
class Overridden:
    """A task's size, and its overrides as DescribeTasks shows them."""

    cpu: int
    memory: int
    storage: int
    overrides: Json
    containers: tuple[Json, ...]
    """The definition's containers, their cpu and memory overridden."""


def apply_overrides(body: Json, overrides: Mapping[str, Any], *, large: bool = False) -> Overridden:
    """Raises InvalidParameterException or ClientException with AWS's message."""
    try:
        given = {k: v for k, v in overrides.items() if v is not None}
        if len(msgspec.json.encode(given)) > _MAX_CHARACTERS:
            raise _invalid(f"Overrides must be at most {_MAX_CHARACTERS} characters long.")
    except (UnicodeEncodeError, OverflowError):
        raise _invalid("The overrides hold text or numbers out of range.") from None
    if given.get("inferenceAcceleratorOverrides"):
        raise _invalid("Tasks using the Fargate launch type do not support inferenceAcceleratorOverrides.")
    by_name = _by_container(body, given.get("containerOverrides", ()))
    cpu = sizes.parse_cpu(given["cpu"]) if given.get("cpu") else int(body["cpu"])
    memory = sizes.parse_memory(given["memory"]) if given.get("memory") else int(body["memory"])
    windows = body.get("runtimePlatform", {}).get("operatingSystemFamily", "LINUX").startswith("WINDOWS")
    sizes.check_fargate(cpu, memory, windows=windows, large=large)
    storage = given.get("ephemeralStorage") or body.get("ephemeralStorage")
    if storage is not None:
        sizes.check_storage(storage["sizeInGiB"])
    containers = tuple(_sized(c, by_name.get(c["name"], {})) for c in body["containerDefinitions"])
    check_container_sizes(list(containers), cpu, memory)
    return Overridden(
        cpu=cpu,
        memory=memory,
        storage=storage["sizeInGiB"] if storage is not None else sizes.STORAGE_DEFAULT,
        overrides=_shown(body, given, by_name),
        containers=containers,
    )


def _by_container(body: Json, given: Any) -> dict[str, Json]:
    known = {container["name"] for container in body["containerDefinitions"]}
    by_name: dict[str, Json] = {}
    for item in given:
        name = item.get("name") or ""
        if name not in known:
            raise _invalid(
                f"Override for container named {name[:300]} is not a container in the TaskDefinition."
            )
        if name in by_name:
            raise _invalid(f"There is more than one override for container named {name}.")
        if item.get("resourceRequirements"):
            raise _invalid("Tasks using the Fargate launch type do not support GPU resource requirements")
        for variable in item.get("environment") or ():
            check_variable(name, variable)
        # An empty list overrides nothing.
        by_name[name] = {k: item[k] for k in _CONTAINER_MEMBERS if item.get(k) not in (None, [])}
    return by_name


def _sized(container: Json, override: Json) -> Json:
    sized = dict(container)
    sized.update((k, override[k]) for k in ("cpu", "memory", "memoryReservation") if k in override)
    name = container["name"]
    if sized.get("cpu", 0) < 0:
        raise _invalid(f"Invalid 'cpu' override for container '{name}'.")
    for setting in ("memory", "memoryReservation"):
        if setting in override and override[setting] < 4:
            raise _invalid(f"Invalid '{setting}' override for container '{name}'. It must be at least 4.")
    if sized.get("memoryReservation", 0) > sized.get("memory", float("inf")):
        raise _invalid("'memory' must be greater than or equal to 'memoryReservation'")
    return sized


def _shown(body: Json, given: Json, by_name: Mapping[str, Json]) -> Json:
    """Every container is named, whether or not it is overridden: as AWS answers."""
    shown: Json = {
        "containerOverrides": [
            {"name": c["name"], **by_name.get(c["name"], {})} for c in body["containerDefinitions"]
        ],
        "inferenceAcceleratorOverrides": [],
    }
    for name in ("cpu", "memory", "executionRoleArn", "taskRoleArn", "ephemeralStorage"):
        if given.get(name):
            shown[name] = given[name]
    return shown


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)
