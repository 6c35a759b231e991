"""Makes a template: boots a guest to its waiting agent, freezes it, keeps memory, devices and scratch disk.

Run in a fork of the zygote, on the driver's request; `hold` reads a template's memory in for the clones.
"""

import fcntl
import json
import os
import socket
from typing import Any

from neargate.node.drivers.microvm.vmm import launch, scratch
from neargate.node.drivers.microvm.vmm.vm import VmError
from neargate.node.guest import frames
from neargate.node.shim import files
from neargate.node.shim.peers import Peer

_F_ADD_SEALS, _SEALS = 1033, 0x0001 | 0x0002 | 0x0004 | 0x0008  # seal, shrink, grow, write

MEMORIES: dict[str, int] = {}
"""Descriptors of the memories of templates, by directory; a fork of the zygote inherits them."""


def hold(request: dict[str, Any]) -> dict[str, object]:
    """Read a template's memory into a sealed memfd.

    QEMU 7.2 opens a private memory file for writing all the same; sealed, it can map its own pages but never
    write to what its siblings share.
    """
    directory = request["directory"]
    if request.get("vmm") == launch.FIRECRACKER:
        return launch.learn_firecracker()
    if directory in MEMORIES:
        return {"ok": True}
    try:
        source = os.open(f"{directory}/memory", os.O_RDONLY | os.O_CLOEXEC)
        end = os.fstat(source).st_size
        memory = os.memfd_create("template", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(memory, end)
        scratch.copy_data(source, memory, end)
        fcntl.fcntl(memory, _F_ADD_SEALS, _SEALS)
        os.close(source)
    except OSError as error:
        return {"error": f"template {directory}: {error}"}
    MEMORIES[directory] = memory
    return {"ok": True}


def make(connection: socket.socket, setup: dict[str, Any]) -> None:
    """Into setup's `directory`, which is new. Answers {"event": "made"|"failed"}."""
    peer = Peer(connection)
    try:
        _make(setup["template"], connection.fileno())
    except (OSError, VmError, frames.FrameError) as error:
        peer.send({"event": "failed", "error": str(error)})
        return
    peer.send({"event": "made"})


def _make(template: dict[str, Any], asker: int) -> None:
    here = template["directory"]
    vm = launch.boot(template)
    try:
        vm.greeted(template["boot_seconds"], asker)
        vm.rehearse(template, template["boot_seconds"], asker)
        vm.freeze(here)
    finally:
        vm.kill()
    for name in ("memory", "state", "scratch"):
        os.chown(f"{here}/{name}", 0, 0)
        os.chmod(f"{here}/{name}", 0o444)  # in a directory that is closed to all but root
    files.write(f"{here}/about.json", json.dumps(template))
