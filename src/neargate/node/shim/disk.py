"""The disk of a sandbox: a sparse file with ext4 in it, on a loop device; all its containers write is in it.

Made by main.py at birth on a thread, beside the other steps (4 ms), from the template of shimmed/disks.py.
Full, it is ENOSPC in its sandbox only. The device goes with its mount, so with the sandbox's last process,
however that ends; the file is erased by the shim, or by shimmed/leftovers where the shim was killed.
"""

import _thread
import fcntl
import os
import struct
import time
from typing import Any

from neargate.node.shim import files, kernel

FILE = "disk"
"""Name of the file in the sandbox's directory."""
PLACE = "d"
"""Where in there it is seen, in the shim's own mount namespace."""
_OPTIONS = {"noinit_itable": None, "barrier": "0"}
"""Nobody ever reads such a disk again after a crash: no journal, no barriers."""
_EXT4_SHUTDOWN, _WITHOUT_FLUSH = 0x8004587D, (2).to_bytes(4, "little")
_FIEMAP, _FIEMAP_HEAD, _EXTENT = 0xC020660B, struct.Struct("=QQIIII"), struct.Struct("=QQQQQIIII")
_EXTENTS = 64
_LAST, _DELAYED = 1, 4
_CHUNK, _SYNC_EVERY = 1 << 20, 64 << 20
_DETACH_SECONDS = 10.0


class Disk:
    def __init__(self, setup: dict[str, Any]) -> None:
        seen = f"{setup['stage']}/s" if setup["uid_base"] else setup["directory"]
        self._id: str = setup["id"]
        self._template: str = setup["disk"]
        self._file = f"{setup['directory']}/{FILE}"
        self.place = f"{seen}/{PLACE}"
        self._made = _thread.allocate_lock()
        self._tree = -1
        self._device = ""
        self._error: OSError | None = None
        self._mounted = False

    # -- birth -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make it, beside whatever comes next. Its mount belongs to no namespace until `mount`."""
        self._made.acquire()
        _thread.start_new_thread(self._make, ())

    def _make(self) -> None:
        try:
            backing = copy_sparse(self._template, self._file)
            try:
                self._device, held = kernel.loop_device(backing)
            finally:
                os.close(backing)
            try:
                self._tree = kernel.mount_detached(self._device, "ext4", _OPTIONS)
            finally:
                os.close(held)
        except OSError as error:
            self._error = error
        finally:
            self._made.release()

    def mount(self, owner: int) -> None:
        """Show it at its place. Raise OSError."""
        with self._made:
            tree, self._tree = self._tree, -1
        if self._error:
            raise OSError(self._error.errno, f"ephemeral storage: {self._error}")
        try:
            os.makedirs(self.place, exist_ok=True)
            kernel.attach(tree, self.place)
        finally:
            os.close(tree)
        self._mounted = True
        for name in ("c", "volumes"):
            os.mkdir(f"{self.place}/{name}")
            os.chown(f"{self.place}/{name}", owner, owner)
        os.mkdir(f"{self.place}/images", 0o700)

    # -- life ------------------------------------------------------------------------------------------

    def reserve(self, image: str) -> None:
        """Take the room of an image, once: on Fargate its layers are on this disk. Raise OSError."""
        path = f"{self.place}/images/{os.path.basename(image)}"
        size = os.stat(image).st_size
        if os.path.exists(path):
            return
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, max(1, size))
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(fd)

    def used(self) -> int:
        """Bytes that are taken."""
        found = os.statvfs(self.place)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    # -- the end ---------------------------------------------------------------------------------------

    def end(self) -> None:
        """Let go of it, without writing out what is not written yet. Not an error if it was never there."""
        with self._made:
            if self._tree >= 0:
                os.close(self._tree)
                self._tree = -1
        if self._mounted:
            shut_down(self.place)
            kernel.umount(self.place)
            self._mounted = False

    def move(self, directory: str) -> None:
        """Keep the file elsewhere, out of the way of who removes the sandbox's directory."""
        try:
            os.rename(self._file, f"{directory}/{FILE}")
            self._file = f"{directory}/{FILE}"
        except OSError:  # another file system
            return

    def erase(self) -> None:
        erase(self._file, self._id, self._device)


def shut_down(place: str) -> None:
    """Have the file system forget what it has not written yet: seconds of work that would be for nothing."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _EXT4_SHUTDOWN, _WITHOUT_FLUSH)
    except OSError:
        return  # then it is written out
    finally:
        os.close(fd)


def copy_sparse(source: str, target: str) -> int:
    """Copy a file with its holes; the copy, open."""
    fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    origin = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, os.fstat(origin).st_size)
        for start, end in _data(origin):
            os.pwrite(fd, os.pread(origin, end - start, start), start)
    except BaseException:
        os.close(fd)
        raise
    finally:
        os.close(origin)
    return fd


def _data(fd: int) -> list[tuple[int, int]]:
    """(start, end) of what is no hole."""
    found: list[tuple[int, int]] = []
    at = 0
    while True:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return found
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, at))


def erase(path: str, sandbox: str, device: str = "") -> None:
    """Overwrite a disk's file with zeros and remove it, once no device (this one, or any) has it any more.

    What never left memory need not be overwritten on the disk below, so a task of seconds costs no I/O. On a
    file system that does not write in place (btrfs, ZFS) the blocks are freed, which no file can read.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        deadline = time.monotonic() + _DETACH_SECONDS
        while _attached(sandbox, device) and time.monotonic() < deadline:
            time.sleep(0.005)
        _overwrite(fd)
        os.unlink(path)
    except FileNotFoundError:
        return
    finally:
        os.close(fd)


def _overwrite(fd: int) -> None:
    zeros, unsynced = memoryview(bytes(_CHUNK)), 0
    try:
        for start, end in _data(fd):
            for at in range(start, end, _CHUNK):
                os.pwrite(fd, zeros[: end - at], at)
                unsynced += _CHUNK
                if unsynced >= _SYNC_EVERY:
                    os.fdatasync(fd)
                    unsynced = 0
        if _written(fd):
            os.fdatasync(fd)
    except OSError:
        return  # the disk below is full or broken: what is left to do is to remove the file


def _written(fd: int) -> bool:
    """Has anything of the file a place on the disk below? (Not knowing counts as yes.)"""
    buffer = bytearray(_FIEMAP_HEAD.size + _EXTENTS * _EXTENT.size)
    _FIEMAP_HEAD.pack_into(buffer, 0, 0, (1 << 64) - 1, 0, 0, _EXTENTS, 0)
    try:
        fcntl.ioctl(fd, _FIEMAP, buffer)
    except OSError:
        return True
    count = _FIEMAP_HEAD.unpack_from(buffer)[3]
    flags = [_EXTENT.unpack_from(buffer, _FIEMAP_HEAD.size + i * _EXTENT.size)[5] for i in range(count)]
    return any(not flag & _DELAYED for flag in flags) or bool(flags and not flags[-1] & _LAST)


def _attached(sandbox: str, device: str) -> bool:
    """Is the loop device, or any, bound to a file of the sandbox?"""
    names = [os.path.basename(device)] if device else os.listdir("/sys/block")
    bound = (files.read(f"/sys/block/{name}/loop/backing_file") for name in names if name.startswith("loop"))
    return any(sandbox in path for path in bound)
