"""The virtual machine's disk slots: block devices that are there, and bound, from the template on.

Called by agent.py. What stands behind a slot (an image, the scratch disk) is put there by the supervisor in
the clone, and the guest is not told: a probe would cost more than the rest of a container's root. So an
image's disk looks as large as the slot was in the template, and what was read of it then is forgotten here.
Slots are numbered by their devices' addresses, which the supervisor gives in that order.
"""

import errno
import fcntl
import os
import time

from neargate.node.shim import files

_DEVICES, _DRIVER = "/sys/bus/virtio/devices", "/sys/bus/virtio/drivers/virtio_blk"
_BLKFLSBUF = 0x1261
_PATIENCE = 10.0


class Disks:
    def __init__(self) -> None:
        """Find the slots, and forget what was read of them."""
        places = _addresses()
        found = []
        for name in os.listdir(_DRIVER):
            if name.startswith("virtio"):
                platform = os.path.realpath(f"{_DEVICES}/{name}").split("/")[-2]
                found.append((places[platform], name))
        self._slots = [name for _address, name in sorted(found)]
        self._paths = [_block(name) for name in self._slots]
        for path in self._paths:
            _forget(path)
            queue = f"/sys/block/{os.path.basename(path)}/queue"
            files.write(f"{queue}/scheduler", "none")  # the host's has the disk's requests in order
            files.write(f"{queue}/wbt_lat_usec", "0")

    @property
    def count(self) -> int:
        return len(self._slots)

    def device(self, slot: int) -> str:
        """Path of the slot's block device. Raise IndexError."""
        return self._paths[slot]

    def release(self, slot: int) -> None:
        """Let go of a disk, so that another can be put there. Raise OSError."""
        files.write(f"{_DRIVER}/unbind", self._slots[slot])

    def probe(self, slot: int) -> None:
        """Take notice of the disk that is there now. Raise OSError."""
        files.write(f"{_DRIVER}/bind", self._slots[slot])
        self._paths[slot] = _block(self._slots[slot])


class KeptDisks(Disks):
    """Where a device cannot be reset (Firecracker before 1.17), it keeps its driver, which is told in its own
    time of how large the other disk is. The supervisor exchanges a disk only for one of another size."""

    def release(self, slot: int) -> None:
        self._size = _size(self._paths[slot])

    def probe(self, slot: int) -> None:
        deadline = time.monotonic() + _PATIENCE
        while _size(self._paths[slot]) == self._size:
            if time.monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, "the other disk does not appear", self._paths[slot])
            time.sleep(0.001)
        _forget(self._paths[slot])


def touch(fd: int) -> None:
    """Read of a disk, and forget it: the account that the kernel keeps of a group and a disk, it makes when
    they first meet."""
    os.pread(fd, 1, 0)
    fcntl.ioctl(fd, _BLKFLSBUF)


def _forget(path: str) -> None:
    """What was read of a disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.ioctl(fd, _BLKFLSBUF)
    os.close(fd)


def _size(path: str) -> str:
    return files.read(f"/sys/block/{os.path.basename(path)}/size")


def _block(device: str) -> str:
    return "/dev/" + os.listdir(f"{_DEVICES}/{device}/block")[0]


def _addresses() -> dict[str, int]:
    """Physical address of each platform device."""
    found = {}
    for line in files.read("/proc/iomem").splitlines():
        span, _, name = line.strip().partition(" : ")
        found[name.split(" ")[0]] = int(span.partition("-")[0], 16)
    return found
