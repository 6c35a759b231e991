"""ServiceDeployments as the API shows them.

Called by service_deployments.py.
"""

from collections.abc import Iterable
from typing import Any, Final

from neargate.model.deployments.shift import tested
from neargate.model.service import Deployment, Service, ServiceDeployment
from neargate.services.ecs.service_render import counts
from neargate.state.store import Tx

Json = dict[str, Any]
_OPEN: Final = ("PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED")
_MOMENTS: Final = (
    ("startedAt", "started_at"),
    ("finishedAt", "finished_at"),
    ("stoppedAt", "stopped_at"),
)
# A stage of hooks only, which the API's list of lifecycle stages does not have.
_SHOWN_AS: Final = {"PRE_PRODUCTION_TRAFFIC_SHIFT": "POST_TEST_TRAFFIC_SHIFT"}


def brief(record: ServiceDeployment) -> Json:
    shown: Json = {
        "serviceDeploymentArn": record.arn,
        "serviceArn": record.service_arn,
        "clusterArn": record.cluster_arn,
        "createdAt": record.created_at,
        "targetServiceRevisionArn": record.target_revision,
        "status": record.status,
    }
    if record.status_reason:
        shown["statusReason"] = record.status_reason
    return {**shown, **_moments(record, ("startedAt", "finishedAt"))}


def _moments(record: ServiceDeployment, names: Iterable[str]) -> Json:
    found = {name: getattr(record, field) for name, field in _MOMENTS if name in names}
    return {name: moment for name, moment in found.items() if moment is not None}


def detail(tx: Tx, record: ServiceDeployment, owner: Service | None, hook: str) -> Json:
    """owner -- its service, if that is still known; hook -- id of the pause that holds it, or empty."""
    parts = owner.deployments if owner is not None else ()
    shown: Json = {
        "serviceDeploymentArn": record.arn,
        "serviceArn": record.service_arn,
        "clusterArn": record.cluster_arn,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "status": record.status,
        "sourceServiceRevisions": _sources(tx, record, parts),
        "targetServiceRevision": _target(tx, record, parts, owner),
        "deploymentConfiguration": record.configuration,
        "deploymentCircuitBreaker": _breaker(record),
        "alarms": _alarms(record),
        **_moments(record, ("startedAt", "finishedAt", "stoppedAt")),
    }
    if record.status_reason:
        shown["statusReason"] = record.status_reason
    if record.stage:
        shown["lifecycleStage"] = _SHOWN_AS.get(record.stage, record.stage)
    if record.rollback_revision:
        shown["rollback"] = {
            "reason": record.rollback_reason,
            "serviceRevisionArn": record.rollback_revision,
            **({"startedAt": record.rollback_started_at} if record.rollback_started_at else {}),
        }
    if hook and record.paused is not None:
        timeout = record.paused.hook.get("timeoutConfiguration", {})
        shown["lifecycleHookDetails"] = [
            {
                "hookId": hook,
                "targetType": "PAUSE",
                "status": "IN_PROGRESS" if record.paused.answer else "AWAITING_ACTION",
                "expiresAt": record.paused.until,
                "timeoutAction": timeout.get("action", "ROLLBACK"),
            }
        ]
    return shown


def _revision(tx: Tx, service: str, arn: str, part: Deployment | None, requested: int) -> Json:
    running, pending = counts(tx, service, part.id) if part is not None else (0, 0)
    return {
        "arn": arn,
        "requestedTaskCount": requested,
        "runningTaskCount": running,
        "pendingTaskCount": pending,
    }


def _sources(tx: Tx, record: ServiceDeployment, parts: tuple[Deployment, ...]) -> list[Json]:
    by_revision = {part.revision_arn: part for part in parts if part.id != record.deployment_id}
    shown = []
    for place, arn in enumerate(record.source_revisions):
        part = by_revision.get(arn)
        summary = _revision(tx, record.service_arn, arn, part, part.desired if part is not None else 0)
        if record.strategy != "ROLLING" and place == 0:
            summary["requestedTestTrafficWeight"] = 0.0 if tested(record) else 100.0
            summary["requestedProductionTrafficWeight"] = 100.0 - record.traffic
        shown.append(summary)
    return shown


def _target(tx: Tx, record: ServiceDeployment, parts: tuple[Deployment, ...], owner: Service | None) -> Json:
    part = next((part for part in parts if part.id == record.deployment_id), None)
    primary = part is not None and part.status == "PRIMARY" and owner is not None
    requested = owner.desired_count if primary and owner is not None else part.desired if part else 0
    shown = _revision(tx, record.service_arn, record.target_revision, part, requested)
    if record.strategy != "ROLLING":
        shown["requestedTestTrafficWeight"] = 100.0 if tested(record) else 0.0
        shown["requestedProductionTrafficWeight"] = record.traffic
    return shown


def _breaker(record: ServiceDeployment) -> Json:
    enabled = record.configuration.get("deploymentCircuitBreaker", {}).get("enable")
    triggered = 0 < record.breaker_threshold <= record.breaker_failures
    return {
        "status": _monitor(record, triggered) if enabled else "DISABLED",
        "failureCount": record.breaker_failures,
        "threshold": record.breaker_threshold,
    }


def _alarms(record: ServiceDeployment) -> Json:
    alarms = record.configuration.get("alarms", {})
    return {
        "status": _monitor(record, bool(record.triggered_alarms)) if record.alarms_enabled else "DISABLED",
        "alarmNames": alarms.get("alarmNames", []),
        "triggeredAlarmNames": list(record.triggered_alarms),
    }


def _monitor(record: ServiceDeployment, triggered: bool) -> str:
    if triggered:
        return "TRIGGERED"
    return "MONITORING" if record.status in _OPEN else "MONITORING_COMPLETE"
