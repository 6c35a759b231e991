"""The programs that run virtual machines, as templates and the driver know them: QEMU, and Firecracker where
its two programs are here and KVM boots a guest in it.

Called by driver.py and templates.py; vmm/ starts them.
"""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from neargate.node.drivers.base import DriverUnavailable
from neargate.node.drivers.microvm import clock, guest_image
from neargate.node.drivers.microvm.guest_image import GuestImage
from neargate.node.drivers.microvm.vmm import firecracker, launch, machine
from neargate.node.drivers.microvm.vmm.machine import Size

_INSTALL = "install both programs, firecracker and jailer, of a release of Firecracker (1.16.1 or later)"


class Monitor(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def image(self) -> GuestImage: ...

    @property
    def accelerator(self) -> str:
        """kvm, or tcg: emulation in software."""

    def size(self, wanted: Size) -> Size:
        """The size of machine for a task that wants one."""

    def parts(self, size: Size) -> list[str]:
        """All that a template of that size depends on, beside guest image and host."""

    def about(self) -> dict[str, Any]:
        """What vmm/ must know to start it."""


class Qemu:
    def __init__(self, image: GuestImage, vmm_root: Path, accelerator: str) -> None:
        """vmm_root -- where the zygote has mounted QEMU's root."""
        self.image = image
        self.vmm_root = vmm_root
        self.accelerator = accelerator
        self.name = f"QEMU by {accelerator}"
        self._tsc = clock.tsc_khz()

    def size(self, wanted: Size) -> Size:
        return wanted

    def parts(self, size: Size) -> list[str]:
        line = machine.kernel_command_line(self._tsc, self.accelerator)
        return machine.command(size, machine.Ends(0, 0, 0, 0, 0, 0), self.accelerator, [line])

    def about(self) -> dict[str, Any]:
        return {"vmm": "qemu", "root": str(self.vmm_root.resolve()), "tsc_khz": self._tsc}


@dataclass(frozen=True, slots=True)
class Programs:
    firecracker: Path
    jailer: Path

    def fingerprint(self) -> str:
        """Raise DriverUnavailable if there is no guest kernel."""
        return guest_image.fingerprint_with(self.firecracker, self.jailer)


def programs() -> Programs:
    """Firecracker's, on PATH. Raise DriverUnavailable."""
    found = []
    for name in ("firecracker", "jailer"):
        path = shutil.which(name)
        if path is None:
            raise DriverUnavailable(f"there is no {name} on PATH: {_INSTALL}")
        found.append(Path(os.path.realpath(path)))
    return Programs(*found)


class Firecracker:
    name = "Firecracker"
    accelerator = "kvm"

    def __init__(self, image: GuestImage, found: Programs) -> None:
        self.image = image
        self._programs = found

    def size(self, wanted: Size) -> Size:
        return replace(wanted, images=machine.IMAGE_SLOTS)  # an empty slot costs it next to nothing

    def parts(self, size: Size) -> list[str]:
        requests = [repr(request) for request in (*firecracker.boot(size), *firecracker.freeze())]
        return [launch.FIRECRACKER, self._programs.fingerprint(), *requests]

    def about(self) -> dict[str, Any]:
        found = self._programs
        return {"vmm": launch.FIRECRACKER, "firecracker": str(found.firecracker), "jailer": str(found.jailer)}
