"""A container's statistics as Docker's API shows them, out of two samples of its counters. Pure.

Called by node/metadata.py. What no kernel here tells is what
Docker shows of a kernel that does not keep it.
"""

from dataclasses import dataclass
from typing import Any

from neargate.model.metadata import moment
from neargate.model.usage import Network, Usage

Json = dict[str, Any]

_NEVER = "0001-01-01T00:00:00Z"
_NANO = 1_000_000_000
_BLKIO = (
    "io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive", "io_service_time_recursive",
    "io_wait_time_recursive", "io_merged_recursive", "io_time_recursive", "sectors_recursive",
)  # fmt: skip
_DEVICE = {"major": 0, "minor": 0}
"""The counters are of all devices together."""


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    usage: Usage
    machine_cpu_seconds: float
    """What all processors of the machine have run since it started, idle time included."""


def stats(
    now: Sample, before: Sample | None, *, name: str, runtime_id: str, memory_limit: int, processors: int
) -> Json:
    """`before` -- the sample asked for last; without one the earlier counters are Docker's zeros."""
    shown: Json = {
        "read": moment(now.at),
        "preread": moment(before.at) if before else _NEVER,
        "pids_stats": {},
        "blkio_stats": _blkio(now.usage),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(now, processors),
        "precpu_stats": _cpu(before, processors) if before else _no_cpu(),
        "memory_stats": _memory(now.usage, memory_limit),
        "name": name,
        "id": runtime_id,
    }
    network = now.usage.network
    if network is not None:
        shown["networks"] = {"eth1": _network(network)}  # so Fargate calls the task's interface
        earlier = before.usage.network if before else None
        if before is not None and earlier is not None and now.at > before.at:
            shown["network_rate_stats"] = _rates(network, earlier, now.at - before.at)
    return shown


def _cpu(sample: Sample, processors: int) -> Json:
    usage = sample.usage
    return {
        "cpu_usage": {
            "total_usage": _nanoseconds(usage.cpu_seconds),
            "usage_in_kernelmode": _nanoseconds(usage.cpu_system_seconds),
            "usage_in_usermode": _nanoseconds(usage.cpu_user_seconds),
        },
        "system_cpu_usage": _nanoseconds(sample.machine_cpu_seconds),
        "online_cpus": processors,
        "throttling_data": _throttling(),
    }


def _no_cpu() -> Json:
    return {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": _throttling(),
    }


def _throttling() -> Json:
    return {"periods": 0, "throttled_periods": 0, "throttled_time": 0}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _NANO)


def _memory(usage: Usage, limit: int) -> Json:
    """Docker counts page cache that is not in use, and its readers take it off again."""
    told = usage.memory
    total = {f"total_{name}": value for name, value in told.items()}
    return {
        "usage": usage.memory_bytes + told.get("inactive_file", 0),
        "max_usage": usage.memory_peak_bytes,
        "stats": {**told, **total, "hierarchical_memory_limit": limit} if told else {},
        "limit": limit,
    }


def _blkio(usage: Usage) -> Json:
    shown: Json = {name: [] for name in _BLKIO}
    if usage.reads or usage.writes:
        shown["io_service_bytes_recursive"] = _both(usage.read_bytes, usage.write_bytes)
        shown["io_serviced_recursive"] = _both(usage.reads, usage.writes)
    return shown


def _both(read: int, written: int) -> list[Json]:
    return [{**_DEVICE, "op": "Read", "value": read}, {**_DEVICE, "op": "Write", "value": written}]


def _network(network: Network) -> Json:
    return {
        f"{way}_{what}": getattr(network, f"{way}_{what}")
        for way in ("rx", "tx")
        for what in ("bytes", "packets", "errors", "dropped")
    }


def _rates(now: Network, before: Network, seconds: float) -> Json:
    return {
        "rx_bytes_per_sec": max(0, now.rx_bytes - before.rx_bytes) / seconds,
        "tx_bytes_per_sec": max(0, now.tx_bytes - before.tx_bytes) / seconds,
    }
