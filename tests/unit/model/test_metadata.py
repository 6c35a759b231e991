"""The documents of metadata version 4, field for field, and Docker's statistics."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from neargate.model import metadata, metadata_stats
from neargate.model.metadata import ClockDrift
from neargate.model.metadata_stats import Sample
from neargate.model.sandbox import (
    ContainerSpec,
    ContainerStatus,
    Facts,
    HealthCheck,
    InterfaceSpec,
    LogSink,
    Mount,
    RestartPolicy,
    SandboxSpec,
    SandboxStatus,
)
from neargate.model.usage import Network, Usage

MIB = 1024**2
TASK = "arn:aws:ecs:us-west-2:111122223333:task/default/cd18"
LABELS = {
    "com.amazonaws.ecs.cluster": "arn:aws:ecs:us-west-2:111122223333:cluster/default",
    "com.amazonaws.ecs.task-arn": TASK,
    "com.amazonaws.ecs.task-definition-family": "curltest",
    "com.amazonaws.ecs.task-definition-version": "2",
}
WEB = ContainerSpec(
    name="curl",
    image="curltest:latest",
    runtime_id="cd18-2495160603",
    arn="arn:aws:ecs:us-west-2:111122223333:container/default/cd18/0596",
    cpu=10,
    memory=128 * MIB,
    log=LogSink(group="/ecs/logs", stream="ecs/curl/cd18", region="us-west-2", create_group=True),
)
SPEC = SandboxSpec(
    id="cd18",
    containers=(WEB,),
    interface=InterfaceSpec(
        id="eni-1",
        mac="0a:de:f6:10:51:e5",
        address="192.0.2.3",
        subnet_cidr="192.0.2.0/24",
        gateway="192.0.2.1",
        dns_name="ip-192-0-2-3.us-west-2.compute.internal",
        dns_servers=("192.0.2.2",),
    ),
    cpu=256,
    memory=512 * MIB,
    region="us-west-2",
    labels=tuple(LABELS.items()),
    facts=Facts(launch_type="FARGATE", zone="us-west-2b", zone_id="usw2-az2", service="web"),
)
RUNNING = ContainerStatus(
    name="curl", phase="RUNNING", image_digest="sha256:25f3", started_at=1602187751.44527
)
CONTAINER = {
    "DockerId": "cd18-2495160603",
    "Name": "curl",
    "DockerName": "curl",
    "Image": "curltest:latest",
    "ImageID": "sha256:25f3",
    "Labels": {**LABELS, "com.amazonaws.ecs.container-name": "curl"},
    "DesiredStatus": "RUNNING",
    "KnownStatus": "RUNNING",
    "Limits": {"CPU": 10, "Memory": 128},
    "CreatedAt": "2020-10-08T20:09:11.445270Z",
    "StartedAt": "2020-10-08T20:09:11.445270Z",
    "Type": "NORMAL",
    "LogDriver": "awslogs",
    "LogOptions": {
        "awslogs-create-group": "true",
        "awslogs-group": "/ecs/logs",
        "awslogs-region": "us-west-2",
        "awslogs-stream": "ecs/curl/cd18",
    },
    "ContainerARN": WEB.arn,
    "Networks": [
        {
            "NetworkMode": "awsvpc",
            "IPv4Addresses": ["192.0.2.3"],
            "AttachmentIndex": 0,
            "MACAddress": "0a:de:f6:10:51:e5",
            "IPv4SubnetCIDRBlock": "192.0.2.0/24",
            "DomainNameServers": ["192.0.2.2"],
            "DomainNameSearchList": ["us-west-2.compute.internal"],
            "PrivateDNSName": "ip-192-0-2-3.us-west-2.compute.internal",
            "SubnetGatewayIpv4Address": "192.0.2.1/24",
        }
    ],
    "Snapshotter": "overlayfs",
}


def test_a_container_as_fargate_shows_it() -> None:
    assert metadata.container(SPEC, WEB, RUNNING, "RUNNING") == CONTAINER


def test_a_task_as_fargate_shows_it() -> None:
    status = SandboxStatus(
        id="cd18",
        sequence=1,
        phase="RUNNING",
        containers=(RUNNING,),
        pull_started_at=1689954333.5,
        pull_stopped_at=1689954338.25,
    )
    clock = ClockDrift(at=1689955757.0, error_milliseconds=0.446931, synchronized=True)
    assert metadata.task(SPEC, status, "RUNNING", clock=clock, storage_bytes=261 * MIB - 1) == {
        "Cluster": LABELS["com.amazonaws.ecs.cluster"],
        "TaskARN": TASK,
        "Family": "curltest",
        "Revision": "2",
        "ServiceName": "web",
        "DesiredStatus": "RUNNING",
        "KnownStatus": "RUNNING",
        "Limits": {"CPU": 0.25, "Memory": 512},
        "PullStartedAt": "2023-07-21T15:45:33.500000Z",
        "PullStoppedAt": "2023-07-21T15:45:38.250000Z",
        "AvailabilityZone": "us-west-2b",
        "AvailabilityZoneID": "usw2-az2",
        "LaunchType": "FARGATE",
        "Containers": [CONTAINER],
        "ClockDrift": {
            "ClockErrorBound": 0.446931,
            "ReferenceTimestamp": "2023-07-21T16:09:17.000000Z",
            "ClockSynchronizationStatus": "SYNCHRONIZED",
        },
        "EphemeralStorageMetrics": {"Utilized": 261, "Reserved": 20496},
        "FaultInjectionEnabled": False,
    }


@pytest.mark.parametrize(
    ("states", "known"),
    [
        ((), "NONE"),
        ((ContainerStatus(name="curl"),), "NONE"),
        ((ContainerStatus(name="curl", image_digest="sha256:1"),), "PULLED"),
        ((ContainerStatus(name="curl", phase="CREATED"),), "CREATED"),
        ((ContainerStatus(name="curl", phase="STOPPED"),), "STOPPED"),
    ],
)
def test_known_status(states: tuple[ContainerStatus, ...], known: str) -> None:
    status = SandboxStatus(id="cd18", sequence=1, phase="STARTING", containers=states)
    document = metadata.task(SPEC, status, "RUNNING")
    assert (document["KnownStatus"], document["Containers"][0]["KnownStatus"]) == (known, known)


def test_a_task_runs_while_the_least_of_its_containers_does() -> None:
    side = ContainerSpec(name="side", image="i", runtime_id="cd18-2")
    spec = msgspec.structs.replace(SPEC, containers=(WEB, side))
    for phase, known in (("RUNNING", "RUNNING"), ("STOPPED", "RUNNING"), ("PENDING", "NONE")):
        other = ContainerStatus(name="side", phase=phase)  # type: ignore[arg-type]
        status = SandboxStatus(id="cd18", sequence=1, phase="RUNNING", containers=(RUNNING, other))
        assert metadata.task(spec, status, "RUNNING")["KnownStatus"] == known


def test_what_only_some_containers_have() -> None:
    own = ContainerSpec(
        name="m",
        image="i",
        runtime_id="cd18-3",
        memory_reservation=64 * MIB,
        health_check=HealthCheck(command=("CMD", "true")),
        mounts=(Mount(volume="scratch", target="/scratch"),),
        restart=RestartPolicy(),
    )
    status = ContainerStatus(
        name="m",
        phase="STOPPED",
        exit_code=3,
        stopped_at=2.0,
        health="UNHEALTHY",
        health_output="no",
        health_exit_code=4,
        health_since=1.5,
        restarts=2,
    )
    spec = msgspec.structs.replace(SPEC, interface=None, containers=(own,))
    document = metadata.container(spec, own, status, "STOPPED")
    assert document["Limits"] == {"CPU": 2, "Memory": 64}
    assert (document["ExitCode"], document["RestartCount"]) == (3, 2)
    assert document["FinishedAt"] == "1970-01-01T00:00:02.000000Z"
    assert document["Health"] == {
        "status": "UNHEALTHY",
        "statusSince": "1970-01-01T00:00:01.500000Z",
        "exitCode": 4,
        "output": "no",
    }
    assert document["Volumes"] == [{"DockerName": "scratch", "Destination": "/scratch"}]
    assert not document.keys() & {"Networks", "LogDriver", "ContainerARN", "StartedAt"}


def test_what_a_router_is_told_of_a_containers_lines_is_shown_as_it_was_given() -> None:
    sink = LogSink(group="", stream="m-firelens-cd18", router="r", options=(("Name", "stdout"), ("x", "y")))
    own = ContainerSpec(name="m", image="i", runtime_id="cd18-4", log=sink)
    document = metadata.container(SPEC, own, RUNNING, "RUNNING")
    assert (document["LogDriver"], document["LogOptions"]) == ("awsfirelens", {"Name": "stdout", "x": "y"})
    bare = msgspec.structs.replace(own, log=msgspec.structs.replace(sink, options=()))
    assert "LogOptions" not in metadata.container(SPEC, bare, RUNNING, "RUNNING")


def test_tags_only_where_there_are_some() -> None:
    assert metadata.with_tags({"a": 1}, {"team": "x"}) == {"a": 1, "TaskTags": {"team": "x"}}
    assert metadata.with_tags({"a": 1}, {}) == {"a": 1}


# -- statistics ----------------------------------------------------------------------------------------

USAGE = Usage(
    cpu_seconds=2.5,
    memory_bytes=1000,
    memory_peak_bytes=2000,
    pids=3,
    cpu_user_seconds=2.0,
    cpu_system_seconds=0.5,
    read_bytes=4096,
    write_bytes=8192,
    reads=1,
    writes=2,
    memory={"cache": 700, "inactive_file": 300},
    network=Network(rx_bytes=300, rx_packets=3, tx_bytes=90, tx_packets=2, tx_dropped=1),
)


def stats(now: Sample, before: Sample | None = None) -> dict[str, Any]:
    return metadata_stats.stats(
        now, before, name="curl", runtime_id="cd18-1", memory_limit=512 * MIB, processors=2
    )


def test_a_first_sample_has_nothing_before_it() -> None:
    shown = stats(Sample(1602192284.5, USAGE, 3000.25))
    assert (shown["read"], shown["preread"]) == ("2020-10-08T21:24:44.500000Z", "0001-01-01T00:00:00Z")
    assert shown["cpu_stats"]["cpu_usage"] == {
        "total_usage": 2_500_000_000,
        "usage_in_kernelmode": 500_000_000,
        "usage_in_usermode": 2_000_000_000,
    }
    assert (shown["cpu_stats"]["system_cpu_usage"], shown["cpu_stats"]["online_cpus"]) == (
        3000_250_000_000,
        2,
    )
    assert shown["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert "system_cpu_usage" not in shown["precpu_stats"]
    assert shown["memory_stats"] == {  # Docker counts the page cache that `docker stats` takes off again
        "usage": 1300,
        "max_usage": 2000,
        "stats": {
            "cache": 700, "inactive_file": 300, "total_cache": 700, "total_inactive_file": 300,
            "hierarchical_memory_limit": 512 * MIB,
        },
        "limit": 512 * MIB,
    }  # fmt: skip
    assert shown["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 0, "minor": 0, "op": "Read", "value": 4096},
        {"major": 0, "minor": 0, "op": "Write", "value": 8192},
    ]
    assert [e["value"] for e in shown["blkio_stats"]["io_serviced_recursive"]] == [1, 2]
    assert shown["networks"]["eth1"] == {
        "rx_bytes": 300, "rx_packets": 3, "rx_errors": 0, "rx_dropped": 0,
        "tx_bytes": 90, "tx_packets": 2, "tx_errors": 0, "tx_dropped": 1,
    }  # fmt: skip
    assert (shown["pids_stats"], shown["name"], shown["id"]) == ({}, "curl", "cd18-1")
    assert "network_rate_stats" not in shown


def test_a_second_sample_knows_the_first_and_the_rates_between() -> None:
    before = Sample(100.0, replace(USAGE, cpu_seconds=1.0, network=Network(rx_bytes=100, tx_bytes=70)), 40.0)
    shown = stats(Sample(102.0, USAGE, 44.0), before)
    assert shown["precpu_stats"]["cpu_usage"]["total_usage"] == 1_000_000_000
    assert shown["preread"] == "1970-01-01T00:01:40.000000Z"
    assert shown["network_rate_stats"] == {"rx_bytes_per_sec": 100.0, "tx_bytes_per_sec": 10.0}


def test_without_an_interface_there_are_no_networks() -> None:
    shown = stats(Sample(1.0, Usage(0.0, 0, 0, 0), 1.0))
    assert "networks" not in shown
    assert shown["memory_stats"]["stats"] == {}
    assert all(entries == [] for entries in shown["blkio_stats"].values())


def test_a_container_that_was_restarted_has_no_negative_rate() -> None:
    before = Sample(100.0, USAGE, 40.0)
    after = replace(USAGE, network=Network(rx_bytes=1, tx_bytes=1))
    assert stats(Sample(101.0, after, 44.0), before)["network_rate_stats"] == {
        "rx_bytes_per_sec": 0.0,
        "tx_bytes_per_sec": 0.0,
    }
