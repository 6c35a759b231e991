"""The OCI runtime configuration of a container: pure. Called by linked.py; the shim adds what only it knows
(user ids out of the image, namespace paths, volumes of sibling containers). Defaults are Docker's.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.oci.manifest import ImageConfig

CAPABILITIES = frozenset(
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
        "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip
_MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOFILE = 65535
_TMPFS_OPTIONS = frozenset(
    (
        "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync", "mand",
        "nomand", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime",
        "nostrictatime", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol",
    )
)  # fmt: skip
_OPENED = frozenset(("suid", "dev", "exec"))
"""What a mount is without their opposites; gVisor knows no words for it, and crun none that undo one."""
_DEVICES = (  # what every container may use; everything else is forbidden by the device group
    ("c", None, None, "m"), ("b", None, None, "m"), ("c", 1, 3, "rwm"), ("c", 1, 5, "rwm"), ("c", 1, 7,
    "rwm"), ("c", 1, 8, "rwm"), ("c", 1, 9, "rwm"), ("c", 5, 0, "rwm"), ("c", 5, 1, "rwm"), ("c", 5, 2,
    "rwm"), ("c", 136, None, "rwm"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where on this machine the container is made."""

    directory: str
    """The sandbox's own."""
    cgroup: str
    limits: Mapping[str, int]
    """Hard limits of this machine by RLIMIT_ name, which cannot be raised."""
    init: str | None
    """Path of the static init on the host."""
    etc: str | None = None
    """Where /etc/hosts and its like are; None: in `directory`."""


def argv(spec: ContainerSpec, image: ImageConfig) -> list[str]:
    """Docker's rule: an entry point of one's own discards the image's command."""
    entrypoint = image.entrypoint or () if spec.entrypoint is None else spec.entrypoint
    inherited = image.cmd or () if spec.entrypoint is None else ()
    return [*entrypoint, *(inherited if spec.command is None else spec.command)]


def environment(spec: ContainerSpec, image: ImageConfig, hostname: str) -> list[str]:
    merged = dict(entry.partition("=")[::2] for entry in (_PATH, f"HOSTNAME={hostname}", *image.env))
    if spec.tty:
        merged["TERM"] = "xterm"
    merged.update(spec.environment)
    return [f"{name}={value}" for name, value in merged.items()]


def capabilities(spec: ContainerSpec) -> frozenset[str]:
    added = {_capability(name) for name in spec.capabilities_add}
    dropped = {_capability(name) for name in spec.capabilities_drop}
    base = frozenset() if "CAP_ALL" in dropped else CAPABILITIES - dropped
    return base | (added - {"CAP_ALL"})


def _capability(name: str) -> str:
    name = name.upper()
    return name if name.startswith("CAP_") else f"CAP_{name}"


def rlimits(spec: ContainerSpec, limits: Mapping[str, int]) -> tuple[list[dict[str, Any]], list[str]]:
    """OCI rlimits, clamped to what the machine allows; and a sentence for each that was."""
    wanted = {"RLIMIT_NOFILE": (_NOFILE, _NOFILE)}
    named = {f"RLIMIT_{u.name.upper()}": (u.soft, u.hard) for u in spec.ulimits}
    found, notes = [], []
    for name, (soft, hard) in {**wanted, **named}.items():
        most = limits.get(name, -1)
        soft, hard = (v if v >= 0 else (1 << 64) - 1 for v in (soft, hard))
        if most >= 0 and hard > most:
            if name in named:
                notes.append(f"ulimit {name[7:].lower()} of {hard} is held to this machine's maximum, {most}")
            soft, hard = min(soft, most), most
        found.append({"type": name, "soft": soft, "hard": hard})
    return found, notes


def volumes(spec: ContainerSpec, directory: str, shared: Collection[str] = ()) -> list[dict[str, Any]]:
    """Mounts of the sandbox's volumes (what `volumes_from` of another container takes over).

    Those that it shares with other sandboxes (the names in `shared`) are named, for the shim to mount.
    """
    return [
        {
            "destination": mount.target,
            "type": "bind",
            "source": f"{directory}/volumes/{mount.volume}",
            "options": ["rbind", "rprivate", "nosuid", "nodev", "ro" if mount.readonly else "rw"],
            **({"shared": mount.volume} if mount.volume in shared else {}),
            **({"owned": True} if mount.owned else {}),
        }
        for mount in spec.mounts
    ]


