"""A service with all that its next step depends on, read in one transaction by indexes.

Made by loop.py; plan.py decides by it and reads nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from neargate.model.alarm import alarm_arn
from neargate.model.balancer import Target, TargetGroup
from neargate.model.balancer_rules_actions import target_groups
from neargate.model.deployments.shift import routes
from neargate.model.record import Scope
from neargate.model.service import Service, ServiceDeployment, ServiceRevision, TaskSet
from neargate.model.task import Cluster, Task, TaskDefinition
from neargate.state.catalog import CLUSTER, SUBNET, TASK, TASK_DEFINITION
from neargate.state.catalog_alarms import ALARM
from neargate.state.catalog_balancers import TARGET, TARGET_GROUP
from neargate.state.catalog_services import SERVICE, SERVICE_DEPLOYMENT, SERVICE_REVISION, TASK_SET
from neargate.state.listeners import routing
from neargate.state.store import Tx


@dataclass(frozen=True, slots=True)
class Snapshot:
    service: Service
    cluster: Cluster | None
    tasks: tuple[Task, ...] = ()
    """All whose end the service has not taken note of."""
    targets: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    """By the task's ARN."""
    groups: Mapping[str, TargetGroup] = field(default_factory=dict)
    revisions: Mapping[str, ServiceRevision] = field(default_factory=dict)
    definitions: Mapping[str, TaskDefinition] = field(default_factory=dict)
    processes: tuple[ServiceDeployment, ...] = ()
    """Those that are not over."""
    ringing: frozenset[str] = frozenset()
    """Names of the deployments' alarms that are in ALARM."""
    zones: Mapping[str, str] = field(default_factory=dict)
    """By subnet."""
    task_sets: tuple[TaskSet, ...] = ()
    leads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Where the rules and listeners that revisions name forward to, by ARN; without those that are gone."""

    @property
    def external(self) -> bool:
        return _external(self.service)


def _external(service: Service) -> bool:
    """Whether its deployments are task sets."""
    return bool((service.body.get("deploymentController") or {}).get("type") == "EXTERNAL")


def read(tx: Tx, arn: str) -> Snapshot | None:
    """None for a service that is not there."""
    service = tx.get(SERVICE, arn)
    if service is None:
        return None
    tasks = tuple(tx.find(TASK, "service", arn))
    processes = tuple(tx.find(SERVICE_DEPLOYMENT, "open", arn))
    sets = tuple(tx.find(TASK_SET, "service", arn)) if _external(service) else ()
    wanted = {d.revision_arn for d in service.deployments} | {task.revision_arn for task in tasks}
    wanted |= {process.target_revision for process in processes}
    revisions = {a: r for a in wanted if a and (r := tx.get(SERVICE_REVISION, a)) is not None}
    named = {r.definition_arn for r in revisions.values()} | {s.definition_arn for s in sets}
    targets = {task.arn: t for task in tasks if (t := tuple(tx.find(TARGET, "task", task.arn)))}
    bodies = [*(r.body for r in revisions.values()), *(s.body for s in sets)]
    return Snapshot(
        service=service,
        cluster=tx.get(CLUSTER, service.cluster_arn),
        tasks=tasks,
        targets=targets,
        groups=_groups(tx, targets, bodies),
        revisions=revisions,
        definitions={a: d for a in named if (d := tx.get(TASK_DEFINITION, a)) is not None},
        processes=processes,
        ringing=_ringing(tx, processes),
        zones=_zones(tx, bodies),
        task_sets=sets,
        leads=_leads(tx, bodies),
    )


def _groups(
    tx: Tx, targets: Mapping[str, Iterable[Target]], bodies: Iterable[Mapping[str, Any]]
) -> dict[str, TargetGroup]:
    """Those that targets are in, or are to be: they can be deleted while a service names them."""
    arns = {t.group_arn for found in targets.values() for t in found}
    for balancer in (b for body in bodies for b in body.get("loadBalancers") or ()):
        alternate = (balancer.get("advancedConfiguration") or {}).get("alternateTargetGroupArn")
        arns |= {balancer["targetGroupArn"], *((alternate,) if alternate else ())}
    return {a: g for a in arns if (g := tx.get(TARGET_GROUP, a)) is not None}


def _leads(tx: Tx, bodies: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    named = {arn for body in bodies for _, arn in routes(body.get("loadBalancers") or ())}
    found = {arn: record for arn in named if (record := routing(tx, arn)) is not None}
    return {arn: frozenset(target_groups(record.actions)) for arn, record in found.items()}


def alarm_names(process: ServiceDeployment) -> tuple[str, ...]:
    alarms = process.configuration.get("alarms") or {}
    return tuple(alarms.get("alarmNames", ())) if alarms.get("enable") else ()


def _ringing(tx: Tx, processes: Iterable[ServiceDeployment]) -> frozenset[str]:
    found = []
    for process in processes:
        scope = Scope(process.account, process.region)
        for name in alarm_names(process):
            alarm = tx.get(ALARM, alarm_arn(scope, name))
            if alarm is not None and alarm.state == "ALARM":
                found.append(name)
    return frozenset(found)


def subnets(body: Mapping[str, object]) -> tuple[str, ...]:
    network = body.get("networkConfiguration")
    inner = network.get("awsvpcConfiguration", {}) if isinstance(network, Mapping) else {}
    return tuple(inner.get("subnets", ()))


def _zones(tx: Tx, bodies: Iterable[Mapping[str, object]]) -> dict[str, str]:
    named = {subnet for body in bodies for subnet in subnets(body)}
    return {id: s.zone for id in sorted(named) if (s := tx.get(SUBNET, id)) is not None}
