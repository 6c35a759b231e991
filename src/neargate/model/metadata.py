"""The documents of the task metadata endpoint, version 4: a container's and a task's. Pure.

Called by node/metadata.py with what the node knows of a sandbox; field names and units are Fargate's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Any

from neargate.model.sandbox import ContainerSpec, ContainerStatus, InterfaceSpec, SandboxSpec, SandboxStatus

Json = dict[str, Any]

_MIB = 1024**2
_STATUSES = ("NONE", "PULLED", "CREATED", "RUNNING", "STOPPED")
_STORAGE_OVERHEAD_MIB = 16
"""A task of 20 GiB reads 20496 MiB on Fargate."""
_LEAST_SHARES = 2
"""What the kernel gives a container that asks for no CPU, and Fargate shows."""


@dataclass(frozen=True, slots=True)
class ClockDrift:
    """How far the machine's clock may be off, as its kernel keeps it."""

    at: float
    error_milliseconds: float
    synchronized: bool


def moment(at: float, precision: str = "microseconds") -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def known_status(status: ContainerStatus) -> str:
    if status.phase == "PENDING":
        return "PULLED" if status.image_digest else "NONE"
    return status.phase


def container(spec: SandboxSpec, own: ContainerSpec, status: ContainerStatus, desired: str) -> Json:
    shown: Json = {
        "DockerId": own.runtime_id,
        "Name": own.name,
        "DockerName": own.name,
        "Image": own.image,
        "ImageID": status.image_digest or "",
        "Labels": {**dict(spec.labels), "com.amazonaws.ecs.container-name": own.name},
        "DesiredStatus": desired,
        "KnownStatus": known_status(status),
        "Limits": _limits(own),
        "Type": "NORMAL",
    }
    if status.exit_code is not None:
        shown["ExitCode"] = status.exit_code
    if status.started_at is not None:
        shown["CreatedAt"] = shown["StartedAt"] = moment(status.started_at)
    if status.stopped_at is not None:
        shown["FinishedAt"] = moment(status.stopped_at)
    if own.health_check is not None:
        shown["Health"] = _health(status)
    if own.mounts:
        shown["Volumes"] = [{"DockerName": m.volume, "Destination": m.target} for m in own.mounts]
    if own.log is not None and own.log.router:
        shown["LogDriver"] = "awsfirelens"
        shown |= {"LogOptions": dict(own.log.options)} if own.log.options else {}
    elif own.log is not None:
        shown["LogDriver"] = "awslogs"
        shown["LogOptions"] = {
            **({"awslogs-create-group": "true"} if own.log.create_group else {}),
            "awslogs-group": own.log.group,
            "awslogs-region": own.log.region or spec.region,
            "awslogs-stream": own.log.stream,
        }
    if own.arn:
        shown["ContainerARN"] = own.arn
    if spec.interface is not None:
        shown["Networks"] = [_network(spec.interface)]
    if own.restart is not None:
        shown["RestartCount"] = status.restarts
    shown["Snapshotter"] = "overlayfs"
    return shown


def _health(status: ContainerStatus) -> Json:
    shown: Json = {"status": status.health}
    if status.health_since is not None:
        shown["statusSince"] = moment(status.health_since)
    if status.health_exit_code is not None:
        shown["exitCode"] = status.health_exit_code
    if status.health_output:
        shown["output"] = status.health_output
    return shown


def _limits(own: ContainerSpec) -> Json:
    memory = own.memory or own.memory_reservation
    return {"CPU": max(_LEAST_SHARES, own.cpu)} | ({"Memory": memory // _MIB} if memory else {})


def _network(interface: InterfaceSpec) -> Json:
    prefix = IPv4Network(interface.subnet_cidr).prefixlen
    return {
        "NetworkMode": "awsvpc",
        "IPv4Addresses": [interface.address],
        "AttachmentIndex": 0,
        "MACAddress": interface.mac,
        "IPv4SubnetCIDRBlock": interface.subnet_cidr,
        "DomainNameServers": list(interface.dns_servers),
        "DomainNameSearchList": [interface.dns_name.partition(".")[2]],
        "PrivateDNSName": interface.dns_name,
        "SubnetGatewayIpv4Address": f"{interface.gateway}/{prefix}",
    }


def task(
    spec: SandboxSpec,
    status: SandboxStatus,
    desired: str,
    *,
    clock: ClockDrift | None = None,
    storage_bytes: int | None = None,
) -> Json:
    """`storage_bytes` -- how much of its ephemeral storage the task has used, where that is known."""
    labels, facts = dict(spec.labels), spec.facts
    states = {s.name: s for s in status.containers}
    seen = [(c, states.get(c.name) or ContainerStatus(name=c.name)) for c in spec.containers]
    shown: Json = {
        "Cluster": labels.get("com.amazonaws.ecs.cluster", ""),
        "TaskARN": labels.get("com.amazonaws.ecs.task-arn", ""),
        "Family": labels.get("com.amazonaws.ecs.task-definition-family", ""),
        "Revision": labels.get("com.amazonaws.ecs.task-definition-version", ""),
        "DesiredStatus": desired,
        "KnownStatus": min((known_status(s) for _, s in seen), key=_STATUSES.index, default="NONE"),
        "Limits": {"CPU": spec.cpu / 1024, "Memory": spec.memory // _MIB},
    }
    moments = (
        ("PullStartedAt", status.pull_started_at),
        ("PullStoppedAt", status.pull_stopped_at),
        ("ExecutionStoppedAt", status.execution_stopped_at),
    )
    shown |= {name: moment(at) for name, at in moments if at is not None}
    texts = (
        ("ServiceName", facts.service),
        ("AvailabilityZone", facts.zone),
        ("AvailabilityZoneID", facts.zone_id),
        ("LaunchType", facts.launch_type),
    )
    shown |= {name: text for name, text in texts if text}
    shown["Containers"] = [container(spec, own, state, desired) for own, state in seen]
    if clock is not None:
        shown["ClockDrift"] = _clock(clock)
    shown["EphemeralStorageMetrics"] = _storage(spec, storage_bytes)
    shown["FaultInjectionEnabled"] = facts.fault_injection
    return shown


def _clock(drift: ClockDrift) -> Json:
    return {
        "ClockErrorBound": drift.error_milliseconds,
        "ReferenceTimestamp": moment(drift.at),
        "ClockSynchronizationStatus": "SYNCHRONIZED" if drift.synchronized else "NOT_SYNCHRONIZED",
    }


def _storage(spec: SandboxSpec, used: int | None) -> Json:
    reserved = {"Reserved": spec.ephemeral_bytes // _MIB + _STORAGE_OVERHEAD_MIB}
    return reserved if used is None else {"Utilized": -(-used // _MIB), **reserved}


def with_tags(document: Json, tags: Mapping[str, str]) -> Json:
    return {**document, "TaskTags": dict(tags)} if tags else document
