"""Volumes that outlive the sandbox: a directory of a file system's tree, mounted for containers to bind.

Called by main.py at birth (`opened`, `serve`) and by container.py for each container (`mount`). The tree is
other tasks' too, so hostile at any moment: every step is resolved by the kernel inside of the tree, and what
was opened once is what is mounted, whatever its name means by then.
"""

import os
from typing import Any, Protocol

from neargate.node.shim import birth, kernel

FAILED = "failed to invoke EFS utils commands to set up EFS volumes: stderr: "
PLACES = "shares"
"""Where in the sandbox's directory volumes with users of their own are mounted, seen by the shim alone."""
_DIRECTORY = os.O_PATH | os.O_DIRECTORY


class VolumeError(Exception):
    """The message is for a user."""


def maps_owners(volume: dict[str, Any]) -> bool:
    """Can its owners be shown by other numbers? (A file system of the network cannot do that.)"""
    if volume.get("user"):
        return True  # its server does it
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


class FileServer(Protocol):
    """shares.mounted.Server, which only sandboxes with such volumes load."""

    pid: int

    def died(self) -> None: ...

    def close(self) -> None: ...


def serve(setup: dict[str, Any]) -> FileServer | None:
    """Mount the volumes that have a user of their own, as whom all is then done there; the mounts come in the
    place of their directories. Raise OSError.

    Where a tier's own kernel checks modes, each is mounted twice: as it is, for containers of that very user,
    and leniently shown for all others (see shares/files.Terms).
    """
    volumes = [volume for volume in setup["shared"] if volume.get("user")]
    if not volumes:
        return None
    from neargate.node.shares.files import Terms
    from neargate.node.shares.mounted import Server, Share

    checked = setup.get("checks_modes", False)
    setup["own_roots"] = {}
    shares: dict[tuple[str, str], Share] = {}
    for volume in volumes:
        name, root = volume["volume"], setup["shared_roots"][volume["volume"]]
        for kind in ("shared_roots", "own_roots") if checked else ("shared_roots",):
            terms = Terms(0, setup["uid_base"], checked, checked and kind == "shared_roots")
            place = f"{setup['directory']}/{PLACES}/{len(shares)}"
            shares[kind, name] = Share(root, tuple(volume["user"]), terms, place)
    try:
        server = Server(setup["instance"], list(shares.values()))
    except OSError as error:
        raise OSError(f"{FAILED}this machine has no FUSE for it: {error.strerror}") from None
    for (kind, name), share in shares.items():
        setup[kind][name] = os.open(share.place, _DIRECTORY | os.O_CLOEXEC)
    return server


def mount(volume: dict[str, Any], root: int, target: str, user_namespace: int) -> None:
    """Mount what `opened` or `serve` gave, for a container. Raise VolumeError.

    user_namespace -- of the sandbox; -1: it has none. Numbers in the tree are the containers' own, so that
    tasks share files whatever numbers their user namespaces have outside. (A server shows them so itself.)
    """
    os.makedirs(target)
    try:
        kernel.mount_mapped(root, target, -1 if volume.get("user") else user_namespace)
    except OSError as error:  # its directory has been removed meanwhile, say
        raise VolumeError(_refused(volume, error)) from None
