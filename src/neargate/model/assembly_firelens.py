"""FireLens in a sandbox: the router gets its configuration and socket, the others a way to it. Pure.

Called by assembly once all containers are made. Raises ValueError on what cannot be made real, in the ECS
agent's words where it has any.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from neargate.model import firelens
from neargate.model.assembly_containers import parse_size
from neargate.model.firelens import Kind, Router
from neargate.model.sandbox import ContainerSpec, Dependency, LogSink, Mount
from neargate.model.task import Task

DRIVER = "awsfirelens"
VOLUME = ".firelens"
"""No volume of a task definition has a name with a dot."""
BUFFER_LIMIT = 1024 * 1024
"""Bytes; what Docker's fluentd driver holds."""
_MIB = 1024**2
Json = Mapping[str, Any]


def with_router(
    containers: Sequence[ContainerSpec], definitions: Sequence[Json], task: Task
) -> tuple[ContainerSpec, ...]:
    """The containers, those of them changed that have to do with FireLens."""
    router = next((d for d in definitions if d.get("firelensConfiguration")), None)
    if router is None:
        return tuple(containers)
    logging = {d["name"]: d["logConfiguration"] for d in definitions if _logs_to_router(d)}
    if router["name"] in logging:
        raise ValueError(
            f"failed to initialize logging driver: container '{router['name']}' is the FireLens router; it"
            " cannot log to itself"
        )
    kind: Kind = router["firelensConfiguration"]["type"]
    numbers = {d["name"]: number for number, d in enumerate(definitions)}
    # As the agent does: a router that waits for others is not waited for, or they might wait for each other.
    waited_for = not router.get("dependsOn")
    found = []
    for container in containers:
        if container.name == router["name"]:
            container = _router(container, router, kind, logging, numbers, task)
        elif container.name in logging:
            sink = _sink(container.name, router["name"], kind, logging[container.name], task)
            container = _logging(container, sink, waited_for)
        found.append(container)
    return tuple(found)


def _logs_to_router(definition: Json) -> bool:
    return bool(definition.get("logConfiguration", {}).get("logDriver") == DRIVER)


def _router(
    container: ContainerSpec,
    definition: Json,
    kind: Kind,
    logging: Mapping[str, Json],
    numbers: Mapping[str, int],
    task: Task,
) -> ContainerSpec:
    secrets: list[tuple[str, str]] = []
    options: dict[str, dict[str, str]] = {}
    for name, log in logging.items():
        options[name] = dict(log.get("options") or {})
        for secret in log.get("secretOptions") or ():
            variable = f"{secret['name']}_{numbers[name]}"
            secrets.append((variable, secret["valueFrom"]))
            options[name][secret["name"]] = firelens.placeholder(kind, variable)
    record = {
        "ecs_cluster": task.cluster_arn.rpartition("/")[2],
        "ecs_task_arn": task.arn,
        "ecs_task_definition": f"{task.family}:{task.revision}",
    }
    memory = container.memory // _MIB if container.memory else None
    own = definition["firelensConfiguration"].get("options") or {}
    text = firelens.configuration(Router(kind, own, memory, record), options)
    return replace(
        container,
        secrets=(*container.secrets, *secrets),
        files=((firelens.CONFIG_PATH[kind], text),),
        mounts=(*container.mounts, Mount(volume=VOLUME, target=firelens.SOCKET_DIRECTORY, owned=True)),
    )


def _sink(name: str, router: str, kind: Kind, log: Json, task: Task) -> LogSink:
    text = (log.get("options") or {}).get("log-driver-buffer-limit", "0")
    limit = BUFFER_LIMIT if text.strip() == "0" else parse_size(text)
    if limit is None:
        raise ValueError(
            f"failed to initialize logging driver: log-driver-buffer-limit of container '{name}' is {text!r};"
            " it must be a number of bytes"
        )
    return LogSink(
        group="",
        stream=firelens.tag(name, task.id),
        router=router,
        socket=(VOLUME, firelens.SOCKET),
        # Fluentd's `unix` input has no acknowledgements.
        acknowledged=kind == "fluentbit",
        max_buffer_bytes=limit,
        options=tuple((log.get("options") or {}).items()),
    )


def _logging(container: ContainerSpec, sink: LogSink, waited_for: bool) -> ContainerSpec:
    depends_on = container.depends_on
    if waited_for and not any(d.container == sink.router for d in depends_on):
        depends_on = (*depends_on, Dependency(container=sink.router, condition="START"))
    environment = dict(container.environment) | {"FLUENT_HOST": firelens.HOST, "FLUENT_PORT": firelens.PORT}
    return replace(container, log=sink, depends_on=depends_on, environment=tuple(environment.items()))
