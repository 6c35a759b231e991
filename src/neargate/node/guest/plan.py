"""What a container's start asks of a guest, worked out before it is told: pure.

Called by the machine's supervisor (vmm/supervisor.py) for each start, and by become.py for what it stages:
in an emulated guest each line of this that were worked out there would have to be translated first.
"""

import resource
from typing import Any

from neargate.node.cgroup import limits_v2
from neargate.node.guest import places
from neargate.node.shim import kernel

TOPS = ("/proc", "/dev", "/sys")
"""What is staged is below these."""
FILTER = "run.oci.seccomp_bpf_data"
"""The annotation with a container's system call filter, as base64."""
_FLAGS = {
    "ro": kernel.MS_RDONLY, "nosuid": kernel.MS_NOSUID, "nodev": kernel.MS_NODEV, "noexec": kernel.MS_NOEXEC,
    "sync": 16, "mand": 64, "dirsync": 128, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21,
    "strictatime": 1 << 24, "bind": kernel.MS_BIND, "rbind": kernel.MS_BIND | kernel.MS_REC,
}  # fmt: skip
_NO_FLAGS = frozenset(
    ("rw", "suid", "dev", "exec", "async", "nomand", "atime", "diratime", "norelatime", "nostrictatime")
) | {"rprivate", "private"}
_NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
    "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""Of capabilities, by number."""
CAPABILITIES = {f"CAP_{name}": number for number, name in enumerate(_NAMES)}
_UNLIMITED = (1 << 64) - 1


class Unplannable(Exception):
    """The runtime has to do it; the message says what."""


def start(request: dict[str, Any], rehearsed: dict[str, Any], possible: bool) -> dict[str, Any]:
    """A start as the guest is told of it: without what it knows from its rehearsal, and with the plan by
    which the container that was made ahead becomes this one. None: it cannot.

    rehearsed -- the rehearsal's configuration. possible -- it is the first, in a PID namespace of its own.
    """
    config = request["config"]
    resources = config["linux"]["resources"]
    plan = None
    if possible and not request["interactive"] and alike(config, rehearsed):
        try:
            plan = _plan(config, request["volumes"], rehearsed)
        except Unplannable:
            plan = None
    if resources["devices"] == rehearsed["linux"]["resources"]["devices"]:
        resources = {name: value for name, value in resources.items() if name != "devices"}
    known = config["annotations"] == rehearsed["annotations"]  # the filter is the most of the message
    linux = config["linux"] | {"resources": resources}
    config = config | {"linux": linux, "annotations": {} if known else config["annotations"]}
    return request | {"config": config, "plan": plan}


def staged(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Which mounts of a configuration are made ahead: those at its beginning that are every container's."""
    mounts = config["mounts"]
    own = (n for n, mount in enumerate(mounts) if not mount["destination"].startswith(TOPS))
    return list(mounts[: next(own, len(mounts))])


def alike(config: dict[str, Any], rehearsed: dict[str, Any]) -> bool:
    """Can what was staged for one configuration become the container of another?"""
    process, linux = config["process"], config["linux"]
    return (
        staged(config) == staged(rehearsed)
        and all(linux[name] == rehearsed["linux"][name] for name in ("maskedPaths", "readonlyPaths"))
        and linux["resources"]["devices"] == rehearsed["linux"]["resources"]["devices"]
        and not linux["sysctl"]
        and not process["terminal"]
        and not process["noNewPrivileges"]
        and not process["oomScoreAdj"]
        and _bounding(config) <= _bounding(rehearsed)
    )


def _plan(config: dict[str, Any], volumes: list[dict[str, Any]], rehearsed: dict[str, Any]) -> dict[str, Any]:
    """Raise Unplannable.

    mounts -- those that are not staged, volumes too: destination -> flags and data of mount(2), and whether
    it is a directory. limits -- those that are not staged. drops -- capabilities that go from the
    bounding set. capabilities -- arguments of capset(2), in hex. writes -- (path, text) that hold its group
    to its limits, but for those that the rehearsal's has.
    """
    process = config["process"]
    nameless = any(entry.startswith("=") for entry in process["env"])
    if nameless or not all(map(_is_plain, [*process["args"], *process["env"]])):
        raise Unplannable("words that Python gives to no program")
    ready = len(staged(config))
    own = config["mounts"][ready:]
    places_taken = {mount["destination"] for mount in own}
    own = own + [volume for volume in volumes if volume["destination"] not in places_taken]
    mounts = {mount["destination"]: (*flags_of(mount["options"]), _is_directory(mount)) for mount in own}
    if len(mounts) < len(own):
        raise Unplannable("one mount upon another")
    masks = [_mask(process["capabilities"][name]) for name in ("effective", "permitted")]
    known = limits_of(rehearsed)
    limits, staged_limits = rlimits_of(config), rlimits_of(rehearsed)
    if {limit[0] for limit in staged_limits} - {limit[0] for limit in limits}:
        raise Unplannable("a limit less than the rehearsal's")
    return {
        "staged": ready,
        "mounts": mounts,
        "limits": [limit for limit in limits if limit not in staged_limits],
        "drops": [CAPABILITIES[name] for name in sorted(_bounding(rehearsed) - _bounding(config))],
        "capabilities": [part.hex() for part in kernel.capabilities(*masks)],
        "writes": [write for write in limits_of(config) if write not in known],
    }


def _is_plain(word: str) -> bool:
    """No halves of characters, no NUL."""
    half = any("\ud800" <= character <= "\udfff" for character in word)
    return not (half or "\0" in word)


def _is_directory(mount: dict[str, Any]) -> bool:
    """Volumes are, and what has a file system of its own; what else is mounted is one file."""
    source: str = mount["source"]
    return mount["type"] != "bind" or source.startswith(f"{places.DIRECTORY}/volumes/")


def flags_of(options: list[str]) -> tuple[int, str]:
    """(flags, data) of mount(2). Raise Unplannable for what is neither's."""
    flags, data = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif "=" in option or option in ("newinstance",):
            data.append(option)
        elif option not in _NO_FLAGS:
            raise Unplannable(f"mount option {option}")
    return flags, ",".join(data)


def dropped(config: dict[str, Any]) -> list[int]:
    """Capabilities that none of its programs can come to have."""
    kept = _bounding(config)
    return [number for name, number in CAPABILITIES.items() if name not in kept]


def _bounding(config: dict[str, Any]) -> set[str]:
    return set(config["process"]["capabilities"]["bounding"])


def _mask(names: list[str]) -> int:
    return sum(1 << CAPABILITIES[name] for name in names)


def rlimits_of(config: dict[str, Any]) -> list[tuple[int, int, int]]:
    """(resource, soft, hard) of setrlimit. Raise Unplannable."""
    return [_limit(limit) for limit in config["process"]["rlimits"]]


def _limit(limit: dict[str, Any]) -> tuple[int, int, int]:
    number = getattr(resource, limit["type"], None)
    if number is None:
        raise Unplannable(limit["type"])
    soft, hard = (-1 if limit[name] == _UNLIMITED else limit[name] for name in ("soft", "hard"))
    return number, soft, hard


def limits_of(config: dict[str, Any]) -> list[tuple[str, str]]:
    """(path, text) of the limits of the group of the container made ahead."""
    here = f"{places.GROUP_DIRECTORY}/{places.FIRST}"
    return [(f"{here}/{name}", text) for name, text in limits_v2(config["linux"]["resources"]).items()]
