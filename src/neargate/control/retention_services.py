"""Forgetting of services: those that are INACTIVE, and deployments of long ago with their revisions.

Called by retention.py, batch by batch.
"""

from neargate.state import service_history
from neargate.state.catalog import TASK_DEFINITION, minute
from neargate.state.catalog_services import (
    SERVICE,
    SERVICE_DEPLOYMENT,
    SERVICE_REVISION,
    is_in_use,
)
from neargate.state.store import Tx

DEPLOYMENT_SECONDS = 90 * 24 * 3600.0
"""For as long AWS shows the deployments of a service."""
_BATCH = 100


def forget_services(tx: Tx, before: float) -> int:
    """Remove up to a batch of services that became INACTIVE before a moment, with all that was theirs."""
    removed = 0
    for value in tx.values(SERVICE, "inactive", until=minute(before - 60), limit=_BATCH):
        for arn in tx.ids(SERVICE, "inactive", value, limit=_BATCH - removed):
            service_history.forget(tx, arn)
            service = tx.get(SERVICE, arn)
            tx.delete(SERVICE, arn)
            if service is not None:
                forget_definition(tx, service.definition_arn)
            removed += 1
        if removed >= _BATCH:
            break
    return removed


def forget_deployments(tx: Tx, before: float) -> int:
    """Remove up to a batch of deployments that were over before a moment, and revisions that nobody has."""
    services: set[str] = set()
    removed = 0
    for value in tx.values(SERVICE_DEPLOYMENT, "over", until=minute(before - 60), limit=_BATCH):
        for process in tx.find(SERVICE_DEPLOYMENT, "over", value, limit=_BATCH - removed):
            tx.delete(SERVICE_DEPLOYMENT, process.arn)
            services.add(process.service_arn)
            removed += 1
        if removed >= _BATCH:
            break
    for arn in services:
        _forget_revisions(tx, arn, before)
    return removed


def _forget_revisions(tx: Tx, service_arn: str, before: float) -> None:
    service = tx.get(SERVICE, service_arn)
    held = {d.revision_arn for d in service.deployments} | {service.revision_arn} if service else set()
    for process in tx.find(SERVICE_DEPLOYMENT, "service", service_arn):
        held |= {process.target_revision, process.rollback_revision, *process.source_revisions}
    for revision in tx.find(SERVICE_REVISION, "service", service_arn):
        if revision.arn not in held and revision.created_at < before:
            tx.delete(SERVICE_REVISION, revision.arn)


def forget_definition(tx: Tx, arn: str) -> None:
    """Deleting a revision, which services/ecs began, ends when nothing has it any more."""
    definition = tx.get(TASK_DEFINITION, arn)
    deleting = definition is not None and definition.status == "DELETE_IN_PROGRESS"
    if deleting and not is_in_use(tx, arn):
        tx.delete(TASK_DEFINITION, arn)
