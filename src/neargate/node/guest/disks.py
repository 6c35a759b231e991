"""The virtual machine's disk slots: block devices that are there, and bound, from the template on.

Called by agent.py. What stands behind a slot (an image, the scratch disk) is put there by the supervisor in
the clone, and the guest is not told: a probe would cost more than the rest of a container's root. So an
image's disk looks as large as the slot was in the template, and what was read of it then is forgotten here.
Slots are numbered by their devices' addresses, which the supervisor gives in that order.
"""

import fcntl
import os

from neargate.node.shim import files

_DEVICES, _DRIVER = "/sys/bus/virtio/devices", "/sys/bus/virtio/drivers/virtio_blk"
_BLKFLSBUF = 0x1261


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
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.ioctl(fd, _BLKFLSBUF)
            os.close(fd)

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


def _block(device: str) -> str:
    return "/dev/" + os.listdir(f"{_DEVICES}/{device}/block")[0]


def _addresses() -> dict[str, int]:
    """Physical address of each platform device."""
    found = {}
    for line in files.read("/proc/iomem").splitlines():
        span, _, name = line.strip().partition(" : ")
        found[name.split(" ")[0]] = int(span.partition("-")[0], 16)
    return found
