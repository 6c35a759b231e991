"""Looks for everything that a driver could leave on the machine."""

import contextlib
import os
import subprocess
import time
from pathlib import Path


def traces(instance: str, directory: Path, seconds: float = 20) -> list[str]:
    """What of an instance is left after at most `seconds` (processes die, and namespaces go, a little
    later).
    """
    deadline = time.monotonic() + seconds
    while (found := _look(instance, directory)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _look(instance: str, directory: Path) -> list[str]:
    found = processes(instance) + mounts(directory) + loop_devices(directory)
    for command in (["ip", "-o", "link"], ["nft", "list", "tables"], ["ip", "route"]):
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        number = str(int(instance, 16) + 1)
        found += [line for line in out.splitlines() if instance in line or f"metric {number} " in f"{line} "]
    for top, names, _ in os.walk("/sys/fs/cgroup"):
        found += [f"{top}/{name}" for name in names if instance in name]
    return found


def processes(instance: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"neargate-{instance}" in (process / "cmdline").read_text():
                found.append(f"process {process.name}")
            elif f"/neargate_{instance}/" in (process / "cgroup").read_text():
                found.append(f"container process {process.name}")
    return found


def comm(pid: int) -> str:
    """A process's name; none of one that is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def mounts(directory: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(directory) in (process / "mountinfo").read_text():
                found.append(f"mount in the namespace of {process.name}")
    return found


def loop_devices(directory: Path) -> list[str]:
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if str(directory) in path.read_text():
                found.append(f"{path.parts[3]} of {path.read_text().strip()}")
    return found


def populated(instance: str) -> set[str]:
    """Ids of the sandboxes that have a process in a cgroup of theirs."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for line in (process / "cgroup").read_text().splitlines():
                _, marker, rest = line.partition(f"/neargate_{instance}/")
                if marker and rest != "shims":
                    found.add(rest.split("/")[0])
    return found
