"""The zygote: holds the private mount namespace with the images, and forks a shim per sandbox.

Started by node/shimmed as a process of few imports, so that a shim costs a fork and its own
pages only. It ends with the daemon (end of file on its socket); the shims stay. Next: main.py, in the
child.

Messages are JSON over a SOCK_SEQPACKET pair: {op: "mount"|"unmount"|"shim", ...} ->
{ok}|{error}. With `shim` comes one descriptor: the new shim's first connection to the daemon.
"""

import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from neargate.node import cgroup
from neargate.node.shim import kernel
from neargate.node.shim import main as shim

MESSAGE = 1 << 20


Run = Callable[[socket.socket, dict[str, Any]], None]
Operation = Callable[[dict[str, Any]], dict[str, object]]


def main(run: Run = shim.run, more: Mapping[str, Operation] | None = None) -> None:
    """run -- what a fork does with its connection and set-up. more -- further operations, by name."""
    control = socket.socket(fileno=int(sys.argv[2]))
    images = sys.argv[3]
    kernel.set_name("neargate-zygote")
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # shims that end are reaped by the kernel
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        _private_mounts(images)
    except OSError as error:
        _answer(control, {"error": f"private mount namespace: {error}"})
        return
    gc.collect()
    gc.freeze()
    _answer(control, {"ok": True})
    while True:
        data, fds, _flags, _address = socket.recv_fds(control, MESSAGE, 1)
        if not data:
            return
        request = json.loads(data)
        if request["op"] == "shim":
            _answer(control, {"ok": True, "pid": _fork(control, fds[0], request["setup"], run)})
            os.close(fds[0])
        elif more and request["op"] in more:
            _answer(control, more[request["op"]](request))
        else:
            _answer(control, _mounts(request))


def _private_mounts(images: str) -> None:
    """Nothing mounted from here on is seen by the host, and all of it ends with its last process.

    crun refuses a hybrid cgroup set-up, so here there is none. The images are mounted below a shared mount of
    which every shim's own namespace is a slave: one mount, one page cache, for all.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    unified = f"{cgroup.MOUNT}/unified"
    if not cgroup.is_v2() and os.path.ismount(unified):
        kernel.umount(unified)
    kernel.mount(images, images, None, kernel.MS_BIND)
    kernel.mount("none", images, None, kernel.MS_SHARED)


def _mounts(request: dict[str, str]) -> dict[str, object]:
    target = request["target"]
    try:
        if request["op"] == "mount":
            os.makedirs(target, exist_ok=True)
            if not os.path.ismount(target):
                kernel.mount_erofs(request["image"], target)
        else:
            kernel.umount(target)
            os.rmdir(target)
    except OSError as error:
        return {"error": f"{request['op']} of {request.get('image', target)}: {error}"}
    return {"ok": True}


def _fork(control: socket.socket, connection: int, setup: dict[str, Any], run: Run) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        control.close()
        run(socket.socket(fileno=connection), setup)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _answer(control: socket.socket, answer: dict[str, object]) -> None:
    control.send(json.dumps(answer).encode())
