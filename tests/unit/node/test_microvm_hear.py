"""What a machine's guest is heard to say, or that it has ended: also where descriptors are many."""

import fcntl
import os
import resource
import socket
from collections.abc import Iterator
from typing import cast

import pytest

from neargate.node.drivers.microvm.vmm.vm import Vm, VmError
from neargate.node.guest import frames

_MANY = 1500
"""Above what select(2) takes."""


class _Machine:
    """As much of one as is heard."""

    def __init__(self, lowest: int) -> None:
        """lowest -- of its descriptors."""
        ends = socket.socketpair(), os.pipe(), os.pipe()
        (port, self.guest), (output, self.vmm), (asker, self.asks) = ends
        self.port = socket.socket(fileno=_high(port.detach(), lowest))
        self.output, self.asker = _high(output, lowest), _high(asker, lowest)

    def hear(self, seconds: float = 20) -> dict[str, object]:
        return Vm.hear(cast(Vm, self), "ready", seconds, self.asker)

    def close(self) -> None:
        for end in (self.port, self.guest):
            end.close()
        for fd in (self.output, self.vmm, self.asker, self.asks):
            if fd >= 0:
                os.close(fd)


def _high(fd: int, lowest: int) -> int:
    found = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(fd)
    return found


@pytest.fixture(params=[3, _MANY])
def machine(request: pytest.FixtureRequest) -> Iterator[_Machine]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * _MANY), max(hard, 2 * _MANY)))
    machine = _Machine(request.param)
    yield machine
    machine.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_is_heard_past_all_else(machine: _Machine) -> None:
    os.write(machine.vmm, b"a console's line\n")
    machine.guest.sendall(
        frames.json_frame({"event": "hello"}) + frames.json_frame({"event": "ready", "n": 1})
    )
    assert machine.hear() == {"event": "ready", "n": 1}


def test_its_end_is_told_with_its_last_words(machine: _Machine) -> None:
    os.write(machine.vmm, b"panic: no init")
    os.close(machine.vmm)
    machine.vmm = -1
    with pytest.raises(VmError, match="the virtual machine has ended: panic: no init"):
        machine.hear()


def test_a_guest_that_closes_its_port_has_ended(machine: _Machine) -> None:
    os.set_blocking(machine.output, False)
    machine.guest.close()
    with pytest.raises(VmError, match="the virtual machine has ended"):
        machine.hear()


def test_nobody_waits_for_one_whose_asker_has_gone(machine: _Machine) -> None:
    os.close(machine.asks)
    machine.asks = -1
    with pytest.raises(VmError, match="whoever wanted it has gone"):
        machine.hear()


def test_silence_is_not_waited_for_longer_than_asked(machine: _Machine) -> None:
    with pytest.raises(VmError, match="the guest has said nothing for 1 s"):
        machine.hear(1)
