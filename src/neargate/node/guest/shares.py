"""The guest's side of volumes that outlive a task: FUSE, whose requests go to the host by a port.

Called by agent.py once it is known which sandbox this machine is. Two processes carry the messages, one each
way, so that neither waits for the other; shares/serial.py answers.
"""

import errno
import os
import select
import signal
import struct
import time
from typing import Any, NoReturn

from neargate.node.guest.port import open_port
from neargate.node.shim import kernel

_DIRECTORY = "/shared"
_FILES_PORT = 2
_MESSAGE = 128 * 1024 + 8192
"""The longest message of FUSE; its kernel wants so much room for each."""
_ANSWER = struct.Struct("<xI")
"""Which volume, and the length that each message begins with."""
_GONE = (errno.ENODEV, errno.EPIPE, errno.EBADF)


def place(name: str) -> str:
    return f"{_DIRECTORY}/{name}"


def mount(volumes: list[dict[str, Any]]) -> None:
    """Mount each and have its messages carried. Raise OSError."""
    port = open_port(_FILES_PORT)
    ends = []
    for volume in volumes:
        end = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        os.makedirs(place(volume["name"]), exist_ok=True)
        # Where the volume has a user of its own, the host says what that user may; else this kernel does.
        checked = "" if volume["has_user"] else ",default_permissions"
        options = f"fd={end},rootmode=40000,user_id=0,group_id=0,allow_other{checked}"
        kernel.mount("neargate", place(volume["name"]), "fuse", kernel.MS_NOSUID | kernel.MS_NODEV, options)
        ends.append(end)
    asking = os.fork()
    if not asking:
        _as_carrier(lambda: _carry_requests(ends, port))
    if not os.fork():
        _as_carrier(lambda: _carry_answers(ends, port, asking))
    for fd in (*ends, port):
        os.close(fd)


def _as_carrier(carry: Any) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kernel.set_name("neargate-files")
        carry()
    finally:
        os._exit(0)


def _carry_requests(ends: list[int], port: int) -> None:
    poll = select.epoll()
    numbers = {end: bytes([number]) for number, end in enumerate(ends)}
    for end in ends:
        poll.register(end, select.EPOLLIN)
    while numbers:
        for end, _events in poll.poll():
            try:
                message = numbers[end] + os.read(end, _MESSAGE)
            except OSError as error:
                if error.errno in _GONE:
                    poll.unregister(end)
                    del numbers[end]
                continue  # a request that was taken back
            while message:
                message = message[os.write(port, message) :]


def _carry_answers(ends: list[int], port: int, asking: int) -> None:
    """Until the other side is gone: then whoever waits for a file gets an error."""
    buffer, seen = b"", False
    while True:
        data = os.read(port, _MESSAGE)
        if not data:
            if seen:
                os.kill(asking, signal.SIGKILL)
                return
            time.sleep(0.001)  # nobody has the other end open yet
            continue
        seen = True
        buffer += data
        while len(buffer) >= _ANSWER.size:
            (length,) = _ANSWER.unpack_from(buffer)
            if len(buffer) <= length:
                break
            number, message, buffer = buffer[0], buffer[1 : 1 + length], buffer[1 + length :]
            try:
                os.write(ends[number], message)
            except OSError as error:
                if error.errno in _GONE:
                    return
