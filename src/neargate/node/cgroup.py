"""cgroups of sandboxes, version 1 (each controller its own tree), 2 (one tree) and hybrid (version 1 is
used).

Called by the shim (make, limit, count, remove) and by node/shimmed (root, sweep). Standard library only.
Layout: `/neargate_<instance>/<sandbox id>/<container>`; the limits of a task hang on the middle group.
Shims live in `/neargate_<instance>/shims`, so that a service manager which ends the daemon's group
leaves them alone.
"""

import os
import signal
import time
from typing import Any

MOUNT = "/sys/fs/cgroup"
PERIOD = 100_000
MEMORY = {
    "cache": "file", "rss": "anon", "shmem": "shmem", "mapped_file": "file_mapped", "dirty": "file_dirty",
    "writeback": "file_writeback", "inactive_anon": "inactive_anon", "active_anon": "active_anon",
    "inactive_file": "inactive_file", "active_file": "active_file", "unevictable": "unevictable",
    "pgfault": "pgfault", "pgmajfault": "pgmajfault",
}  # fmt: skip
"""What memory.stat calls things in version 1 (where `total_` has the groups below too) and in version 2."""
SHIMS = "shims"
_COUNTING = frozenset(("memory", "cpu", "cpuacct", "pids", "blkio", "cpu,cpuacct"))


def is_v2() -> bool:
    return os.path.exists(f"{MOUNT}/cgroup.controllers")


def trees() -> list[str]:
    """Mount points that a group has a directory in."""
    if is_v2():
        return [MOUNT]
    found = []
    for name in sorted(os.listdir(MOUNT)):
        path = f"{MOUNT}/{name}"
        if name != "unified" and not os.path.islink(path) and os.path.exists(f"{path}/cgroup.procs"):
            found.append(path)
    return found


def root_name(instance: str) -> str:
    return f"neargate_{instance}"


def join_shims(instance: str, pid: int) -> None:
    """Move a shim out of the daemon's group. Raise OSError."""
    tree = MOUNT if is_v2() else f"{MOUNT}/systemd" if os.path.exists(f"{MOUNT}/systemd") else f"{MOUNT}/pids"
    group = f"{tree}/{root_name(instance)}/{SHIMS}"
    os.makedirs(group, exist_ok=True)
    _write(f"{group}/cgroup.procs", str(pid))


