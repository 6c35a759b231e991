"""The neutral record that the node runs: a sandbox with its containers. It knows neither ECS nor pods.

services/cell makes a SandboxSpec from a task; node/ makes it real and answers with SandboxStatus;
control/tasks moves the task by it. Units: bytes, seconds (epoch floats for moments), CPU in units of
1/1024 vCPU (as ECS counts).
"""

from typing import Any, Literal

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the sandbox records."""


class Dependency(Part, frozen=True, kw_only=True, omit_defaults=True):
    container: str
    condition: Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]


class HealthCheck(Part, frozen=True, kw_only=True, omit_defaults=True):
    command: tuple[str, ...]
    """First element CMD, CMD-SHELL or NONE, as Docker writes it."""
    interval: float = 30.0
    timeout: float = 5.0
    retries: int = 3
    start_period: float = 0.0


class RestartPolicy(Part, frozen=True, kw_only=True, omit_defaults=True):
    ignored_exit_codes: tuple[int, ...] = ()
    attempt_period: float = 300.0
    """A container that ends before it ran this long is not restarted."""


class LogSink(Part, frozen=True, kw_only=True, omit_defaults=True):
    """Where stdout and stderr go: a log stream, by the awslogs options, or a router in the same sandbox."""

    group: str
    stream: str
    """Of a router: the tag that it knows the lines by."""
    router: str = ""
    """The container that takes the lines, by the forward protocol; empty where they go to a log stream."""
    socket: tuple[str, str] = ("", "")
    """(scratch volume, name in there) of the socket at which the router takes them."""
    acknowledged: bool = False
    """The router says which lines it has."""
    region: str = ""
    create_group: bool = False
    mode: Literal["blocking", "non-blocking"] = "non-blocking"
    max_buffer_bytes: int = 10 * 1024 * 1024
    datetime_format: str = ""
    multiline_pattern: str = ""
    options: tuple[tuple[str, str], ...] = ()
    """Of a router: what the definition says to it, as the metadata endpoint shows it. No secrets."""


class Mount(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A directory of the sandbox's own scratch volumes, seen at `target` in the container."""

    volume: str
    target: str
    readonly: bool = False
    owned: bool = False
    """The directory is made as the container's user's own, not as root's."""


class Tmpfs(Part, frozen=True, kw_only=True, omit_defaults=True):
    target: str
    size: int
    options: tuple[str, ...] = ()


