"""A virtual machine as its supervisor and the maker of templates see it, whatever program runs it.

Made by launch.py: qemu.py and firecracker_vm.py are its two kinds. What is said to the guest is the same for
both; a VMM's own ways of speaking stay in its module.
"""

import abc
import os
import select
import socket
import time
from typing import Any

from neargate.node.drivers.microvm.vmm import birth
from neargate.node.guest import frames

FRAME = 1 << 20
"""The longest message that is taken from a guest."""
_READ = 1 << 17


class VmError(Exception):
    """The machine could not be made, or its VMM refused or has ended; the message says why."""


class Vm(abc.ABC):
    pid: int
    """The process whose end is the machine's; 0 once it has ended."""
    output: int
    """Read end of what the VMM says (and, while a template boots, the guest's console)."""
    port: socket.socket
    files: socket.socket
    """Where the guest asks for what is in its shared volumes."""
    scratch: int
    """Descriptor of its scratch disk."""

    @abc.abstractmethod
    def processes(self) -> list[int]:
        """All that the machine is, for its control group."""

    @abc.abstractmethod
    def put(self, slot: int, image: str) -> None:
        """Put an image behind a disk slot. Raise OSError or VmError."""

    @abc.abstractmethod
    def replace_scratch(self, fd: int, directory: str) -> None:
        """Put an unnamed file of `directory` in the scratch disk's place; takes over the descriptor. Raise
        OSError or VmError."""

    @abc.abstractmethod
    def name_scratch(self, path: str) -> None:
        """Give the scratch disk's file its name, now that it is known whose it is. Raise OSError."""

    @abc.abstractmethod
    def settle(self, interface: dict[str, Any]) -> None:
        """Make its tap the sandbox's interface. Raise OSError."""

    @abc.abstractmethod
    def freeze(self, directory: str) -> None:
        """Stop the guest for good and keep what it is in `directory`. Raise OSError or VmError."""

    @abc.abstractmethod
    def greeted(self, seconds: float, asker: int | None = None) -> None:
        """Wait until a guest that boots says that it is ready; see `hear`. Raise OSError, VmError,
        FrameError."""

    @abc.abstractmethod
    def remove(self) -> None:
        """Remove what does not go with its processes. Takes time; nobody waits for it."""

    def kill(self) -> None:
        """Once; its end is seen when this returns."""
        if self.pid:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
            self.pid = 0

    # -- the guest -------------------------------------------------------------------------------------

    def send(self, message: dict[str, Any]) -> None:
        self.port.sendall(frames.json_frame(message))

    def hear(self, event: str, seconds: float, asker: int | None = None) -> dict[str, Any]:
        """Wait for the guest's `event`. Raise VmError or FrameError.

        asker -- the connection of whoever waits for this, who may go meanwhile; it says nothing more.
        """
        reader, deadline, console = frames.Reader(FRAME), time.monotonic() + seconds, b""
        port, poll = self.port.fileno(), select.poll()  # descriptors may be above those that select knows
        for fd in (port, self.output, *(() if asker is None else (asker,))):
            poll.register(fd, select.POLLIN)
        while time.monotonic() < deadline:
            for fd, _ready in poll.poll(1000):
                if fd == asker:
                    raise VmError("whoever wanted it has gone")
                data = os.read(fd, _READ)
                if fd == self.output:
                    console = (console + data)[-2000:]
                if not data:
                    text = console.decode(errors="replace").strip()
                    raise VmError(f"the virtual machine has ended: {text or said(self.output)}")
                for kind, payload in reader.feed(data) if fd == port else ():
                    message = frames.message(payload) if kind == frames.JSON else {}
                    if message.get("event") == "failed":
                        raise VmError(str(message.get("error"))[:1000])
                    if message.get("event") == event:
                        return message
        text = console.decode(errors="replace").strip()
        raise VmError(f"the guest has said nothing for {seconds:.0f} s{': ' if text else ''}{text}")

    def rehearse(self, template: dict[str, Any], seconds: float, asker: int | None = None) -> None:
        """Have the guest run the container whose image is in the rehearsal's slot, and forget it. Raise
        OSError, VmError or FrameError."""
        self.send(birth.message("rehearse", template["rehearsal"]))
        self.hear("ready", seconds, asker)


def said(output: int) -> str:
    """The last that the VMM said."""
    text = b""
    try:
        while data := os.read(output, 1 << 16):
            text = (text + data)[-4096:]
    except BlockingIOError:
        pass
    return text.decode(errors="replace").strip()
