"""A stand-in for Firecracker and its jailer, as one program that is installed as `jailer`.

It does to itself what the jailer does (copy, mount namespace, pivot_root, devices, user), then answers the
API at the socket it is told: each request is held against the API's description, and all that it names is
opened as Firecracker opens it, by a user that is nobody, in the jail. The guest behind its vsock greets,
rehearses, is born, and says that containers run. No virtual machine is run.
"""
# ruff: noqa: PTH208, PTH102, PTH106, PTH103, PTH101, PTH123

import ctypes
import fcntl
import json
import os
import re
import select
import shutil
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_PIVOT_ROOT, _NEWNS = 155, 0x00020000
_BIND, _REC, _SLAVE = 4096, 16384, 1 << 19
_TUNSETIFF, _TAP = 0x400454CA, 0x0002 | 0x1000 | 0x4000
_OPTIONS = ("--id", "--exec-file", "--uid", "--gid", "--chroot-base-dir")
_CONFIGURATION = "standin.json"


def install(directory: Path, **behaviour: Any) -> tuple[Path, Path, Path]:
    """(firecracker, jailer, log of what it was asked). Of behaviour see `_Machine`."""
    directory.mkdir(parents=True, exist_ok=True)
    log, jailer, firecracker = (directory / name for name in ("log", "jailer", "firecracker"))
    configuration = {"log": str(log), "path": [str(_ROOT), str(_ROOT / "src")], **behaviour}
    (directory / _CONFIGURATION).write_text(json.dumps(configuration))
    jailer.write_text(f"#!{os.path.realpath(sys.executable)} -ISB\n{Path(__file__).read_text()}")
    firecracker.write_bytes(b"\x7fELF, perhaps")
    for program in (jailer, firecracker):
        program.chmod(0o755)
    log.touch()
    return firecracker, jailer, log


def told(log: Path, kind: str) -> list[Any]:
    """What it has written down of one kind: `jailed`, `request`, `fault`, `guest`."""
    return [entry[1] for line in log.read_text().splitlines() if (entry := json.loads(line))[0] == kind]


def main() -> None:
    configuration = json.loads((Path(sys.argv[0]).parent / _CONFIGURATION).read_text())
    sys.path[:0] = configuration["path"]
    from neargate.node.guest import frames
    from tests.support.firecracker_api import fault

    log = os.open(configuration["log"], os.O_WRONLY | os.O_APPEND)

    def note(kind: str, what: Any) -> None:
        os.write(log, json.dumps([kind, what]).encode() + b"\n")

    if configuration.get("dies"):
        print(configuration["dies"], file=sys.stderr, flush=True)
        sys.exit(1)
    options, arguments = _arguments(sys.argv[1:])
    _enter(options)
    note("jailed", {"uid": os.getresuid(), "files": sorted(os.listdir("/")), "fds": _descriptors(log)})
    if configuration.get("no_socket"):
        time.sleep(600)
    assert arguments[0] == "--api-sock"
    _Machine(configuration, note, fault, frames).serve(arguments[1])


def _descriptors(but: int) -> list[int]:
    found = []
    for fd in range(64):
        try:
            os.fstat(fd)
        except OSError:
            continue
        if fd != but:
            found.append(fd)
    return found


def _arguments(given: list[str]) -> tuple[dict[str, str], list[str]]:
    at = given.index("--")
    pairs = dict(zip(given[:at:2], given[1:at:2], strict=True))
    assert set(pairs) == set(_OPTIONS), pairs
    assert re.fullmatch("[a-zA-Z0-9-]{1,64}", pairs["--id"])
    assert "firecracker" in Path(pairs["--exec-file"]).resolve().name
    return pairs, given[at + 1 :]


def _enter(options: dict[str, str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int, what: str) -> None:
        if result:
            raise OSError(ctypes.get_errno(), what)

    program, uid = Path(options["--exec-file"]).resolve(), int(options["--uid"])
    root = Path(options["--chroot-base-dir"]).resolve() / program.name / options["--id"] / "root"
    root.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(program, root / program.name)
    check(libc.unshare(_NEWNS), "unshare")
    check(libc.mount(None, b"/", None, _SLAVE | _REC, None), "slave")
    check(libc.mount(str(root).encode(), str(root).encode(), None, _BIND | _REC, None), "bind")
    os.chdir(root)
    os.mkdir("old_root", 0o600)
    check(libc.syscall(_PIVOT_ROOT, b".", b"old_root"), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"old_root", 2), "umount")
    os.rmdir("old_root")
    for folder in ("/", "/dev", "/dev/net", "/run"):
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o700)
        os.chown(folder, uid, int(options["--gid"]))
    for name, minor in (("/dev/net/tun", 200), ("/dev/kvm", 232)):
        os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(10, minor))
        os.chown(name, uid, int(options["--gid"]))
    os.setgroups([])
    os.setresgid(*[int(options["--gid"])] * 3)
    os.setresuid(uid, uid, uid)


