"""Templates: a guest of each size in use, booted once and frozen; every task's machine is a clone of one.

Called by driver.py. They are made by a fork of the zygote (vmm/template.py) and kept in the machine's cache,
by the hash of all that they depend on: guest image, size, the program that runs them, accelerator, clock.
"""

import asyncio
import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node import ocispec, seccomp
from neargate.node.drivers.base import DriverError
from neargate.node.drivers.microvm.monitors import Monitor
from neargate.node.drivers.microvm.sandbox import PLACE
from neargate.node.drivers.microvm.vmm import birth
from neargate.node.drivers.microvm.vmm.machine import IMAGE_SLOTS, Size
from neargate.node.guest import plan
from neargate.node.shimmed.disks import DEFAULT_BYTES
from neargate.oci.manifest import ImageConfig

log = logging.getLogger(__name__)

_GUEST_MIB, _STEP_MIB, _FARGATE_MIB = 96, 256, 512
_BOOT_SECONDS = {"kvm": 8, "tcg": 300}
"""An emulated guest may be slow; on some machines one on KVM hangs."""
_KEPT_SECONDS, _DRAFT_SECONDS = 30 * 86400, 3600
_FEW_IMAGES = 3
"""Slots for a task of two images or one: a container that starts anew may find its image renewed."""
_UID = 3 << 30
"""First user id of machines: beyond those of the process tier's users."""


def size_of(spec: SandboxSpec) -> Size:
    """The machine for a task: its processors, and its memory with the guest's own on top, in steps, so that
    few templates serve many sizes. (The exact memory is the limit of the containers' group inside.)"""
    few = len({container.image for container in spec.containers}) < _FEW_IMAGES
    wanted = -(-spec.memory // (1 << 20)) + _GUEST_MIB
    return Size(
        cpus=max(1, -(-spec.cpu // 1024)),
        memory=-(-wanted // _STEP_MIB) * _STEP_MIB,
        images=_FEW_IMAGES if few else IMAGE_SLOTS,
    )


def uid_of(name: str) -> int:
    """The user that a machine's VMM runs as: its own."""
    return _UID + int(hashlib.sha256(name.encode()).hexdigest()[:7], 16)


class Templates:
    def __init__(
        self,
        root: Path,
        monitor: Monitor,
        fork: Callable[[dict[str, object]], Awaitable[socket.socket]],
        disk: Callable[[int], Awaitable[Path]],
    ) -> None:
        """disk -- an empty one that holds so much."""
        self._root = root
        self._monitor = monitor
        self._image = monitor.image
        self._fork = fork
        self._disk = disk
        self._making: dict[str, asyncio.Task[None]] = {}

    async def get(self, size: Size) -> dict[str, Any]:
        """What vmm/ must know of the template for machines of a size; made now if it is not there yet."""
        size = self._monitor.size(size)
        key = self._key(size)
        directory = self._root / key
        if not (directory / "about.json").exists():
            task = self._making.get(key)
            if task is None or task.done():
                task = self._making[key] = asyncio.create_task(self._make(size, directory))
            await asyncio.shield(task)
        os.utime(directory)
        return self._about(size, directory)

    def _key(self, size: Size) -> str:
        rehearsal = _rehearsal(size.memory, size.images + 1)
        parts = [self._image.key, *self._monitor.parts(size), os.uname().release, rehearsal]
        return f"{self._image.key[:12]}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]}"

    def _about(self, size: Size, directory: Path) -> dict[str, Any]:
        return {
            "directory": str(directory.resolve()),
            "cpus": size.cpus,
            "memory": size.memory,
            "images": size.images,
            "accelerator": self._monitor.accelerator,
            "kernel": str(self._image.kernel.resolve()),
            "initramfs": str(self._image.initramfs.resolve()),
            "boot_seconds": _BOOT_SECONDS[self._monitor.accelerator],
            "uid": uid_of(directory.name),
            "rehearsal_image": str(self._image.rehearsal.resolve()),
            "rehearsal": _rehearsal(size.memory, size.images + 1),
            **self._monitor.about(),
        }

    async def _make(self, size: Size, directory: Path) -> None:
        started = time.monotonic()
        what = f"{size.cpus} vCPU, {size.memory} MiB"
        log.info(
            "making a template of a microVM: booting a guest of %s by %s", what, self._monitor.accelerator
        )
        new = directory.with_name(f".new-{directory.name}-{os.getpid()}")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True, mode=0o700)
        try:
            scratch = str((await self._disk(DEFAULT_BYTES)).resolve())
            about = self._about(size, new) | {"scratch": scratch}
            connection = await self._fork({"make": True, "template": about})
            answer = await _line(connection)
            if answer.get("event") != "made":
                raise DriverError(f"no template of a microVM of {what}: {answer.get('error', 'it ended')}")
            try:
                new.rename(directory)
            except OSError:
                if not (directory / "about.json").exists():  # else another daemon made the same meanwhile
                    raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
        log.info("template of %s made in %.1f s", what, time.monotonic() - started)

    async def close(self) -> None:
        tasks = [task for task in self._making.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@functools.cache
def _rehearsal(machine: int, slot: int) -> dict[str, Any]:
    """A sandbox and a container that ends at once, as a guest is told of them. machine -- MiB. The sandbox's
    memory is that of most tasks of such a machine."""
    memory = max(_STEP_MIB, (machine - _GUEST_MIB) // _FARGATE_MIB * _FARGATE_MIB)
    container = ContainerSpec(
        name="rehearsal", image="", runtime_id="rehearsal-1", command=("/busybox", "true")
    )
    spec = SandboxSpec(id="0" * 32, containers=(container,), interface=None, cpu=1024, memory=memory << 20)
    config, _notes = ocispec.config(spec, container, ImageConfig(), PLACE)
    config["annotations"] = {plan.FILTER: seccomp.bpf(ocispec.CAPABILITIES)}
    setup = {name: getattr(spec, name) for name in ("id", "memory", "cpu", "pids", "shared_pid")}
    setup |= {"files": ocispec.etc_files(spec), "hostname": "rehearsal"}
    start: dict[str, Any] = {
        "op": "start",
        "name": container.name,
        "runtime_id": container.runtime_id,
        "config": config,
        "slot": slot,
    }
    start |= {"user": "", "volumes": [], "image_volumes": [], "volumes_from": []}
    start |= {"interactive": False, "log": {"max_buffer_bytes": 1 << 20, "blocking": False}}
    plans = {"plan": plan.start(start, config, possible=True)["plan"]}
    return birth.rehearsed(setup) | {"start": start | plans}


def prune(directory: Path) -> None:
    """Remove templates, or guest images, that nobody has used for long. (Machines have theirs in memory.)"""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in directory.iterdir():
        with contextlib.suppress(OSError):
            draft = path.name.startswith(".")  # of a daemon that was killed
            if time.time() - path.stat().st_mtime > (_DRAFT_SECONDS if draft else _KEPT_SECONDS):
                shutil.rmtree(path)


async def _line(connection: socket.socket) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    try:
        found: dict[str, Any] = json.loads(await reader.readline() or b"{}")
        return found
    finally:
        writer.close()