class Ulimit(Part, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    soft: int
    hard: int


class ContainerSpec(Part, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    image: str
    runtime_id: str
    """`<task id>-<digits>`: unique on the node, what DescribeTasks shows as runtimeId."""
    essential: bool = True
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    environment: tuple[tuple[str, str], ...] = ()
    working_directory: str | None = None
    user: str | None = None
    cpu: int = 0
    """CPU units (shares); 0 is unset."""
    memory: int | None = None
    """Hard limit, bytes."""
    memory_reservation: int | None = None
    depends_on: tuple[Dependency, ...] = ()
    health_check: HealthCheck | None = None
    start_timeout: float = 120.0
    stop_timeout: float = 30.0
    restart: RestartPolicy | None = None
    log: LogSink | None = None
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[tuple[str, bool], ...] = ()
    """(container, read-only)."""
    tmpfs: tuple[Tmpfs, ...] = ()
    readonly_rootfs: bool = False
    ulimits: tuple[Ulimit, ...] = ()
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()
    init: bool = False
    sysctls: tuple[tuple[str, str], ...] = ()
    tty: bool = False
    interactive: bool = False
    registry_secret: str | None = None
    """`credentialsParameter` of repositoryCredentials; the node asks the cell for its value."""
    secrets: tuple[tuple[str, str], ...] = ()
    """(variable, `valueFrom`): the node asks the cell for the values at each start, and never writes them."""
    environment_files: tuple[str, ...] = ()
    """ARNs of objects with more variables; asked for likewise."""
    files: tuple[tuple[str, str], ...] = ()
    """(path, text): what the container finds there, read-only, whatever its image has."""
    arn: str = ""
    """For the metadata endpoint."""


VOLUME_FAILED = "failed to invoke EFS utils commands to set up EFS volumes: stderr: "
"""How a sandbox's failure begins that could not have a shared volume."""


class SharedVolume(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A directory of a file system that outlives the sandbox, under the name of a volume."""

    volume: str
    tree: str
    """The file system's own directory on the node: nothing outside of it is ever reached."""
    path: str = "/"
    """What of it is mounted."""
    user: tuple[int, ...] | None = None
    """(uid, gid, further gids) as whom all is done there; None: as whoever does it."""
    create: tuple[int, int, int] | None = None
    """(uid, gid, mode) of `path` if it has to be made; None: it must be there."""


class InterfaceSpec(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The sandbox's own network interface, allocated by the control plane."""

    id: str
    mac: str
    address: str
    """IPv4, without prefix length."""
    subnet_cidr: str
    gateway: str
    dns_name: str
    dns_servers: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    """(address, name): more lines of /etc/hosts."""


class Facts(Part, frozen=True, kw_only=True, omit_defaults=True):
    """What the metadata endpoint tells of a sandbox, beside what the node itself goes by."""

    launch_type: str = ""
    service: str = ""
    zone: str = ""
    zone_id: str = ""
    fault_injection: bool = False
    credentials_id: str = ""
    """Names the role's credentials in the endpoint's path; empty for a sandbox without a role."""


class SandboxSpec(Part, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    """32 hexadecimal digits: the task's id."""
    containers: tuple[ContainerSpec, ...]
    interface: InterfaceSpec | None
    cpu: int
    """CPU units of the whole sandbox."""
    memory: int
    """Bytes of the whole sandbox."""
    pids: int = 4096
    ephemeral_bytes: int = 20 * 1024**3
    volumes: tuple[str, ...] = ()
    """Names of scratch volumes shared by the containers."""
    shared_volumes: tuple[SharedVolume, ...] = ()
    shared_pid: bool = False
    tier: str = "process"
    account: str = ""
    region: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    """Facts for the metadata endpoint: task ARN, cluster, family, revision."""
    facts: Facts = Facts()


def has_router(spec: SandboxSpec) -> bool:
    """One of its containers takes the lines of others."""
    return any(container.log is not None and container.log.router for container in spec.containers)


class Assignment(Part, frozen=True, kw_only=True, omit_defaults=True):
    """What the control plane wants of one sandbox of this node."""

    spec: SandboxSpec
    desired: Literal["RUNNING", "STOPPED"]


ContainerPhase = Literal["PENDING", "CREATED", "RUNNING", "STOPPED"]
Health = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY"]


class ContainerStatus(Part, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    phase: ContainerPhase = "PENDING"
    image_digest: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    health: Health = "UNKNOWN"
    health_output: str = ""
    """Of the check that changed `health` last, as are the two below."""
    health_exit_code: int | None = None
    health_since: float | None = None
    started_at: float | None = None
    stopped_at: float | None = None
    restarts: int = 0
    oom_killed: bool = False


class Failure(Part, frozen=True, kw_only=True, omit_defaults=True):
    """Why a sandbox never ran, or ended by the node's hand. `reason` is AWS's text, cause included."""

    code: Literal["TaskFailedToStart", "EssentialContainerExited", "InfrastructureHealth"]
    reason: str


# Phases of a sandbox. Legal order (any may jump to STOPPING; only STOPPED ends):
#
#   ACCEPTED -> ATTACHED -> PULLING -> STARTING -> RUNNING -> STOPPING -> CLEANING -> STOPPED
#   (interface)            (images)   (containers)           (signals)   (unwind)
Phase = Literal["ACCEPTED", "ATTACHED", "PULLING", "STARTING", "RUNNING", "STOPPING", "CLEANING", "STOPPED"]


class SandboxStatus(Part, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    sequence: int
    """Grows with each report about this sandbox; an older one never overwrites a newer."""
    phase: Phase
    containers: tuple[ContainerStatus, ...] = ()
    accepted_at: float | None = None
    pull_started_at: float | None = None
    pull_stopped_at: float | None = None
    started_at: float | None = None
    stopping_at: float | None = None
    execution_stopped_at: float | None = None
    stopped_at: float | None = None
    failure: Failure | None = None
    tier: str = "process"


class LogEvent(msgspec.Struct, frozen=True, array_like=True):
    timestamp: int
    """Milliseconds since the epoch."""
    message: str


class LogCursor(Part, frozen=True, kw_only=True, omit_defaults=True):
    """How far a container's log spool has been delivered. Kept with the events, in one transaction."""

    runtime_id: str
    offset: int = 0
    """Byte offset in the spool of the first frame that is not wholly delivered."""
    skip: int = 0
    """Lines, from that frame on, already delivered."""
    ended: bool = False
    """The spool is delivered whole and closed: the cursor may be forgotten some days later."""


class LogBatch(Part, frozen=True, kw_only=True, omit_defaults=True):
    account: str
    region: str
    sink: LogSink
    events: tuple[LogEvent, ...]
    cursor: LogCursor
    """Where the spool stands once these events are stored."""
    after: LogCursor | None = None
    """Where it stood before. Kept only if the store agrees: what was kept already is not kept twice."""


def as_json(record: msgspec.Struct) -> bytes:
    return msgspec.json.encode(record)


def spec_from_json(data: bytes) -> SandboxSpec:
    """Raise msgspec.ValidationError on anything but a spec."""
    return msgspec.json.decode(data, type=SandboxSpec)


def to_builtins(record: msgspec.Struct) -> Any:
    return msgspec.to_builtins(record)