class _Refused(Exception):
    pass


class _Machine:
    def __init__(
        self,
        behaviour: dict[str, Any],
        note: Callable[[str, Any], None],
        fault: Callable[[str, str, dict[str, Any], bool], str | None],
        frames: Any,
    ) -> None:
        """behaviour: `refuses` -- a request to refuse. `hangs` -- one not to answer. `dies_at` -- one to end
        at. `breaks` -- how many connections of a clone to break. `silent` -- the guest says nothing."""
        self.behaviour, self.note, self.fault, self.frames = behaviour, note, fault, frames
        self.started = self.paused = self.restored = False
        self.drives: dict[str, list[Any]] = {}
        self.opened: dict[str, int] = {}
        self.tap: tuple[str, int] = ("", -1)
        self.vsock: tuple[str, socket.socket | None] = ("", None)
        self.size: dict[str, Any] = {}
        self.booted: list[str] = []
        self.guests: dict[int, tuple[socket.socket, Any]] = {}
        self.broken = 0

    def serve(self, path: str) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        peers: dict[int, tuple[socket.socket, bytearray]] = {}
        while True:
            vsock = [self.vsock[1]] if self.vsock[1] and self.started and not self.paused else []
            guests = [] if self.paused else [guest for guest, _reader in self.guests.values()]
            for ready in select.select([listener, *vsock, *guests, *(c for c, _b in peers.values())], [], [])[
                0
            ]:
                if ready is listener:
                    peer, _ = listener.accept()
                    peers[peer.fileno()] = (peer, bytearray())
                elif ready is self.vsock[1]:
                    self._dialled(ready.accept()[0])
                elif ready.fileno() in self.guests:
                    self._guest(ready)
                elif ready.fileno() in peers:
                    peer, data = peers[ready.fileno()]
                    if not (more := peer.recv(1 << 16)):
                        del peers[peer.fileno()]
                        peer.close()
                        continue
                    data += more
                    self._requests(peer, data)

    # -- the API ---------------------------------------------------------------------------------------

    def _requests(self, peer: socket.socket, data: bytearray) -> None:
        while b"\r\n\r\n" in data:
            head, _, rest = bytes(data).partition(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])  # type: ignore[index]
            if len(rest) < length:
                return
            data[:] = rest[length:]
            method, path, _version = head.split(b"\r\n")[0].decode().split(" ")
            what, body = f"{method} {path}", json.loads(rest[:length])
            self.note("request", [what, body])
            if what == self.behaviour.get("hangs"):
                continue
            if what == self.behaviour.get("dies_at"):
                print("killed by the test", flush=True)
                os._exit(3)
            try:
                if what == self.behaviour.get("refuses"):
                    raise _Refused("refused by the test")
                if fault := self.fault(method, path, body, self.started):
                    raise _Refused(fault)
                self._do(what, body)
            except (_Refused, OSError) as error:
                self.note("fault", f"{what}: {error}")
                text = json.dumps({"fault_message": str(error)})
                answer = (
                    f"HTTP/1.1 400 \r\nServer: Firecracker API\r\nContent-Length: {len(text)}\r\n\r\n{text}"
                )
            else:
                answer = "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"
            peer.sendall(answer.encode())

    def _do(self, what: str, body: dict[str, Any]) -> None:
        method, _, path = what.partition(" ")
        if method == "PUT" and path not in ("/logger", "/snapshot/load"):
            self.booted.append(path)
        match path.split("/")[1:]:
            case ["machine-config"]:
                self.size = body
            case ["boot-source"]:
                self._begins(body["kernel_image_path"], b"\x7fELF")
                self._begins(body["initrd_path"], b"070701")
            case ["drives", name]:
                readonly = body["is_read_only"] if method == "PUT" else self.drives[name][1]
                self._drive(name, body["path_on_host"], readonly)
            case ["network-interfaces", _]:
                self._tap(body["host_dev_name"])
            case ["vsock"]:
                self._vsock(body["uds_path"])
            case ["actions"]:
                self._start()
            case ["vm"]:
                self._run(body["state"])
            case ["snapshot", "create"]:
                self._freeze(body)
            case ["snapshot", "load"]:
                self._load(body)

    def _begins(self, path: str, magic: bytes) -> None:
        with open(path, "rb") as file:
            if not file.read(len(magic)).startswith(magic):
                raise _Refused(f"{path}: of another kind")

    def _drive(self, name: str, path: str, readonly: bool) -> None:
        fd = os.open(path, os.O_RDONLY if readonly else os.O_RDWR)
        if not os.fstat(fd).st_size:
            raise _Refused(f"{path}: empty")
        if name in self.opened:
            os.close(self.opened[name])
        self.drives[name], self.opened[name] = [path, readonly], fd

    def _tap(self, name: str) -> None:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("=16sH22x", name.encode(), _TAP))
        self.tap = (name, fd)

    def _vsock(self, path: str) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        self.vsock = (path, listener)

    def _start(self) -> None:
        if not {"/boot-source", "/machine-config", "/vsock"} <= set(self.booted):
            raise _Refused("not configured")
        self.started = True

    def _run(self, state: str) -> None:
        self.paused = state == "Paused"

    def _freeze(self, body: dict[str, Any]) -> None:
        if not self.paused:
            raise _Refused("the microVM is not paused")
        state = {"drives": self.drives, "tap": self.tap[0], "vsock": self.vsock[0], "size": self.size}
        state["connections"] = len(self.guests)
        for path, text in ((body["snapshot_path"], json.dumps(state)), (body["mem_file_path"], "memory")):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.write(fd, text.encode())
            os.close(fd)

    def _load(self, body: dict[str, Any]) -> None:
        if self.booted:
            raise _Refused("not allowed after configuring boot-specific resources")
        with open(body["snapshot_path"]) as file:
            state = json.load(file)
        self._begins(body["mem_backend"]["backend_path"], b"memory")
        for name, (path, readonly) in state["drives"].items():
            self._drive(name, path, readonly)
        self._tap(state["tap"])
        self._vsock(state["vsock"])
        self.started = self.restored = True
        self.paused = not body["resume_vm"]
        self.note("guest", {"frozen_connections": state["connections"], "size": state["size"]})

    # -- the guest -------------------------------------------------------------------------------------

    def _dialled(self, guest: socket.socket) -> None:
        guest.settimeout(5)
        line = b""
        while not line.endswith(b"\n"):
            line += guest.recv(1)
        if self.restored and self.broken < self.behaviour.get("breaks", 0):
            self.broken += 1
            if self.broken % 2:
                guest.sendall(b"OK 1073741824\n")  # there, and reset by the guest's kernel
            return guest.close()
        guest.sendall(b"OK 1073741824\n")
        guest.settimeout(None)
        self.guests[guest.fileno()] = (guest, self.frames.Reader(16 << 20))
        if line == b"CONNECT 1\n" and not self.behaviour.get("silent"):
            self._say(guest, {"event": "ready"})

    def _say(self, guest: socket.socket, message: dict[str, Any]) -> None:
        guest.sendall(self.frames.json_frame(message))

    def _guest(self, guest: socket.socket) -> None:
        data = guest.recv(1 << 16)
        if not data:
            del self.guests[guest.fileno()]
            return guest.close()
        for _kind, payload in self.guests[guest.fileno()][1].feed(data):
            message = self.frames.message(payload)
            slots = {name: self._head(name) for name in sorted(self.drives)}
            self.note("guest", {"op": message["op"], "slots": slots, "message": message})
            if message["op"] in ("rehearse", "release"):
                self._say(guest, {"event": "ready"})
            elif message["op"] == "born":
                self._say(guest, {"event": "states", "states": {}})
                os.pwrite(self.opened["slot0"], b"the task's own", 4096)
            elif message["op"] == "start":
                self._started(guest, message)
            elif "id" in message:
                self._say(guest, {"id": message["id"], "ok": {}})

    def _started(self, guest: socket.socket, message: dict[str, Any]) -> None:
        state = {"running": True, "started_at": time.time_ns(), "restarts": 0}
        name = message["name"]
        self._say(guest, {"event": "states", "states": {name: state}})
        self._say(guest, {"id": message["id"], "ok": {}})
        text = self._head(f"slot{message['slot']}").encode() + b"\n"
        guest.sendall(self.frames.log_frame(self.frames.LOG, name, 1, text))

    def _head(self, drive: str) -> str:
        return os.pread(self.opened[drive], 8, 1024).hex()


if __name__ == "__main__":
    main()
