"""Records of ECS: cluster, task definition, task. Written by services/ecs and control/, never by the node."""

from typing import Any

from msgspec import Struct

from neargate.model.record import Record


class Part(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what stands inside a record."""


class Cluster(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    status: str = "ACTIVE"
    """ACTIVE or INACTIVE (deleted, still describable)."""
    settings: dict[str, str] = {}
    configuration: dict[str, Any] = {}
    service_connect_defaults: dict[str, Any] = {}
    capacity_providers: tuple[str, ...] = ()
    default_strategy: tuple[dict[str, Any], ...] = ()
    tags: dict[str, str] = {}
    created_at: float = 0.0
    inactive_at: float | None = None
    """When it was deleted; forgotten some time after."""


class TaskDefinition(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    family: str
    revision: int
    status: str = "ACTIVE"
    """ACTIVE, INACTIVE, DELETE_IN_PROGRESS."""
    body: dict[str, Any]
    """The definition as DescribeTaskDefinition shows it, in AWS's member names, without tags."""
    tags: dict[str, str] = {}
    registered_at: float = 0.0
    deregistered_at: float | None = None
    delete_requested_at: float | None = None
    registered_by: str = ""


class Family(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The revisions of a task definition's family: how RunTask finds the newest with one look."""

    name: str
    latest: int
    """The highest revision ever registered: numbers are never used again."""
    active: int = 0
    """The highest ACTIVE revision; 0 if there is none."""
    count: int = 0
    """How many revisions are ACTIVE or INACTIVE: a family of none is listed no more."""


class Container(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One container of a task, as DescribeTasks shows it."""

    name: str
    arn: str
    image: str
    runtime_id: str
    essential: bool = True
    image_digest: str | None = None
    last_status: str = "PENDING"
    exit_code: int | None = None
    reason: str | None = None
    health: str = "UNKNOWN"
    cpu: str = "0"
    memory: str | None = None
    memory_reservation: str | None = None
    restarts: int = 0


class Task(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    id: str
    cluster_arn: str
    definition_arn: str
    family: str
    revision: int
    last_status: str
    desired_status: str
    cpu: str
    """CPU units, e.g. "256"."""
    memory: str
    """MiB, e.g. "512"."""
    containers: tuple[Container, ...]
    launch_type: str = "FARGATE"
    capacity_provider: str | None = None
    platform_version: str = "1.4.0"
    architecture: str = "x86_64"
    ephemeral_gib: int = 20
    group: str = ""
    """`family:<family>` unless RunTask named another; `service:<name>` of a service's."""
    service_arn: str = ""
    """The service that it belongs to; `started_by` is then the deployment's id (or the task set's)."""
    revision_arn: str = ""
    """The service revision that it was made from."""
    protected_until: float | None = None
    """A service does not stop it before, to scale in or to deploy."""
    healthy_at: float | None = None
    """When its service first found it healthy."""
    draining: bool = False
    """It is to stop once its targets have let go of it: until then it runs on."""
    accounted: bool = False
    """Its service has taken note of its end."""
    started_by: str | None = None
    overrides: dict[str, Any] = {}
    tags: dict[str, str] = {}
    enable_execute_command: bool = False
    attachment_id: str = ""
    interface_id: str = ""
    """`eni-…`; its record is a model.network.Interface."""
    attachment_status: str = "PRECREATED"
    subnets: tuple[str, ...] = ()
    """The subnets that RunTask named; placement takes one of them."""
    subnet_id: str = ""
    """Set by placement."""
    availability_zone: str = ""
    security_groups: tuple[str, ...] = ()
    assign_public_ip: bool = False
    private_ip: str = ""
    """Set by placement, as are mac and private_dns_name: DescribeTasks then needs no other record."""
    mac: str = ""
    private_dns_name: str = ""
    node: str = ""
    """Set by placement; empty while PROVISIONING."""
    isolation_demand: str = ""
    """The tier that it must have; empty: any."""
    isolation: str = ""
    """The tier that it gets. Set by placement."""
    sandbox_sequence: int = -1
    """Sequence of the last SandboxStatus applied."""
    version: int = 1
    connectivity: str | None = None
    connectivity_at: float | None = None
    created_at: float = 0.0
    pull_started_at: float | None = None
    pull_stopped_at: float | None = None
    started_at: float | None = None
    stopping_at: float | None = None
    execution_stopped_at: float | None = None
    stopped_at: float | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    health: str = "UNKNOWN"
    released: bool = False
    """The interface has been given back and the usage record written."""


class TokenUse(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A clientToken of RunTask and what it made: idempotency."""

    id: str
    """`<cluster arn>/<token>`."""
    digest: str
    """SHA-256 of the request without the token."""
    task_arns: tuple[str, ...]
    at: float


class AccountSetting(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An ECS account setting: of one principal, or the account's default."""

    name: str
    value: str
    principal_arn: str = ""
    """Empty for the account's default."""


class Usage(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What one task consumed: one record per task, written when it stopped (AWS: per second, one-minute
    minimum, from the image pull's start to termination)."""

    task_arn: str
    cluster: str
    family: str
    revision: int
    capacity_provider: str
    architecture: str
    cpu_units: int
    memory_mib: int
    ephemeral_gib: int
    started_at: float
    stopped_at: float
    seconds: int
    """Billed seconds."""
    tags: dict[str, str] = {}


class Node(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A machine that runs sandboxes. Its agent says so each time it connects."""

    id: str
    cpu_units: int
    memory_mib: int
    architecture: str
    zone: str = ""
    tiers: tuple[str, ...] = ("process",)
    """Isolation tiers that it offers; the first is for tasks that demand none."""
    seen_at: float = 0.0
    adopted_sandboxes: int = 0
    """Living sandboxes that the agent found again when it started."""
    adopted_at: float = 0.0
    """When it had found all of them."""
