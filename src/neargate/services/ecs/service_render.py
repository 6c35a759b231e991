"""Services and their deployments as the API shows them. Tasks are counted by the store's index, none is read.

Called by every operation that answers with a service.
"""

from collections.abc import Mapping
from typing import Any, Final

from neargate.model.deployments.copies import computed
from neargate.model.service import Deployment, Service, ServiceEvent, ServiceRevision, TaskSet
from neargate.services.ecs.render import tag_list
from neargate.state.catalog import TASK
from neargate.state.catalog_services import SERVICE_EVENT, SERVICE_REVISION, TASK_SET
from neargate.state.store import Tx

Json = dict[str, Any]
_EVENTS: Final = 100
_ROLE: Final = "aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
# Of Service.body; serviceConnectConfiguration is shown with each deployment.
_SHOWN: Final = (
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "platformFamily",
    "networkConfiguration",
    "deploymentConfiguration",
    "healthCheckGracePeriodSeconds",
    "schedulingStrategy",
    "deploymentController",
    "enableECSManagedTags",
    "propagateTags",
    "enableExecuteCommand",
    "availabilityZoneRebalancing",
)
_OF_DEPLOYMENTS: Final = (
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "platformFamily",
    "networkConfiguration",
    "serviceConnectConfiguration",
)
_REASONS: Final = {"IN_PROGRESS": "in progress", "COMPLETED": "completed", "FAILED": "failed"}


def counts(tx: Tx, service: str, id: str) -> tuple[int, int]:
    """(running, pending) tasks of a deployment or a task set."""
    return (
        tx.count(TASK, "deployment", f"{service}/{id}/running"),
        tx.count(TASK, "deployment", f"{service}/{id}/pending"),
    )


def service(tx: Tx, record: Service, *, tags: bool = True) -> Json:
    sets = task_sets(tx, record)
    deployments = [deployment(tx, record, part) for part in record.deployments]
    shown: Json = {
        "serviceArn": record.arn,
        "serviceName": record.name,
        "clusterArn": record.cluster_arn,
        "loadBalancers": record.body.get("loadBalancers", []),
        "serviceRegistries": record.body.get("serviceRegistries", []),
        "status": record.status,
        "desiredCount": record.desired_count,
        "runningCount": sum(part["runningCount"] for part in (*deployments, *sets)),
        "pendingCount": sum(part["pendingCount"] for part in (*deployments, *sets)),
        "deployments": deployments,
        "roleArn": f"arn:aws:iam::{record.account}:role/{_ROLE}",
        "events": events(tx, record.arn),
        "createdAt": record.created_at,
        "createdBy": record.created_by,
        "placementConstraints": [],
        "placementStrategy": [],
        "resourceManagementType": "CUSTOMER",
        **{name: record.body[name] for name in _SHOWN if name in record.body},
    }
    if sets:
        shown["taskSets"] = sets
    if record.definition_arn:
        shown["taskDefinition"] = record.definition_arn
    if record.deployments:
        shown["currentServiceDeployment"] = record.deployments[0].process_arn
        shown["currentServiceRevisions"] = [
            {
                "arn": part.revision_arn,
                "requestedTaskCount": seen["desiredCount"],
                "runningTaskCount": seen["runningCount"],
                "pendingTaskCount": seen["pendingCount"],
            }
            for part, seen in zip(record.deployments, deployments, strict=True)
        ]
    if tags:
        shown["tags"] = tag_list(record.tags)
    return shown


def deployment(tx: Tx, owner: Service, record: Deployment) -> Json:
    running, pending = counts(tx, owner.arn, record.id)
    revision = tx.get(SERVICE_REVISION, record.revision_arn)
    body: Mapping[str, Any] = revision.body if revision is not None else {}
    state = record.rollout_state
    reason = record.rollout_reason or f"ECS deployment {record.id} {_REASONS[state]}."
    follows = record.status == "PRIMARY" and state != "FAILED"
    return {
        "id": record.id,
        "status": record.status,
        "taskDefinition": record.definition_arn,
        "desiredCount": owner.desired_count if follows else record.desired,
        "pendingCount": pending,
        "runningCount": running,
        "failedTasks": record.failed_tasks,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "rolloutState": state,
        "rolloutStateReason": reason,
        **{name: body[name] for name in _OF_DEPLOYMENTS if name in body},
    }


def events(tx: Tx, service: str) -> list[Json]:
    """The newest first; control/services keeps no more than are shown."""
    found: list[ServiceEvent] = tx.find(SERVICE_EVENT, "service", service)[-_EVENTS:]
    return [{"id": e.id, "createdAt": e.at, "message": e.message} for e in reversed(found)]


def task_sets(tx: Tx, owner: Service, *, tags: bool = False) -> list[Json]:
    if owner.definition_arn:  # its deployments are ECS's own
        return []
    return [task_set(tx, owner, record, tags=tags) for record in tx.find(TASK_SET, "service", owner.arn)]


def task_set(tx: Tx, owner: Service, record: TaskSet, *, tags: bool = True) -> Json:
    running, pending = counts(tx, owner.arn, record.id)
    shown: Json = {
        "id": record.id,
        "taskSetArn": record.arn,
        "serviceArn": record.service_arn,
        "clusterArn": record.cluster_arn,
        "status": record.status,
        "taskDefinition": record.definition_arn,
        "computedDesiredCount": computed(owner.desired_count, record.scale),
        "pendingCount": pending,
        "runningCount": running,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "scale": {"value": record.scale, "unit": "PERCENT"},
        "stabilityStatus": record.stability,
        "stabilityStatusAt": record.stability_at,
        "loadBalancers": record.body.get("loadBalancers", []),
        "serviceRegistries": record.body.get("serviceRegistries", []),
        **{name: record.body[name] for name in _OF_DEPLOYMENTS[:-1] if name in record.body},
    }
    if record.external_id:
        shown["externalId"] = record.external_id
    if tags:
        shown["tags"] = tag_list(record.tags)
    return shown


def revision(record: ServiceRevision) -> Json:
    return {
        "serviceRevisionArn": record.arn,
        "serviceArn": record.service_arn,
        "clusterArn": record.cluster_arn,
        "taskDefinition": record.definition_arn,
        "createdAt": record.created_at,
        **record.body,
    }
