"""Makes a template: boots a guest to its waiting agent, freezes it, keeps memory, devices and scratch disk.

Run in a fork of the zygote, on the driver's request; `hold` reads a template's memory in for the clones.
"""

import fcntl
import json
import os
import socket
import time
from typing import Any

from neargate.node.drivers.microvm.vmm import launch, scratch
from neargate.node.drivers.microvm.vmm.qmp import QmpError
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
    except (OSError, QmpError, launch.LaunchError, frames.FrameError) as error:
        peer.send({"event": "failed", "error": str(error)})
        return
    peer.send({"event": "made"})


def _make(template: dict[str, Any], asker: int) -> None:
    here = template["directory"]
    disk = scratch.copy(template["scratch"], here)
    scratch.give_name(disk, f"{here}/scratch")
    memory = os.open(f"{here}/memory", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.ftruncate(memory, template["memory"] << 20)
    os.fchown(memory, template["uid"], -1)  # it is opened anew through QEMU's own /proc
    vm = launch.boot(template, memory, disk)
    try:
        launch.hear(vm, "ready", template["boot_seconds"], asker)
        launch.rehearse(vm, template, template["boot_seconds"], asker)
        vm.qmp.ask("stop")
        capability = {"capability": "x-ignore-shared", "state": True}
        vm.qmp.ask("migrate-set-capabilities", capabilities=[capability])
        vm.qmp.give("state", f"{here}/state", os.O_WRONLY | os.O_CREAT)
        vm.qmp.ask("migrate", uri="fd:state")
        while (status := vm.qmp.ask("query-migrate").get("status")) not in ("completed", "failed"):
            time.sleep(0.01)
        if status == "failed":
            raise launch.LaunchError(f"the guest cannot be frozen: {launch.said(vm.output)}")
    finally:
        os.kill(vm.pid, 9)
        os.waitpid(vm.pid, 0)
    os.fchown(memory, 0, 0)
    os.close(memory)
    files.write(f"{here}/about.json", json.dumps(template))