def cpu_weight(shares: int) -> int:
    """cpu.weight (1..10000) of version 2 for cpu.shares (2..262144), as runc and systemd map it."""
    return max(1, min(10000, 1 + ((max(2, min(262144, shares)) - 2) * 9999) // 262142))


def limits_v2(resources: dict[str, Any]) -> dict[str, str]:
    """What a runtime writes to a group's files for OCI resources, in version 2."""
    memory = resources.get("memory", {})
    found = {}
    if "limit" in memory:
        found = {"memory.max": memory["limit"], "memory.swap.max": memory["swap"] - memory["limit"]}
    if "reservation" in memory:
        found["memory.low"] = memory["reservation"]
    found |= {"cpu.weight": cpu_weight(resources["cpu"]["shares"]), "pids.max": resources["pids"]["limit"]}
    return {name: str(value) for name, value in found.items()}


class Group:
    """One group in all trees. `path` is relative to the trees:
    `neargate_<instance>/<sandbox>[/<container>]`.
    """

    def __init__(self, path: str, v2: bool | None = None) -> None:
        self.path = path
        self.v2 = is_v2() if v2 is None else v2

    def make(self) -> None:
        """Only where limits are set; the runtime makes the rest. Version 2: hands controllers down to it."""
        if not self.v2:
            for tree in ("memory", "cpu", "pids"):
                os.makedirs(f"{MOUNT}/{tree}/{self.path}", exist_ok=True)
            return
        here = MOUNT
        for part in self.path.split("/"):
            _write(f"{here}/cgroup.subtree_control", "+cpu +memory +pids")
            here = f"{here}/{part}"
            if not os.path.isdir(here):
                os.mkdir(here)
        _write(f"{here}/cgroup.subtree_control", "+cpu +memory +pids")

    def make_for(self, pid: int) -> None:
        """With a process in it, wherever something is limited or counted: for those whom no runtime moves.
        Raise OSError.
        """
        for tree in trees():
            if self.v2 or tree.rpartition("/")[2] in _COUNTING:
                os.makedirs(f"{tree}/{self.path}", exist_ok=True)
                _write(f"{tree}/{self.path}/cgroup.procs", str(pid))

    def limit(self, memory: int, pids: int, cpu: int) -> None:
        """memory -- bytes, swap included. cpu -- units of 1/1024, as relative weight (see `quota`)."""
        if self.v2:
            limits = {"limit": memory, "swap": memory}
            wanted = limits_v2({"memory": limits, "pids": {"limit": pids}, "cpu": {"shares": cpu}})
            for name, value in wanted.items():
                write = _try_write if name == "memory.swap.max" else _write
                write(f"{MOUNT}/{self.path}/{name}", value)
        else:
            _write(f"{MOUNT}/memory/{self.path}/memory.limit_in_bytes", str(memory))
            _try_write(f"{MOUNT}/memory/{self.path}/memory.memsw.limit_in_bytes", str(memory))
            _write(f"{MOUNT}/pids/{self.path}/pids.max", str(pids))
            _write(f"{MOUNT}/cpu/{self.path}/cpu.shares", str(max(2, cpu)))

    def quota(self, cpu: int) -> None:
        """Hold the group to cpu/1024 processors. Set after the start: under a quota a start takes twice
        as long.
        """
        quota = max(1000, cpu * PERIOD // 1024)
        if self.v2:
            _write(f"{MOUNT}/{self.path}/cpu.max", f"{quota} {PERIOD}")
        else:
            _write(f"{MOUNT}/cpu/{self.path}/cpu.cfs_period_us", str(PERIOD))
            _write(f"{MOUNT}/cpu/{self.path}/cpu.cfs_quota_us", str(quota))

    def add(self, pid: int, child: str) -> None:
        """Put a process into a group below (version 2 allows none in one that hands controllers down)."""
        for tree in [MOUNT] if self.v2 else [f"{MOUNT}/{name}" for name in ("memory", "cpu", "pids")]:
            os.makedirs(f"{tree}/{self.path}/{child}", exist_ok=True)
            _write(f"{tree}/{self.path}/{child}/cgroup.procs", str(pid))

    def oom_kills(self) -> int:
        name = "memory.events" if self.v2 else "memory.oom_control"
        for line in self._read("memory", name).splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
        return 0

    def usage(self) -> dict[str, float]:
        """cpu_seconds (user and system too), memory_bytes, memory_peak_bytes, pids, memory.* (see MEMORY),
        and what went to and from disks; zeros when the group is gone.
        """
        if self.v2:
            stat = self._read("", "cpu.stat")
            usec, user, system = (_field(stat, f"{what}_usec") / 1e6 for what in ("usage", "user", "system"))
            names = ("memory.current", "memory.peak", "pids.current")
        else:
            usec, user, system = (
                _number(self._read("cpuacct", f"cpuacct.usage{what}")) / 1e9 for what in ("", "_user", "_sys")
            )
            names = ("memory.usage_in_bytes", "memory.max_usage_in_bytes", "pids.current")
        memory, peak, pids = (_number(self._read(name.partition(".")[0], name)) for name in names)
        # page cache that the kernel would give back at once is not what a user calls used memory
        told = self._memory()
        cold = told["memory.inactive_file"]
        return {
            "cpu_seconds": usec,
            "cpu_user_seconds": user,
            "cpu_system_seconds": system,
            "memory_bytes": max(0, memory - cold),
            "memory_peak_bytes": max(peak, memory),
            "pids": pids,
            **told,
            **self._disk(),
        }

    def _memory(self) -> dict[str, int]:
        pairs = (line.partition(" ")[::2] for line in self._read("memory", "memory.stat").splitlines())
        found = {name: _number(value) for name, value in pairs}
        return {
            f"memory.{old}": found.get(new if self.v2 else f"total_{old}", 0) for old, new in MEMORY.items()
        }

    def _disk(self) -> dict[str, int]:
        """Bytes and operations, over all devices. Version 2 counts only where somebody enabled `io`."""
        if self.v2:
            keys = {"rbytes": "read_bytes", "wbytes": "write_bytes", "rios": "reads", "wios": "writes"}
            found = dict.fromkeys(keys.values(), 0)
            for word in self._read("", "io.stat").split():
                key, _, value = word.partition("=")
                if key in keys:
                    found[keys[key]] += _number(value)
            return found
        found = {}
        for file, names in (
            ("io_service_bytes", ("read_bytes", "write_bytes")),
            ("io_serviced", ("reads", "writes")),
        ):
            lines = self._read("blkio", f"blkio.throttle.{file}_recursive").splitlines()
            for operation, name in zip(("Read", "Write"), names, strict=True):
                found[name] = sum(_number(ln.split()[2]) for ln in lines if ln.split()[1:2] == [operation])
        return found

    def pids(self) -> list[int]:
        """Processes in the group itself and in all groups below it."""
        found: list[int] = []
        for top, _, _ in os.walk(f"{MOUNT}/{self.path}" if self.v2 else f"{MOUNT}/pids/{self.path}"):
            found += [int(p) for p in _read(f"{top}/cgroup.procs").split()]
        return found

    def kill_once(self) -> bool:
        """SIGKILL to all in it now. False if there was nobody."""
        if self.v2 and _try_write(f"{MOUNT}/{self.path}/cgroup.kill", "1"):
            return bool(self.pids())
        pids = self.pids()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return bool(pids)

    def kill(self) -> None:
        """SIGKILL to all in it, also to what it forks meanwhile, until nobody is left (or for a second)."""
        for attempt in range(200):
            if not self.kill_once():
                return
            time.sleep(0.0005 * min(attempt + 1, 10))

    def remove(self) -> bool:
        """Remove it and all below in every tree. False if something still lives in it."""
        done = True
        for tree in trees():
            for top, _, _ in os.walk(f"{tree}/{self.path}", topdown=False):
                try:
                    os.rmdir(top)
                except FileNotFoundError:
                    continue
                except OSError:
                    done = False
        return done

    def exists(self) -> bool:
        return any(os.path.exists(f"{tree}/{self.path}") for tree in trees())

    def _read(self, tree: str, name: str) -> str:
        return _read(f"{MOUNT}/{self.path}/{name}" if self.v2 else f"{MOUNT}/{tree}/{self.path}/{name}")


def children(instance: str) -> set[str]:
    """Sandbox ids that have a group in any tree."""
    found: set[str] = set()
    for tree in trees():
        try:
            with os.scandir(f"{tree}/{root_name(instance)}") as entries:
                found |= {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
            found.discard(SHIMS)
        except FileNotFoundError:
            continue
    return found


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _try_write(path: str, text: str) -> bool:
    try:
        _write(path, text)
    except OSError:
        return False
    return True


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
