"""What any container of a task definition must obey, and the defaults that AWS fills in. Pure.

Called by definition. Raises ClientException with AWS's message where it is known.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from neargate.kit.errors import ApiError

Json = dict[str, Any]
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_MAX_CONTAINERS = 10
_MAX_ENVIRONMENT_FILES = 10
_MAX_IGNORED_CODES = 50
_LEAST_MEMORY = 4
_ARN = re.compile(r"arn:[a-z0-9-]+:s3:::[^/\s]+/\S+")
_SECRET_ARN = re.compile(
    r"arn:[a-z0-9-]+:(secretsmanager:[a-z0-9-]+:\d+:secret:|ssm:[a-z0-9-]+:\d+:parameter/)\S+"
)
_PARAMETER = re.compile(r"[A-Za-z0-9_.,/-]{1,2048}")
_RANGES = (("interval", 5, 300), ("timeout", 2, 60), ("retries", 1, 10), ("startPeriod", 0, 300))
_CHECK_DEFAULTS = {"interval": 30, "timeout": 5, "retries": 3}


def refuse(message: str) -> NoReturn:
    raise ApiError("ClientException", message)


def normalise_container(given: Mapping[str, Any], mode: str | None) -> Json:
    """A container as AWS returns it: empty lists, essential, protocol and ports spelt out."""
    container: Json = {k: v for k, v in given.items() if v is not None}
    container.setdefault("cpu", 0)
    container["portMappings"] = [_port(p, mode) for p in given.get("portMappings") or ()]
    container.setdefault("essential", True)
    for name in ("environment", "mountPoints", "volumesFrom", "systemControls"):
        container.setdefault(name, [])
    if "healthCheck" in container:
        container["healthCheck"] = {**_CHECK_DEFAULTS, **container["healthCheck"]}
    return container


def _port(given: Mapping[str, Any], mode: str | None) -> Json:
    port: Json = {k: v for k, v in given.items() if v is not None}
    if mode in ("awsvpc", "host") and "containerPort" in port:
        port.setdefault("hostPort", port["containerPort"])
    elif "containerPort" in port:
        port.setdefault("hostPort", 0)
    port.setdefault("protocol", "tcp")
    return port


def check_containers(body: Json) -> None:
    containers: list[Json] = body["containerDefinitions"]
    check_names(containers)
    for container in containers:
        _check_resources(container, body)
        _check_environment(container, body)
        _check_health(container)
        _check_restart(container)
        _check_timeouts(container)
        _check_ulimits(container)
    _check_depends_on(containers)


def check_names(containers: Sequence[Json]) -> None:
    """Names, images, the number of containers, and that one of them is essential."""
    if not containers:
        refuse("Container list cannot be empty")
    if len(containers) > _MAX_CONTAINERS:
        refuse("Too many containers")
    for container in containers:
        for member in ("name", "image"):
            if not container.get(member):
                refuse(f"Container.{member} should not be null or empty.")
        if not _NAME.fullmatch(container["name"]):
            refuse(
                f"Invalid container name '{container['name'][:300]}': up to 255 letters, numbers, hyphens and"
                " underscores are allowed."
            )
        if any(c.isspace() for c in container["image"]) or len(container["image"]) > 1024:
            refuse(f"Invalid image '{container['image'][:300]}' of container '{container['name']}'.")
    names = [container["name"] for container in containers]
    if len(set(names)) != len(names):
        refuse("Container names must be unique within a task definition")
    if not any(container["essential"] for container in containers):
        refuse("Task definition doesn't have any essential container")


def _check_resources(container: Json, body: Json) -> None:
    name, memory = container["name"], container.get("memory")
    reserved = container.get("memoryReservation")
    if container["cpu"] < 0:
        refuse(f"Invalid 'cpu' setting for container '{name}'.")
    for setting, value in (("memory", memory), ("memoryReservation", reserved)):
        if value is not None and value < _LEAST_MEMORY:
            refuse(
                f"Invalid '{setting}' setting for container '{name}'. It must be at least {_LEAST_MEMORY}."
            )
    if memory is None and reserved is None and "memory" not in body:
        refuse(
            f"Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be"
            " specified."
        )
    if memory is not None and reserved is not None and reserved > memory:
        refuse("'memory' must be greater than or equal to 'memoryReservation'")


def _check_environment(container: Json, body: Json) -> None:
    name = container["name"]
    for variable in container["environment"]:
        check_variable(name, variable)
    files = container.get("environmentFiles", ())
    if len(files) > _MAX_ENVIRONMENT_FILES:
        refuse("The maximum number of environment files was exceeded. Specify ten or less and try again")
    if any(not _ARN.fullmatch(file["value"]) for file in files):
        refuse("Invalid arn syntax")
    secrets = container.get("secrets", ())
    _check_secrets(name, secrets, {variable["name"] for variable in container["environment"]})
    if secrets and not body.get("executionRoleArn"):
        refuse(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'"
        )


def _check_secrets(container: str, secrets: Sequence[Json], taken: set[str]) -> None:
    """Each has a name of its own, and a source: a secret's ARN, a parameter's ARN or its bare name."""
    for secret in secrets:
        name, source = secret["name"], secret["valueFrom"]
        if not name or not source:
            refuse(f"The secrets of container '{container}' must have a name and a valueFrom.")
        if name in taken:
            refuse(
                "The secret name must be unique and not shared with any new or existing environment variables"
                f" set on the container, such as '{name[:300]}'."
            )
        taken = {*taken, name}
        if source.startswith("arn:") and not _SECRET_ARN.fullmatch(source):
            refuse("Invalid arn syntax")
        if not source.startswith("arn:") and not _PARAMETER.fullmatch(source):
            refuse(
                f"The Systems Manager parameter name specified for secret {name[:300]} is invalid. The"
                " parameter name can be up to 2048 characters and include the following letters and symbols:"
                " a-zA-Z0-9_.-,"
            )


def check_variable(container: str, variable: Mapping[str, Any]) -> None:
    """An environment variable's name and value must be what a process can be given."""
    name, value = variable.get("name") or "", variable.get("value") or ""
    if not name or "=" in name or "\0" in name or "\0" in value:
        refuse(f"Invalid environment variable name '{name[:300]}' of container '{container}'.")


