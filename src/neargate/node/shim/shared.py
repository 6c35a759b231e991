"""Volumes that outlive the sandbox: a directory of a file system's tree, mounted for containers to bind.

Called by main.py at birth (`opened`) and by container.py for each container (`mount`). The tree is other
tasks' too, so hostile at any moment: every step is resolved by the kernel inside of the tree, and what was
opened once is what is mounted, whatever its name means by then.
"""

import errno
import os
from typing import Any

from neargate.node.shim import birth, kernel

FAILED = "failed to invoke EFS utils commands to set up EFS volumes: stderr: "
_DIRECTORY = os.O_PATH | os.O_DIRECTORY


class VolumeError(Exception):
    """The message is for a user."""


def maps_owners(volume: dict[str, Any]) -> bool:
    """Can its file system show owners by another number? (Those of the network cannot.)"""
    try:
        root = os.open(volume["tree"], _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True  # `opened` says what is wrong
    namespace = birth.user_namespace("0 1 1", "0 1 1")
    try:
        os.close(kernel.mapped_tree(root, namespace))
    except OSError:
        return False
    finally:
        os.close(namespace)
        os.close(root)
    return True


def opened(volume: dict[str, Any]) -> int:
    """A descriptor of what is to be mounted, made if the volume says how. Raise OSError for users to read."""
    try:
        root = os.open(volume["tree"], _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(f"{FAILED}the file system is not there: {error.strerror}") from None
    try:
        path = volume.get("path", "/")
        if volume.get("create"):
            _make(root, path, *volume["create"])
        return kernel.open_in_root(root, path, _DIRECTORY)
    except OSError as error:
        raise OSError(_refused(volume, error)) from None
    finally:
        os.close(root)


def _refused(volume: dict[str, Any], error: OSError) -> str:
    place = f"{os.path.basename(volume['tree'])}:{volume.get('path', '/')}"
    cause = error.strerror or "error"
    return f"{FAILED}b'mount.nfs4: mounting {place} failed, reason given by server: {cause}'"


def _make(root: int, path: str, uid: int, gid: int, mode: int) -> None:
    here = ""
    for part in path.split("/"):
        if part in ("", "."):
            continue
        parent, here = here, f"{here}/{part}"
        try:
            os.close(kernel.open_in_root(root, here, _DIRECTORY))
            continue
        except FileNotFoundError:
            above = kernel.open_in_root(root, parent or "/", _DIRECTORY)
        try:
            os.mkdir(part, 0o700, dir_fd=above)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            made = os.open(part, flags, dir_fd=above)
            os.fchown(made, uid, gid)
            os.fchmod(made, mode)
            os.close(made)
        except FileExistsError:
            continue  # another task makes it at the same time
        finally:
            os.close(above)


def mount(
    volume: dict[str, Any], root: int, target: str, user: tuple[int, int], base: int, user_namespace: int
) -> None:
    """Mount what `opened` gave, for a container that runs as `user`. Raise VolumeError.

    Numbers in the tree are the containers' own, so that tasks share files whatever numbers their user
    namespaces have outside. Where the volume has a user of its own (an access point's), the container's
    user is that one there; the kernel's maps are one to one, so other users can make nothing there, and own
    nothing.
    """
    os.makedirs(target)
    own = -1
    try:
        if volume.get("user"):
            maps = (
                f"{there} {_outside(here, base)} 1" for there, here in zip(volume["user"], user, strict=True)
            )
            own = birth.user_namespace(*maps)
        kernel.mount_mapped(root, target, own if own >= 0 else user_namespace if base else -1)
    except OSError as error:  # its directory has been removed meanwhile, say
        if own >= 0 and error.errno == errno.EINVAL:
            error = OSError(
                errno.EINVAL, "its file system cannot map owners, as an access point's user needs"
            )
        raise VolumeError(_refused(volume, error)) from None
    finally:
        if own >= 0:
            os.close(own)


def _outside(id: int, base: int) -> int:
    """The number outside of the sandbox of one of its users: see birth.mapped_namespaces."""
    return base + id if base and id < 65536 else id
