"""What Firecracker's API description (OpenAPI, version 1.17) says of the requests sent to it: paths, phases,
members, which of them are required, and their types. Held against `vmm/firecracker.py` by tests/unit/node.

Phases: `before` the guest starts, `after` it, or `either`. A member's type is str, int, bool, a set of words,
or another table.
"""

from typing import Any, Final

BEFORE, AFTER, EITHER = "before", "after", "either"
_BUCKET: Final[dict[str, Any]] = {"refill_time!": int, "size!": int, "one_time_burst": int}
_LIMITER: Final[dict[str, Any]] = {"bandwidth": _BUCKET, "ops": _BUCKET}

REQUESTS: Final[dict[tuple[str, str], tuple[str, dict[str, Any]]]] = {
    ("PUT", "/logger"): (
        BEFORE,
        {
            "level": {"Error", "Warning", "Info", "Debug", "Trace", "Off"},
            "log_path": str,
            "show_level": bool,
            "show_log_origin": bool,
            "module": str,
        },
    ),
    ("PUT", "/machine-config"): (
        BEFORE,
        {
            "mem_size_mib!": int,
            "vcpu_count!": int,
            "smt": bool,
            "track_dirty_pages": bool,
            "huge_pages": {"None", "Transparent", "2M"},
            "cpu_template": {"C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None"},
        },
    ),
    ("PUT", "/boot-source"): (BEFORE, {"kernel_image_path!": str, "initrd_path": str, "boot_args": str}),
    ("PUT", "/drives/{drive_id}"): (
        BEFORE,
        {
            "drive_id!": str,
            "is_root_device!": bool,
            "is_read_only": bool,
            "path_on_host": str,
            "partuuid": str,
            "cache_type": {"Unsafe", "Writeback"},
            "io_engine": {"Sync", "Async"},
            "rate_limiter": _LIMITER,
            "socket": str,
        },
    ),
    ("PATCH", "/drives/{drive_id}"): (
        AFTER,
        {"drive_id!": str, "path_on_host": str, "rate_limiter": _LIMITER},
    ),
    ("PUT", "/network-interfaces/{iface_id}"): (
        BEFORE,
        {
            "iface_id!": str,
            "host_dev_name!": str,
            "guest_mac": str,
            "mtu": int,
            "rx_rate_limiter": _LIMITER,
            "tx_rate_limiter": _LIMITER,
        },
    ),
    ("PUT", "/vsock"): (BEFORE, {"guest_cid!": int, "uds_path!": str, "vsock_id": str}),
    ("PUT", "/entropy"): (BEFORE, {"rate_limiter": _LIMITER}),
    ("PUT", "/actions"): (EITHER, {"action_type!": {"FlushMetrics", "InstanceStart", "SendCtrlAltDel"}}),
    ("PATCH", "/vm"): (AFTER, {"state!": {"Paused", "Resumed"}}),
    ("PUT", "/snapshot/create"): (
        AFTER,
        {"mem_file_path!": str, "snapshot_path!": str, "snapshot_type": {"Full", "Diff"}},
    ),
    ("PUT", "/snapshot/load"): (
        BEFORE,
        {
            "snapshot_path!": str,
            "mem_backend": {"backend_type!": {"File", "Uffd"}, "backend_path!": str},
            "mem_file_path": str,
            "resume_vm": bool,
            "track_dirty_pages": bool,
            "enable_diff_snapshots": bool,
            "network_overrides": [{"iface_id!": str, "host_dev_name!": str}],
            "vsock_override": {"uds_path!": str},
            "clock_realtime": bool,
        },
    ),
}


def fault(method: str, path: str, body: dict[str, Any], started: bool) -> str | None:
    """What is wrong with a request by the description; None if nothing is."""
    for (known, template), (phase, members) in REQUESTS.items():
        head, brace, name = template.partition("{")
        if known != method or (path != template if not brace else not path.startswith(head)):
            continue
        if phase != EITHER and (phase == AFTER) != started:
            return f"{method} {path}: only {phase} the guest's start"
        if brace and body.get(name.rstrip("}")) != path.removeprefix(head):
            return f"{method} {path}: {name.rstrip('}')} is not that of the path"
        return _fault(f"{method} {path}", body, members)
    return f"{method} {path}: no such request"


def _fault(where: str, value: Any, wanted: Any) -> str | None:
    if isinstance(wanted, list):
        faults = [_fault(where, item, wanted[0]) for item in value]
        return next((found for found in faults if found), None)
    if isinstance(wanted, set):
        return None if value in wanted else f"{where}: {value!r} is none of {sorted(wanted)}"
    if isinstance(wanted, type):
        right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        return None if right else f"{where}: {value!r} is no {wanted.__name__}"
    members = {name.rstrip("!"): kind for name, kind in wanted.items()}
    for name in wanted:
        if name.endswith("!") and name[:-1] not in value:
            return f"{where}: {name[:-1]} is missing"
    for name, item in value.items():
        if name not in members:
            return f"{where}: no member {name}"
        if found := _fault(f"{where} {name}", item, members[name]):
            return found
    return None