def _check_health(container: Json) -> None:
    check = container.get("healthCheck")
    if check is None:
        return
    name, command = container["name"], check["command"]
    if not command or command[0] not in ("CMD", "CMD-SHELL") or len(command) < 2:
        refuse(f"The health check command of container '{name}' must start with CMD or CMD-SHELL.")
    for setting, low, high in _RANGES:
        if setting in check and not low <= check[setting] <= high:
            refuse(
                f"The '{setting}' setting of the health check of container '{name}' must be between {low} and"
                f" {high}"
            )


def _check_restart(container: Json) -> None:
    policy = container.get("restartPolicy")
    if policy is None:
        return
    name = container["name"]
    if not 60 <= policy.get("restartAttemptPeriod", 300) <= 1800:
        refuse(f"the 'restartAttemptPeriod' setting for container '{name}' must be between 60 and 1800")
    if len(policy.get("ignoredExitCodes", ())) > _MAX_IGNORED_CODES:
        refuse(
            f"the 'ignoredExitCodes' setting for container '{name}' must have at most {_MAX_IGNORED_CODES}"
            " codes"
        )


def _check_timeouts(container: Json) -> None:
    for setting in ("startTimeout", "stopTimeout"):
        if container.get(setting, 2) < 0:
            refuse(f"Invalid '{setting}' setting for container '{container['name']}'.")


def _check_ulimits(container: Json) -> None:
    seen: set[str] = set()
    for limit in container.get("ulimits", ()):
        name, soft, hard = limit["name"], limit["softLimit"], limit["hardLimit"]
        if min(soft, hard) < -1:
            refuse(f"Invalid value of ulimit {name}: it must be -1 (unlimited) or more")
        if name in seen:
            refuse(f"Duplicate ulimit {name}")
        seen.add(name)
        if hard != -1 and (soft == -1 or soft > hard):
            refuse(f"Soft limit exceeds hard limit for ulimit {name}")


def _check_depends_on(containers: Sequence[Json]) -> None:
    by_name = {container["name"]: container for container in containers}
    for container in containers:
        for wanted in container.get("dependsOn", ()):
            other = by_name.get(wanted["containerName"])
            if other is None:
                refuse(f"Cannot depend on container {wanted['containerName']} because it does not exist")
            if wanted["condition"] in ("SUCCESS", "COMPLETE") and other["essential"]:
                refuse(
                    "A dependency container with SUCCESS or COMPLETE condition cannot be an essential"
                    " container"
                )
            if wanted["condition"] == "HEALTHY" and "healthCheck" not in other:
                refuse("A dependency container with HEALTHY condition must have health check configured")
    order = {
        name: {d["containerName"] for d in container.get("dependsOn", ())}
        for name, container in by_name.items()
    }
    _check_acyclic(order)
    shared = {
        name: {v.get("sourceContainer") for v in container["volumesFrom"]} & by_name.keys()
        for name, container in by_name.items()
    }
    _check_acyclic({name: order[name] | shared[name] for name in by_name})


def _check_acyclic(after: Mapping[str, set[str]]) -> None:
    left = dict(after)
    while left:
        ready = [name for name, others in left.items() if not others & left.keys()]
        if not ready:
            refuse(f"Circular dependency among containers {', '.join(sorted(left))}")
        for name in ready:
            del left[name]