def _mounts(spec: ContainerSpec, place: Place) -> list[dict[str, Any]]:
    def mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
        return {"destination": target, "type": kind, "source": source, "options": list(options)}

    closed = ("nosuid", "noexec", "nodev")
    found = [
        mount("/proc", "proc", "proc", *closed),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ),
        mount("/dev/shm", "tmpfs", "shm", *closed, "mode=1777", "size=65536k"),
        mount("/dev/mqueue", "mqueue", "mqueue", *closed),
        mount("/sys", "sysfs", "sysfs", *closed, "ro"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", *closed, "relatime", "ro"),
    ]
    for name in ("hosts", "hostname", "resolv.conf"):
        source = f"{place.etc or place.directory}/{name}"
        found.append(mount(f"/etc/{name}", "bind", source, "rbind", "rprivate", "rw"))
    for number, (target, _text) in enumerate(spec.files):
        source = f"{place.directory}/{_file(spec, number)}"
        found.append(mount(target, "bind", source, "bind", "rprivate", "nosuid", "nodev", "ro"))
    if spec.init and place.init:
        found.append(mount("/dev/init", "bind", place.init, "bind", "ro", "nosuid"))
    for tmpfs in spec.tmpfs:
        options = _merged((*closed, *tmpfs.options))
        found.append(mount(tmpfs.target, "tmpfs", "tmpfs", *options, f"size={tmpfs.size}"))
    return found


def _merged(options: Sequence[str]) -> list[str]:
    """Options of a tmpfs, as Docker merges them: of those that contradict each other the last counts."""
    found: dict[str, str] = {}
    for option in options:
        name = option.partition("=")[0]
        if name in _TMPFS_OPTIONS:
            about = {"rw": "ro", "async": "sync"}.get(name, name)
            about = about[2:] if about.startswith("no") else about
            found[about] = option
    return [option for option in found.values() if option not in _OPENED]


def _resources(spec: ContainerSpec, task: SandboxSpec) -> dict[str, Any]:
    memory: dict[str, int] = {}
    if spec.memory:
        memory = {"limit": spec.memory, "swap": spec.memory}
    if spec.memory_reservation:
        memory["reservation"] = spec.memory_reservation
    devices: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for kind, major, minor, access in _DEVICES:
        device: dict[str, Any] = {"allow": True, "type": kind, "access": access}
        device |= {k: v for k, v in (("major", major), ("minor", minor)) if v is not None}
        devices.append(device)
    found: dict[str, Any] = {
        "devices": devices,
        "cpu": {"shares": max(2, spec.cpu)},
        "pids": {"limit": task.pids},
    }
    return found | ({"memory": memory} if memory else {})


def config(
    task: SandboxSpec, spec: ContainerSpec, image: ImageConfig, place: Place
) -> tuple[dict[str, Any], list[str]]:
    """The configuration, less seccomp, and what a user should be told. `hostname`, user and paths: see
    the shim.
    """
    hostname = hostname_of(task)
    caps = sorted(capabilities(spec))
    limits, notes = rlimits(spec, place.limits)
    arguments = argv(spec, image)
    if spec.init and place.init:
        arguments = ["/dev/init", "--", *arguments]
    namespaces = ("pid", "ipc", "uts", "mount", "cgroup", "network")
    return {
        "ociVersion": "1.0.2",
        "hostname": hostname,
        "process": {
            "terminal": spec.tty,
            "args": arguments,
            "env": environment(spec, image, hostname),
            "cwd": spec.working_directory or image.working_dir or "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": limits,
            "noNewPrivileges": False,
            "oomScoreAdj": 0,
        },
        "root": {"path": f"{place.directory}/c/{spec.name}/root", "readonly": spec.readonly_rootfs},
        "mounts": _mounts(spec, place),
        "linux": {
            "namespaces": [{"type": name} for name in namespaces],
            "cgroupsPath": f"/{place.cgroup}/{spec.name}",
            "resources": _resources(spec, task),
            "sysctl": dict(spec.sysctls),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READONLY),
        },
    }, notes  # fmt: skip


def hostname_of(task: SandboxSpec) -> str:
    return task.interface.dns_name if task.interface and task.interface.dns_name else task.id


def etc_files(task: SandboxSpec) -> dict[str, str]:
    """/etc files that every container of the sandbox sees."""
    name = hostname_of(task)
    hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    resolv = ""
    if task.interface:
        hosts += f"{task.interface.address} {name} {name.partition('.')[0]}\n"
        hosts += "".join(f"{address} {other}\n" for address, other in task.interface.hosts)
        domain = name.partition(".")[2]
        resolv = (f"search {domain}\n" if domain else "") + "".join(
            f"nameserver {server}\n" for server in task.interface.dns_servers
        )
    return {"hosts": hosts, "hostname": f"{name}\n", "resolv.conf": resolv}


def files_of(task: SandboxSpec) -> dict[str, str]:
    """All files that are made for the sandbox's containers, by their names in its directory."""
    own = {_file(c, number): text for c in task.containers for number, (_, text) in enumerate(c.files)}
    return etc_files(task) | own


def _file(spec: ContainerSpec, number: int) -> str:
    return f"file-{spec.name}-{number}"
