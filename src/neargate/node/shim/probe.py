"""Do user namespaces work here the way a sandbox needs them? Tried for real, in a child, at the driver's
start.

Called by zygote.py. Needs: user namespaces allowed, EROFS with mapped owners (Linux 5.19), overlay on
top of it.
"""

import base64
import os
import signal
import zlib

from neargate.node.shim import birth, files, kernel

_EMPTY_IMAGE = (
    "eNpjYBgFo2AUjFTw6OHXB+Upch+ZgWweBhUGRixqGGloPwsQv3VkYpCG8v8DAbK8CpSWYGCCsyWBbD09vdHIGwWjYBSM"
    "glEwCkbBKBgFo4BEAADJRQwK"
)
"""zlib and base64 of what mkfs.erofs makes of an empty directory."""
_BASE = (1 << 30) - 65536


def user_namespaces(directory: str) -> str:
    """Empty if they work, else why not. `directory` exists and is thrown away."""
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            _try(directory)
        except BaseException as error:
            os.write(write, str(error).encode()[:1000] or b"failed")
        os._exit(0)
    os.close(write)
    with open(read) as file:
        return file.read()


def _try(directory: str) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    user, _network = birth.mapped_namespaces(_BASE)
    for name in ("image", "lower", "upper", "work", "root"):
        os.makedirs(f"{directory}/{name}", exist_ok=True)
        os.chown(f"{directory}/{name}", _BASE, _BASE)
    with open(f"{directory}/empty.erofs", "wb") as file:
        file.write(zlib.decompress(base64.b64decode(_EMPTY_IMAGE)))
    kernel.mount_erofs(f"{directory}/empty.erofs", f"{directory}/image")
    kernel.mount_mapped(f"{directory}/image", f"{directory}/lower", user)
    parts = [files.overlay_path(f"{directory}/{name}") for name in ("lower", "upper", "work")]
    options = "lowerdir={},upperdir={},workdir={},volatile".format(*parts)
    kernel.mount("overlay", f"{directory}/root", "overlay", kernel.MS_NODEV, options)
    if os.stat(f"{directory}/root").st_uid != _BASE:
        raise OSError(95, "owners are not mapped")
