"""What the tasks of a deployment, or of a task set, are made from; and the making.

Called by the steps of plan.py. The tasks themselves get their ids in apply.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neargate.control.services.draft import Draft, Start
from neargate.control.services.snapshot import subnets
from neargate.kit.errors import ApiError
from neargate.model import isolation
from neargate.model.capacity import spread
from neargate.model.overrides import apply_overrides
from neargate.model.record import Scope
from neargate.model.service import ServiceRevision, TaskSet
from neargate.model.task import Task
from neargate.model.task_maker import Order, merged_tags


@dataclass(frozen=True, slots=True)
class Template:
    id: str
    """What its tasks show as startedBy."""
    definition_arn: str
    revision_arn: str
    body: Mapping[str, Any]
    groups: tuple[str, ...]
    """The target group of each of its load balancers."""

    @property
    def balancers(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.body.get("loadBalancers") or ()
        return found


def of_revision(id: str, revision: ServiceRevision) -> Template:
    return Template(id, revision.definition_arn, revision.arn, revision.body, revision.groups)


def of_task_set(task_set: TaskSet) -> Template:
    groups = tuple(b["targetGroupArn"] for b in task_set.body.get("loadBalancers") or ())
    return Template(task_set.id, task_set.definition_arn, "", task_set.body, groups)


def template_of(draft: Draft, task: Task) -> Template | None:
    """What a task was made from."""
    revision = draft.revisions.get(task.revision_arn)
    if revision is not None:
        return of_revision(task.started_by or "", revision)
    return of_owner(draft, task.started_by)


def of_owner(draft: Draft, id: str | None) -> Template | None:
    """What the tasks of a deployment, or of a task set, are made from."""
    owner = draft.owner(id)
    if isinstance(owner, TaskSet):
        return of_task_set(owner)
    revision = draft.revisions.get(owner.revision_arn) if owner is not None else None
    return of_revision(id or "", revision) if revision is not None else None


def start(draft: Draft, template: Template, zones: Sequence[str]) -> bool:
    """Have a task made in each of the zones. False if none can be: its definition does not allow it."""
    try:
        size = _sized(draft, template)
    except ApiError as error:
        draft.tell_action("SERVICE_TASK_CONFIGURATION_FAILURE", str(error))
        return False
    if size is None:
        return False
    providers = _providers(draft, template, len(zones))
    by_zone: dict[str, list[str | None]] = {}
    for zone, provider in zip(zones, providers, strict=True):
        by_zone.setdefault(zone, []).append(provider)
    for zone, wanted in by_zone.items():
        order = _order(draft, template, size, zone)
        if order is not None:
            draft.starts.append(Start(order, template.revision_arn, tuple(wanted)))
    return True


def _sized(draft: Draft, template: Template) -> Any:
    definition = draft.snapshot.definitions.get(template.definition_arn)
    return None if definition is None else apply_overrides(definition.body, {}, large=True)


def _providers(draft: Draft, template: Template, count: int) -> Sequence[str | None]:
    """By the strategy, and by what the service's tasks have already."""
    strategy = template.body.get("capacityProviderStrategy") or ()
    if not strategy:
        return [None] * count
    held = Counter(t.capacity_provider for t in draft.live() if t.started_by == template.id)
    return spread(strategy, count, {name: n for name, n in held.items() if name is not None})


def _order(draft: Draft, template: Template, size: Any, zone: str) -> Order | None:
    service, cluster = draft.service, draft.snapshot.cluster
    definition = draft.snapshot.definitions[template.definition_arn]
    if cluster is None:
        return None
    network = template.body.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    offered = subnets(template.body)
    owner = draft.owner(template.id)
    # Where the zone's subnets may be full, any that has room will do.
    strict = owner is None or not owner.failed_starts
    near = tuple(id for id in offered if strict and draft.snapshot.zones.get(id) == zone)
    propagate = service.body.get("propagateTags")
    propagated = definition.tags if propagate == "TASK_DEFINITION" else {}
    managed = bool(service.body.get("enableECSManagedTags"))
    return Order(
        scope=Scope(service.account, service.region),
        cluster=cluster,
        definition=definition,
        size=size,
        isolation_demand=isolation.demanded(cluster.tags, definition.tags, service.tags),
        platform_version=_numbered(template.body.get("platformVersion")),
        group=f"service:{service.name}",
        started_by=template.id,
        tags=merged_tags(
            service.tags if propagate == "SERVICE" else {},
            propagated,
            cluster=cluster.name if managed else "",
            service=service.name if managed else "",
        ),
        enable_execute_command=bool(service.body.get("enableExecuteCommand")),
        subnets=near or offered,
        security_groups=tuple(network.get("securityGroups") or ()),
        assign_public_ip=network.get("assignPublicIp") == "ENABLED",
    )


def _numbered(version: str | None) -> str:
    return "1.4.0" if version in (None, "", "LATEST") else version


def zones_of(draft: Draft, id: str) -> list[str]:
    """The zones that the subnets of a deployment, or of a task set, lie in; in the order of the subnets."""
    template = of_owner(draft, id)
    if template is None:
        return []
    found = (draft.snapshot.zones.get(subnet) for subnet in subnets(template.body))
    return list(dict.fromkeys(zone for zone in found if zone))
