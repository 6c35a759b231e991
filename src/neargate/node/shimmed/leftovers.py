"""Finds and removes what sandboxes left behind when their shim was killed. Called by driver.py, on a thread.

A sandbox is known by its record under `shims/` (written before anything is made), by its cgroup, or by
its interface.
"""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

from neargate.node import cgroup
from neargate.node.network import claims
from neargate.node.network.interface import host_names
from neargate.node.shares.mounted import remove_places
from neargate.node.shim import disk, files, shared

_LEFT = (
    "c",
    "d",
    "rt",
    "volumes",
    "shim.sock",
    "states.json",
    "shim.log",
    "hosts",
    "hostname",
    "resolv.conf",
)


def find(root: Path, instance: str) -> set[str]:
    """Ids of all sandboxes that have something on this machine."""
    records = {p.name for p in (root / "shims").iterdir() if not p.name.endswith(".new")}
    return records | cgroup.children(instance)


def remove(root: Path, instance: str, sandbox: str) -> None:
    """Kill and remove all of one sandbox but its spools. Nothing there is fine."""
    record = root / "shims" / sandbox
    try:
        known = json.loads(record.read_text())
    except (OSError, ValueError):
        known = {}
    if known:
        _kill_shim(known["pid"], known["started"])
    group = cgroup.Group(f"{cgroup.root_name(instance)}/{sandbox}")
    group.kill()
    for _ in range(500):
        if group.remove():
            break
        time.sleep(0.01)
    names = host_names(instance, sandbox)
    for index, name in claims.links_of(instance).items():
        if name in names:
            claims.delete_link(index)
    if known:
        disk.erase(f"{known['directory']}/{disk.FILE}", sandbox)
        remove_places(f"{known['directory']}/{shared.PLACES}")
        for name in _LEFT:
            files.remove_tree(f"{known['directory']}/{name}")
    record.unlink(missing_ok=True)


def _kill_shim(pid: int, started: str) -> None:
    """Only if that process is still the one that wrote the record."""
    for _ in range(500):
        text = files.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if not text or text[19] != started or text[0] in "ZX":
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def empty_trash(root: Path) -> None:
    """What a shim was removing when it was killed. (Names end in the pid of the remover.)"""
    for tree in (root / "trash").iterdir():
        if "-" in tree.name and not Path("/proc", tree.name.rpartition("-")[2]).exists():
            disk.erase(f"{tree}/{disk.FILE}", tree.name.partition("-")[0])
            files.remove_tree(str(tree))


def sweep_links(instance: str, keep: set[str]) -> None:
    for index, name in claims.links_of(instance).items():
        if name not in keep:
            claims.delete_link(index)
