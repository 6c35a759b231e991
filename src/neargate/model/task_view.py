"""A task in AWS's words, as DescribeTasks shows it and as events carry it. Pure, and hot: DescribeTasks is
polled, so a task is rendered from its record alone.

Called by services/ecs/render and model/event_ecs.
"""

from collections.abc import Mapping
from typing import Any

from neargate.model import exec_session
from neargate.model.task import Container, Task

Json = dict[str, Any]
_MOMENTS = (
    ("connectivityAt", "connectivity_at"),
    ("pullStartedAt", "pull_started_at"),
    ("pullStoppedAt", "pull_stopped_at"),
    ("startedAt", "started_at"),
    ("stoppingAt", "stopping_at"),
    ("executionStoppedAt", "execution_stopped_at"),
    ("stoppedAt", "stopped_at"),
)
_TEXTS = (
    ("availabilityZone", "availability_zone"),
    ("capacityProviderName", "capacity_provider"),
    ("connectivity", "connectivity"),
    ("startedBy", "started_by"),
    ("stopCode", "stop_code"),
    ("stoppedReason", "stopped_reason"),
)


def tag_list(tags: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def task(record: Task, *, tags: bool = True) -> Json:
    """A task as DescribeTasks shows it; members that have no value yet are left out."""
    storage = record.ephemeral_gib
    attributes = [{"name": "ecs.cpu-architecture", "value": record.architecture}]
    if record.isolation:
        attributes.append({"name": "neargate.isolation", "value": record.isolation})
    shown: Json = {
        "attachments": [_attachment(record)] if record.attachment_id else [],
        "attributes": attributes,
        "clusterArn": record.cluster_arn,
        "containers": [_container(container, record) for container in record.containers],
        "cpu": record.cpu,
        "createdAt": record.created_at,
        "desiredStatus": record.desired_status,
        "enableExecuteCommand": record.enable_execute_command,
        "group": record.group,
        "healthStatus": record.health,
        "lastStatus": record.last_status,
        "launchType": record.launch_type,
        "memory": record.memory,
        "overrides": record.overrides,
        "platformVersion": record.platform_version,
        "platformFamily": "Linux",
        "tags": tag_list(record.tags) if tags else [],
        "taskArn": record.arn,
        "taskDefinitionArn": record.definition_arn,
        "version": record.version,
        "ephemeralStorage": {"sizeInGiB": storage},
        "fargateEphemeralStorage": {"sizeInGiB": storage},
    }
    for name, field in _MOMENTS:
        moment = getattr(record, field)
        if moment is not None:
            shown[name] = moment
    for name, field in _TEXTS:
        text = getattr(record, field)
        if text:
            shown[name] = text
    return shown


def _attachment(record: Task) -> Json:
    subnet = record.subnet_id or (record.subnets[0] if len(record.subnets) == 1 else "")
    details = [{"name": "subnetId", "value": subnet}] if subnet else []
    if record.private_ip:
        details += (
            {"name": "networkInterfaceId", "value": record.interface_id},
            {"name": "macAddress", "value": record.mac},
            {"name": "privateDnsName", "value": record.private_dns_name},
            {"name": "privateIPv4Address", "value": record.private_ip},
        )
    return {
        "id": record.attachment_id,
        "type": "ElasticNetworkInterface",
        "status": record.attachment_status,
        "details": details,
    }


def _container(record: Container, owner: Task) -> Json:
    address = owner.private_ip
    shown: Json = {
        "containerArn": record.arn,
        "taskArn": owner.arn,
        "name": record.name,
        "image": record.image,
        "lastStatus": record.last_status,
        "networkBindings": [],
        "networkInterfaces": (
            [{"attachmentId": owner.attachment_id, "privateIpv4Address": address}] if address else []
        ),
        "healthStatus": record.health,
        "cpu": record.cpu,
    }
    if owner.enable_execute_command:
        shown["managedAgents"] = [exec_session.managed_agent(owner, record)]
    if record.last_status != "PENDING" and owner.connectivity is not None:
        shown["runtimeId"] = record.runtime_id
    if record.image_digest is not None:
        shown["imageDigest"] = record.image_digest
    if record.exit_code is not None:
        shown["exitCode"] = record.exit_code
    if record.reason is not None:
        shown["reason"] = record.reason
    if record.memory is not None:
        shown["memory"] = record.memory
    if record.memory_reservation is not None:
        shown["memoryReservation"] = record.memory_reservation
    return shown
