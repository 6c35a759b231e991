"""What is kept beside a service's record: lines of what happened to it, revisions, deployments, task sets.

Called inside a transaction by control/services and control/autoscaling (`tell`), and by services/ecs and
control/retention_services (`forget`).
"""

from collections.abc import Iterable
from typing import Any

from neargate.kit.ids import Ids
from neargate.model.deployments.events import KEPT
from neargate.model.service import Service, ServiceEvent
from neargate.state.catalog_services import (
    SERVICE_DEPLOYMENT,
    SERVICE_EVENT,
    SERVICE_REVISION,
    TASK_SET,
)
from neargate.state.store import Kind, Tx

_OF_A_SERVICE: tuple[Kind[Any], ...] = (SERVICE_EVENT, SERVICE_REVISION, SERVICE_DEPLOYMENT, TASK_SET)


def tell(tx: Tx, service: Service, messages: Iterable[str], ids: Ids, now: float) -> None:
    """Add to the service's events; of all the newest are kept."""
    for message in messages:
        event = ServiceEvent(
            account=service.account,
            region=service.region,
            id=ids.uuid(),
            service_arn=service.arn,
            sequence=tx.next("service-event"),
            at=now,
            message=message,
        )
        tx.insert(SERVICE_EVENT, event)
    excess = tx.count(SERVICE_EVENT, "service", service.arn) - KEPT
    if excess > 0:
        for id in tx.ids(SERVICE_EVENT, "service", service.arn, limit=excess):
            tx.delete(SERVICE_EVENT, id)


def forget(tx: Tx, service: str) -> None:
    """All that was an INACTIVE service's."""
    for kind in _OF_A_SERVICE:
        for id in tx.ids(kind, "service", service):
            tx.delete(kind, id)
