"""The names of Service Connect that a task is given when it starts. Called by views.py.

As on AWS they are those that are there at that moment: what is offered later, tasks of the next deployment
find.
"""

from neargate.model.service_connect import namespace_of
from neargate.model.task import Task
from neargate.state.catalog_discovery import CONNECT_ENDPOINT
from neargate.state.catalog_services import SERVICE_REVISION
from neargate.state.store import Tx


def hosts(tx: Tx, task: Task) -> tuple[tuple[str, str], ...]:
    """(address, name) for its /etc/hosts."""
    revision = tx.get(SERVICE_REVISION, task.revision_arn) if task.revision_arn else None
    namespace = namespace_of(revision.body) if revision is not None else ""
    if not namespace:
        return ()
    return tuple((one.address, one.dns_name) for one in tx.find(CONNECT_ENDPOINT, "namespace", namespace))
