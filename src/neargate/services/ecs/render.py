"""Records as the API shows them; tasks themselves are in model/task_view, which events share.

Called by every operation that answers with a task, a task definition or a cluster.
"""

from neargate.model.task import Cluster, TaskDefinition
from neargate.model.task_view import Json as Json
from neargate.model.task_view import tag_list as tag_list
from neargate.model.task_view import task as task


def definition(record: TaskDefinition) -> Json:
    shown = {
        **record.body,
        "taskDefinitionArn": record.arn,
        "revision": record.revision,
        "status": record.status,
        "registeredAt": record.registered_at,
        "registeredBy": record.registered_by,
    }
    if record.deregistered_at is not None:
        shown["deregisteredAt"] = record.deregistered_at
    if record.delete_requested_at is not None:
        shown["deleteRequestedAt"] = record.delete_requested_at
    return shown


def cluster(record: Cluster, running: int, pending: int, services: int) -> Json:
    """A cluster without its includes; see clusters.py for those."""
    return {
        "clusterArn": record.arn,
        "clusterName": record.name,
        "status": record.status,
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "activeServicesCount": services,
        "statistics": [],
        "tags": [],
        "settings": [],
        "capacityProviders": list(record.capacity_providers),
        "defaultCapacityProviderStrategy": [dict(item) for item in record.default_strategy],
    }
