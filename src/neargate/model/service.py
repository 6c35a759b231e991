"""Records of ECS services: what was asked to be kept running, its revisions and its deployments.

services/ecs writes what callers ask for; control/services carries it out and writes what became of it. The
rules of deployments are in model/deployments.
"""

from typing import Any, Final

from neargate.model.record import Record
from neargate.model.task import Part


class Deployment(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The tasks of one revision within a service: one entry of `deployments` in DescribeServices."""

    id: str
    """`ecs-svc/` and 19 digits: what its tasks show as startedBy."""
    status: str = "PRIMARY"
    """PRIMARY: what the service is to be; ACTIVE: still has tasks; INACTIVE: has none."""
    revision_arn: str
    definition_arn: str
    process_arn: str = ""
    """The ServiceDeployment that brought it."""
    desired: int = 0
    """How many tasks it is to have at this moment."""
    created_at: float = 0.0
    updated_at: float = 0.0
    rollout_state: str = "IN_PROGRESS"
    """IN_PROGRESS, COMPLETED, FAILED."""
    restored: bool = False
    """It was COMPLETED, and a rollback has made it the PRIMARY one again."""
    rollout_reason: str = ""
    failed_tasks: int = 0
    """Failures that count for the circuit breaker, since the last success where that resets it."""
    failed_starts: int = 0
    """Consecutive tasks that never reached RUNNING: new ones wait longer and longer."""
    failed_start_at: float = 0.0
    """When the last one ended that the next has to wait for."""
    start_after: float = 0.0
    """No task is started before."""

    @property
    def good(self) -> bool:
        """Whether it can be rolled back to; also where the last way back to it was cut short."""
        return self.rollout_state == "COMPLETED" or (self.restored and self.rollout_state == "IN_PROGRESS")


class Service(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    cluster_arn: str
    status: str = "ACTIVE"
    """ACTIVE, DRAINING (deleted, tasks still stop), INACTIVE."""
    desired_count: int = 0
    definition_arn: str
    revision_arn: str
    """Of the PRIMARY deployment."""
    body: dict[str, Any]
    """The rest of what was asked for, as DescribeServices shows it, in AWS's member names, defaults spelt
    out: deploymentConfiguration, networkConfiguration, loadBalancers, and so on."""
    deployments: tuple[Deployment, ...] = ()
    """Those that are not INACTIVE; the PRIMARY first."""
    tags: dict[str, str] = {}
    client_token: str = ""
    request_digest: str = ""
    """SHA-256 of the CreateService request: whether another one is the same."""
    created_at: float = 0.0
    created_by: str = ""
    changed_at: float = 0.0
    """When a caller last asked for a change."""
    steady_at: float | None = None
    """When it last was said to be steady; None since something changed."""
    blocked_at: float | None = None
    """When it last was said that the deployment configuration leaves no room; None if it does."""
    inactive_at: float | None = None
    """When it became INACTIVE; forgotten some time after."""


class ServiceEvent(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One line of what happened to a service; the newest 100 are kept."""

    id: str
    """A uuid, as AWS shows it."""
    service_arn: str
    sequence: int
    """Grows within the store."""
    at: float
    message: str


REVISION_MEMBERS: Final[tuple[str, ...]] = (
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "networkConfiguration",
    "loadBalancers",
    "serviceRegistries",
    "serviceConnectConfiguration",
)
"""What a service's tasks are made by, as far as callers say it: a service shows those of its revision."""


class ServiceRevision(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A service's configuration at one moment: what a deployment brings, and what tasks are made from."""

    arn: str
    """`service-revision/<cluster>/<service>/<19 digits>`."""
    service_arn: str
    cluster_arn: str
    definition_arn: str
    body: dict[str, Any]
    """The members of a service that its tasks depend on, as DescribeServiceRevisions shows them."""
    groups: tuple[str, ...] = ()
    """The target group of each of its load balancers: of those with an alternate one, which of the two it
    got. Empty until control/services has chosen."""
    created_at: float = 0.0


class Pause(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A deployment held by a PAUSE hook."""

    hook: dict[str, Any]
    stage: str
    since: float
    until: float
    answer: str = ""
    """CONTINUE or ROLLBACK, once ContinueServiceDeployment said so."""


class ServiceDeployment(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The way from one revision of a service to another, as DescribeServiceDeployments shows it."""

    arn: str
    """`service-deployment/<cluster>/<service>/<id>`."""
    service_arn: str
    cluster_arn: str
    status: str = "PENDING"
    """PENDING, IN_PROGRESS, SUCCESSFUL, STOPPED, STOP_REQUESTED, ROLLBACK_REQUESTED, ROLLBACK_IN_PROGRESS,
    ROLLBACK_SUCCESSFUL, ROLLBACK_FAILED."""
    status_reason: str = ""
    strategy: str = "ROLLING"
    """ROLLING, BLUE_GREEN, LINEAR, CANARY."""
    configuration: dict[str, Any] = {}
    """deploymentConfiguration as it was when this began."""
    target_revision: str
    source_revisions: tuple[str, ...] = ()
    deployment_id: str = ""
    """The Deployment with the target revision's tasks."""
    rollback_revision: str = ""
    rollback_reason: str = ""
    rollback_started_at: float | None = None
    stop_type: str = ""
    """ABORT or ROLLBACK, once StopServiceDeployment said so."""
    stage: str = ""
    """lifecycleStage, of the strategies that shift traffic."""
    stage_since: float | None = None
    traffic: float = 0.0
    """Percent of production traffic that the target revision gets."""
    bake_until: float | None = None
    paused: Pause | None = None
    passed_hooks: tuple[str, ...] = ()
    """Stages whose PAUSE hook was answered."""
    alarms_enabled: bool = False
    triggered_alarms: tuple[str, ...] = ()
    breaker_threshold: int = 0
    breaker_failures: int = 0
    created_at: float = 0.0
    started_at: float | None = None
    stopped_at: float | None = None
    updated_at: float = 0.0
    finished_at: float | None = None


class TaskSet(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A set of tasks of a service whose deployments somebody else controls (EXTERNAL)."""

    arn: str
    """`task-set/<cluster>/<service>/ecs-svc/<19 digits>`."""
    id: str
    """`ecs-svc/<19 digits>`: what its tasks show as startedBy."""
    service_arn: str
    cluster_arn: str
    status: str = "ACTIVE"
    """PRIMARY, ACTIVE, DRAINING."""
    external_id: str = ""
    definition_arn: str
    scale: float = 100.0
    """Percent of the service's desired count."""
    body: dict[str, Any] = {}
    """Network configuration, load balancers and so on, as DescribeTaskSets shows them."""
    client_token: str = ""
    request_digest: str = ""
    stability: str = "STABILIZING"
    stability_at: float = 0.0
    failed_tasks: int = 0
    """As of a Deployment, and so are the next three."""
    failed_starts: int = 0
    failed_start_at: float = 0.0
    start_after: float = 0.0
    tags: dict[str, str] = {}
    created_at: float = 0.0
    updated_at: float = 0.0
