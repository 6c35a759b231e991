"""What Fargate refuses of a task definition, in AWS's words. Pure; called by definition.

Runs before the general rules, so that a definition that is wrong for Fargate says so first.
"""

import re
from typing import Any, Final

from neargate.model import sizes
from neargate.model.definition_containers import check_names, refuse
from neargate.model.definition_logs import check_fargate_logs
from neargate.model.definition_network import check_network
from neargate.model.definition_volumes import check_path

Json = dict[str, Any]
_UNSUPPORTED: Final = "Fargate compatible task definitions do not support {}"
_CAPABILITY: Final = re.compile(r"[A-Z][A-Z_]{1,40}")
_ECR: Final = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/")
_TIMEOUT: Final = (2, 120)
_SYSTEM_CONTROL: Final = re.compile(
    r"net\.[A-Za-z0-9_.-]+|fs\.mqueue\.[a-z_]+"
    r"|kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)"
)
_TMPFS_FLAGS: Final = frozenset(
    """defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync remount mand nomand atime noatime
    diratime nodiratime bind rbind unbindable runbindable private rprivate shared rshared slave rslave
    relatime norelatime strictatime nostrictatime""".split()  # noqa: SIM905
)
_TMPFS_OPTIONS: Final = ("mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol")


def check_fargate(body: Json, *, large: bool = False) -> None:
    """Raise ClientException unless a Fargate task can be run of the definition."""
    if body.get("networkMode") != "awsvpc":
        refuse("Fargate only supports network mode ‘awsvpc’.")
    check_names(body["containerDefinitions"])
    _check_task(body, large)
    check_network(body)
    for container in body["containerDefinitions"]:
        _check_container(container)
        _check_linux(container)
        _check_system_controls(container)
        check_fargate_logs(container, body)
        _check_execution_role(container, body)
    _check_volumes(body)


def _check_task(body: Json, large: bool) -> None:
    platform = body.get("runtimePlatform", {})
    windows = platform.get("operatingSystemFamily", "LINUX").startswith("WINDOWS")
    if windows and platform.get("cpuArchitecture") == "ARM64":
        refuse("Windows tasks do not support the cpuArchitecture ARM64")
    cpu, memory = (int(body[name]) if name in body else None for name in ("cpu", "memory"))
    sizes.check_fargate(cpu, memory, windows=windows, large=large)
    assert cpu is not None and memory is not None
    check_container_sizes(body["containerDefinitions"], cpu, memory)
    if "ephemeralStorage" in body:
        sizes.check_storage(body["ephemeralStorage"]["sizeInGiB"])
    if body["placementConstraints"]:
        refuse(_UNSUPPORTED.format("constraints"))
    if "ipcMode" in body:
        refuse(_UNSUPPORTED.format("ipcMode"))
    if body.get("pidMode", "task") != "task":
        refuse(
            f"Tasks using the Fargate launch type do not support pidMode '{body['pidMode']}'."
            " The supported value for pidMode is 'task'."
        )
    if body.get("trustedExecutionConfiguration", {}).get("isolationMode", "SHARED") != "SHARED":
        refuse(_UNSUPPORTED.format("trustedExecutionConfiguration"))


def check_container_sizes(containers: list[Json], cpu: int, memory: int) -> None:
    """Containers must fit in their task. Also for RunTask, with its overrides applied."""
    if sum(container.get("cpu", 0) for container in containers) > cpu:
        refuse("The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.")
    for container in containers:
        if container.get("memory", 0) > memory:
            refuse(f"The 'memory' setting for container '{container['name']}' is greater than for the task")
        if container.get("memoryReservation", 0) > memory:
            refuse(
                f"The 'memoryReservation' setting for container '{container['name']}' is greater than for the"
                " task"
            )


def _check_container(container: Json) -> None:
    if container.get("privileged"):
        refuse("Fargate requires that the 'privileged' setting be 'false'")
    if container.get("dockerSecurityOptions"):
        refuse(_UNSUPPORTED.format("dockerSecurityOptions"))
    for requirement in container.get("resourceRequirements", ()):
        refuse(
            f"Tasks using the Fargate launch type do not support {requirement['type']} resource requirements"
        )
    low, high = _TIMEOUT
    for setting in ("startTimeout", "stopTimeout"):
        if not low <= container.get(setting, low) <= high:
            refuse(
                f"The '{setting}' setting for container '{container['name']}' must be between {low} and"
                f" {high}"
            )


def _check_linux(container: Json) -> None:
    linux = container.get("linuxParameters", {})
    for member in ("devices", "sharedMemorySize", "maxSwap", "swappiness"):
        if linux.get(member):
            refuse(_UNSUPPORTED.format(member))
    capabilities = linux.get("capabilities", {})
    for capability in capabilities.get("add", ()):
        if capability != "SYS_PTRACE":
            refuse(f"{capability[:100]} is not allowed on Fargate.")
    for capability in capabilities.get("drop", ()):
        if not _CAPABILITY.fullmatch(capability):
            refuse(f"Invalid capability '{capability[:100]}' of container '{container['name']}'.")
    for tmpfs in linux.get("tmpfs", ()):
        check_path(container["name"], tmpfs["containerPath"])
        if tmpfs["size"] < 1:
            refuse(f"Invalid size of tmpfs '{tmpfs['containerPath']}': it must be at least 1 MiB.")
        for option in tmpfs.get("mountOptions", ()):
            name, _, value = option.partition("=")
            if (name not in _TMPFS_OPTIONS or not value) if "=" in option else name not in _TMPFS_FLAGS:
                refuse(f"Invalid mount option '{option[:100]}' of tmpfs '{tmpfs['containerPath']}'.")


def _check_system_controls(container: Json) -> None:
    for control in container["systemControls"]:
        name, value = control.get("namespace") or "", control.get("value")
        if not _SYSTEM_CONTROL.fullmatch(name) or ".." in name or not value:
            refuse(f"Invalid systemControls '{name[:100]}' of container '{container['name']}'.")


def _check_execution_role(container: Json, body: Json) -> None:
    if body.get("executionRoleArn"):
        return
    if container.get("repositoryCredentials"):
        refuse(
            "When you are specifying repositoryCredentials, you must also specify a value for"
            " 'executionRoleArn'"
        )
    if _ECR.match(container["image"]):
        refuse("Fargate requires task definition to have execution role ARN to support ECR images.")


def _check_volumes(body: Json) -> None:
    for volume in body["volumes"]:
        if volume.get("host", {}).get("sourcePath"):
            refuse(_UNSUPPORTED.format("sourcePath"))
        for member in ("dockerVolumeConfiguration", "fsxWindowsFileServerVolumeConfiguration"):
            if member in volume:
                refuse(_UNSUPPORTED.format(member))
