"""Firecracker without a machine: its requests against its API's description, the API's answers, the guest's
port, the kernel it is given, and when it is chosen.
"""

import bz2
import lzma
import os
import re
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lz4.block
import pytest
import zstandard

from neargate.node.drivers.base import DriverUnavailable
from neargate.node.drivers.microvm import elf, guest_image, monitors, verdict
from neargate.node.drivers.microvm.driver import MicrovmDriver
from neargate.node.drivers.microvm.vmm import firecracker
from neargate.node.drivers.microvm.vmm.api import Api, ApiError
from neargate.node.drivers.microvm.vmm.machine import REHEARSAL_SLOT, Size
from neargate.node.guest import disks, frames
from neargate.node.guest import port as ports
from tests.support.firecracker_api import fault
from tests.support.firecracker_standin import install

# -- requests --------------------------------------------------------------------------------------------


def _faults(requests: list[firecracker.Request], started: bool) -> list[str | None]:
    """By the description; the guest has started when the request that starts it was sent."""
    found = []
    for request in requests:
        found.append(fault(request.method, request.path, request.body, started))
        loads = request.path == "/snapshot/load"
        started = started or loads or request.body.get("action_type") == "InstanceStart"
    return found


@pytest.mark.parametrize(
    ("requests", "started", "expected"),
    [
        (
            firecracker.boot(Size(2, 1280)),
            False,
            ["PUT /logger", "PUT /machine-config", "PUT /boot-source"]
            + [f"PUT /drives/slot{slot}" for slot in range(REHEARSAL_SLOT + 1)]
            + ["PUT /network-interfaces/eth0", "PUT /vsock", "PUT /actions"],
        ),
        (firecracker.freeze(), True, ["PATCH /vm", "PUT /snapshot/create"]),
        (firecracker.clone(), False, ["PUT /logger", "PUT /snapshot/load", "PATCH /vm"]),
        ([firecracker.exchange(0)], True, ["PATCH /drives/slot0"]),
        ([firecracker.exchange(7)], True, ["PATCH /drives/slot7"]),
    ],
)  # fmt: skip
def test_requests_are_those_of_the_api_in_their_phases(
    requests: list[firecracker.Request], started: bool, expected: list[str]
) -> None:
    assert [f"{request.method} {request.path}" for request in requests] == expected
    assert _faults(requests, started) == [None] * len(requests)
    assert any(_faults(requests, not started))  # the phases are looked at


def test_the_machine_is_of_the_size_asked_for_and_its_disks_are_read_only_but_one() -> None:
    by_path = {request.path: request.body for request in firecracker.boot(Size(4, 8448))}
    assert by_path["/machine-config"] == {"vcpu_count": 4, "mem_size_mib": 8448}
    drives = [body for path, body in by_path.items() if path.startswith("/drives/")]
    assert [drive["drive_id"] for drive in drives if not drive["is_read_only"]] == ["slot0"]
    assert not any(drive["is_root_device"] for drive in drives)
    line = by_path["/boot-source"]["boot_args"].split()
    assert {"rdinit=/init", "panic=-1", "reboot=k", "console=ttyS0"} <= set(line)


def test_no_request_names_anything_outside_of_the_jail() -> None:
    requests = [
        *firecracker.boot(Size(1, 512)),
        *firecracker.freeze(),
        *firecracker.clone(),
        firecracker.exchange(3),
    ]
    named = [
        value
        for request in requests
        for body in (request.body, request.body.get("mem_backend", {}))
        for name, value in body.items()
        if name.endswith("_path") or name.startswith("path_")
    ]
    assert len(named) == 2 + 12 + 1 + 2 + 2 + 1
    assert all(re.fullmatch(r"/[a-z0-9.]+", path) for path in named)


def test_what_is_frozen_is_what_a_clone_loads_paused_until_all_is_right() -> None:
    created, loaded = firecracker.freeze()[1].body, firecracker.clone()[1].body
    assert created["snapshot_path"] == loaded["snapshot_path"]
    assert loaded["mem_backend"] == {"backend_type": "File", "backend_path": created["mem_file_path"]}
    assert (created["snapshot_type"], loaded["resume_vm"]) == ("Full", False)


def test_the_jailers_command() -> None:
    assert firecracker.jailer("/opt/jailer", "/opt/firecracker-v1", "/tasks/1", 3221225999) == [
        "/opt/jailer", "--id", "microvm", "--exec-file", "/opt/firecracker-v1", "--uid", "3221225999",
        "--gid", "3221225999", "--chroot-base-dir", "/tasks/1", "--", "--api-sock", "/api.sock",
    ]  # fmt: skip


# -- the API's answers -----------------------------------------------------------------------------------

REQUEST = firecracker.Request("PUT", "/vsock", {"guest_cid": 3, "uds_path": "/v.sock"})


def _ask(*answers: bytes, seconds: float = 30) -> bytes:
    """What was sent, when the answers come in these pieces and then the end."""
    here, there = socket.socketpair()
    heard = []

    def serve() -> None:
        heard.append(there.recv(1 << 16))
        for piece in answers:
            there.sendall(piece)
        if answers:
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        Api(here).ask(REQUEST, seconds)
    finally:
        thread.join()
        here.close()
        there.close()
    return heard[0]


def test_a_request_is_http_and_its_answer_may_come_in_pieces() -> None:
    sent = _ask(b"HTTP/1.1 20", b"4 \r\nServer: Firecracker API\r\n", b"Connection: keep-alive\r\n\r\n")
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /vsock HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert body == b'{"guest_cid": 3, "uds_path": "/v.sock"}'


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([b'HTTP/1.1 400 \r\nContent-Length: 23\r\n\r\n{"fault_message"', b': "no"}'], "PUT /vsock: no$"),
        ([b"HTTP/1.1 500 \r\nContent-Length: 4\r\n\r\nwhat"], "PUT /vsock: what"),
        ([b"HTTP/1.1 503 \r\n\r\n"], "PUT /vsock: HTTP status 503"),
        ([b"HTTP/1.1 204 \r\n"], "does not answer: it has ended"),
        ([b"HTTP/1.1 400 \r\ncontent-length: 10\r\n\r\nhalf"], "does not answer: it has ended"),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], "no HTTP"),
        ([b"HTTP/1.1 many \r\n\r\n"], "no HTTP"),
        ([b"HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n"], "no HTTP"),
        ([b"HTTP/1.1 200 \r\nContent-Length: 99999999999\r\n\r\n"], "no HTTP"),
        ([b"HTTP/1.1 200 \r\n" + b"x" * 70_000], "no HTTP"),
    ],
)  # fmt: skip
def test_answers_that_are_none_or_a_refusal(answers: list[bytes], message: str) -> None:
    with pytest.raises(ApiError, match=message):
        _ask(*answers)


def test_no_answer_is_not_waited_for_for_ever() -> None:
    with pytest.raises(ApiError, match="PUT /vsock: Firecracker does not answer: timed out"):
        _ask(seconds=0.05)


# -- the guest's port ------------------------------------------------------------------------------------


@pytest.fixture
def vsock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], socket.socket]]:
    """A vsock's listeners as Unix sockets; how the host connects to one."""
    made: list[socket.socket] = []

    def listen(number: int) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / str(number)))
        listener.listen(4)
        made.append(listener)
        return listener

    def connect(number: int) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect(str(tmp_path / str(number)))
        made.append(connection)
        return connection

    monkeypatch.setattr(ports, "_listen", listen)
    monkeypatch.setattr(ports, "_listeners", {})
    yield connect
    for opened in made:
        opened.close()


def _port(connect: Callable[[int], socket.socket]) -> tuple[ports.VsockPort, socket.socket]:
    found: list[ports.VsockPort] = []
    thread = threading.Thread(target=lambda: found.append(ports.VsockPort()))
    thread.start()
    while True:
        try:
            host = connect(1)
            break
        except OSError:
            continue  # it does not listen yet
    thread.join()
    return found[0], host


def _heard(host: socket.socket) -> dict[str, Any]:
    reader = frames.Reader(1 << 20)
    while True:
        for _kind, payload in reader.feed(host.recv(1 << 16)):
            return frames.message(payload)


def test_a_clone_is_met_anew_and_greets(vsock: Callable[[int], socket.socket]) -> None:
    port, first = _port(vsock)
    first.sendall(frames.json_frame({"op": "rehearse"}))
    assert port.receive() == [{"op": "rehearse"}]
    port.send({"event": "ready"})
    assert _heard(first) == {"event": "ready"}
    first.sendall(frames.json_frame({"op": "cut off"})[:-1])
    first.close()  # a template is frozen here
    broken, second = vsock(1), vsock(1)
    broken.close()
    assert port.receive() == []
    assert _heard(second) == {"event": "ready"}
    second.sendall(frames.json_frame({"op": "born"}))
    assert port.receive() == [{"op": "born"}]
    port.close()


def test_a_connection_that_broke_before_it_was_taken_is_passed_over(
    vsock: Callable[[int], socket.socket],
) -> None:
    port, _host = _port(vsock)
    vsock(2).close()
    alive = vsock(2)
    fd = ports.open_port(2)
    alive.sendall(b"here")
    assert os.read(fd, 10) == b"here"
    os.close(fd)
    port.close()


def test_what_is_said_to_nobody_is_lost_without_a_wait(vsock: Callable[[int], socket.socket]) -> None:
    port, host = _port(vsock)
    host.close()
    for _ in range(3):
        port.send({"event": "ready"})
    port.close()


def test_without_a_vsock_the_port_is_a_serial_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_VSOCK", str(tmp_path))
    monkeypatch.setattr(ports, "VsockPort", lambda: "a vsock")
    monkeypatch.setattr(ports, "Port", lambda: "serial")
    assert ports.agent_port() == "a vsock"
    monkeypatch.setattr(ports, "_VSOCK", str(tmp_path / "none"))
    assert ports.agent_port() == "serial"


# -- the guest's disks -----------------------------------------------------------------------------------


class _Kept(disks.KeptDisks):
    def __init__(self) -> None:
        self._paths = ["/dev/vda", "/dev/vdb"]


def test_an_exchanged_disk_is_waited_for_and_nothing_is_known_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its driver stays, as Firecracker resets no device."""
    sizes, forgotten = iter(["100", "100", "100", "250"]), list[str]()
    monkeypatch.setattr(disks, "_size", lambda path: next(sizes) if path == "/dev/vdb" else "7")
    monkeypatch.setattr(disks, "_forget", forgotten.append)
    kept = _Kept()
    kept.release(1)
    kept.probe(1)
    assert list(sizes) == [] and forgotten == ["/dev/vdb"] and kept.device(1) == "/dev/vdb"


def test_a_disk_that_does_not_come_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "_size", lambda path: "100")
    monkeypatch.setattr(disks, "_PATIENCE", 0.01)
    kept = _Kept()
    kept.release(0)
    with pytest.raises(OSError, match=r"does not appear: '/dev/vda'"):
        kept.probe(0)


# -- the kernel ------------------------------------------------------------------------------------------


def _image(payload: bytes, version: int = 0x020F, sectors: int = 3) -> bytes:
    head = bytearray(512 * (sectors + 1) + 100)
    head[0x1F1] = sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    struct.pack_into("<II", head, 0x248, 100, len(payload))
    return bytes(head) + payload


ELF = b"\x7fELF\x02\x01" + os.urandom(3000) + bytes(20_000_000)
LENGTH = struct.pack("<I", len(ELF))


def _legacy_lz4(data: bytes) -> bytes:
    blocks = [
        lz4.block.compress(data[at : at + (8 << 20)], store_size=False) for at in range(0, len(data), 8 << 20)
    ]
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(block)) + block for block in blocks)


@pytest.mark.parametrize(
    "payload",
    [
        _legacy_lz4(ELF) + LENGTH,
        zstandard.ZstdCompressor(1).compress(ELF) + LENGTH,
        lzma.compress(ELF, check=lzma.CHECK_CRC32, preset=0) + LENGTH,
        lzma.compress(ELF, lzma.FORMAT_ALONE, preset=0) + LENGTH,
        bz2.compress(ELF, 1) + LENGTH,
        (lambda c: c.compress(ELF) + c.flush())(zlib.compressobj(1, wbits=31)),
    ],
    ids=["lz4", "zstd", "xz", "lzma", "bzip2", "gzip"],
)
def test_a_kernel_is_unpacked_however_it_is_compressed(payload: bytes) -> None:
    assert elf.unpack(_image(payload)) == ELF


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "not a Linux kernel"),
        (bytes(100_000), "not a Linux kernel"),
        (_image(b"x" * 100, version=0x0207), "protocol 2.07, which is too old"),
        (_image(_legacy_lz4(ELF))[:-1], "cut short"),
        (_image(b"\x89PNG" + bytes(100)), "not known: 89504e47"),
        (_image(b"\xfd7zXZ\x00" + b"\xff" * 100), "cannot be decompressed"),
        (_image(b"\x02\x21\x4c\x18" + struct.pack("<I", 1 << 30) + bytes(100)), "block of 1073741824 bytes"),
        (_image(b"\x02\x21\x4c\x18" + struct.pack("<I", 8) + bytes(100)), "cannot be decompressed"),
        (_image(zstandard.ZstdCompressor().compress(b"#!/bin/sh" * 10)), "no 64-bit ELF"),
    ],
)
def test_what_is_no_kernel_is_said_to_be_none(image: bytes, message: str) -> None:
    with pytest.raises(elf.KernelError, match=message):
        elf.unpack(image)


@pytest.mark.root
def test_debians_kernel_is_unpacked_and_its_vsock_comes_before_its_disks() -> None:
    """The real one, which scripts/system-packages.sh unpacked."""
    kernel, modules = guest_image._kernel()
    found = elf.unpack(kernel.read_bytes())
    kind, architecture, entry = struct.unpack_from("<HH4xQ", found, 16)
    assert (found[:6], kind, architecture) == (b"\x7fELF\x02\x01", 2, 62)  # an x86_64 program
    programs, count = struct.unpack_from("<Q", found, 32)[0], struct.unpack_from("<H", found, 56)[0]
    heads = [struct.unpack_from("<IIQQQQQ", found, programs + 56 * n) for n in range(count)]
    loaded = [(head[4], head[6]) for head in heads if head[0] == 1]  # where in memory, how much
    assert any(at <= entry < at + size for at, size in loaded)
    assert all(head[2] + head[5] <= len(found) for head in heads)
    order = [path.stem for path in guest_image._module_order(modules, guest_image._FIRECRACKER_MODULES)]
    assert order.index("vsock") < order.index("vmw_vsock_virtio_transport") < order.index("virtio_blk")
    assert "virtio_console" not in order
    qemus = [path.stem for path in guest_image._module_order(modules, guest_image._MODULES)]
    assert "virtio_console" in qemus and "vsock" not in qemus


# -- when it is chosen -----------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> monitors.Programs:
    """Both programs are on PATH."""
    program, jailer, _log = install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    found = monitors.programs()
    assert (found.firecracker, found.jailer) == (program, jailer)
    return found


def _driver(tmp_path: Path, wish: str, accelerator: str = "kvm") -> MicrovmDriver:
    return MicrovmDriver(tmp_path / "d", "abcdef", "10.0.0.0/16", tmp_path / "cache", accelerator, 0, wish)


@pytest.mark.root
@pytest.mark.parametrize(
    ("wish", "accelerator", "known", "expected"),
    [
        ("auto", "kvm", None, True), ("auto", "kvm", "", True), ("auto", "kvm", "it hangs", False),
        ("firecracker", "auto", None, True), ("firecracker", "kvm", "", True), ("auto", "auto", None, True),
        ("firecracker", "kvm", "it hangs", "wanted, but it boots no guest here: it hangs"),
        ("firecracker", "tcg", None, "wanted, but it emulates nothing"),
        ("auto", "tcg", "", False), ("qemu", "kvm", "", False), ("qemu", "auto", None, False),
    ],
)  # fmt: skip
def test_firecracker_is_chosen_where_it_works(
    tmp_path: Path,
    here: monitors.Programs,
    wish: str,
    accelerator: str,
    known: str | None,
    expected: bool | str,
) -> None:
    if known is not None:
        verdict.write(tmp_path / "cache/firecracker.json", here.fingerprint(), known)
    driver = _driver(tmp_path, wish, accelerator)
    if isinstance(expected, bool):
        assert driver._perhaps_firecracker() is expected
    else:
        with pytest.raises(DriverUnavailable, match=expected):
            driver._perhaps_firecracker()


@pytest.mark.root
def test_another_release_is_tried_again(tmp_path: Path, here: monitors.Programs) -> None:
    verdict.write(tmp_path / "cache/firecracker.json", here.fingerprint(), "it hangs")
    assert not _driver(tmp_path, "auto")._perhaps_firecracker()
    here.firecracker.write_bytes(b"\x7fELF, another")
    assert _driver(tmp_path, "auto")._perhaps_firecracker()


def test_firecracker_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DriverUnavailable, match="no firecracker on PATH: install both programs"):
        _driver(tmp_path, "firecracker")._perhaps_firecracker()
    assert not _driver(tmp_path, "auto")._perhaps_firecracker()
    install(tmp_path)
    (tmp_path / "jailer").unlink()
    with pytest.raises(DriverUnavailable, match="no jailer on PATH"):
        monitors.programs()


@pytest.mark.root
async def test_wanted_where_kvm_runs_nothing_it_is_a_clear_refusal(
    tmp_path: Path, here: monitors.Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neargate.kit.kvm.failure", lambda: "there is no /dev/kvm")
    with pytest.raises(DriverUnavailable, match="wanted, but it boots no guest here: there is no /dev/kvm"):
        await _driver(tmp_path, "firecracker").choose()
    assert verdict.read(tmp_path / "cache/firecracker.json", here.fingerprint()) == "there is no /dev/kvm"
    assert not list(tmp_path.glob("cache/guests/*"))
    assert not await _driver(tmp_path, "auto")._boots_firecracker(here)


@pytest.mark.root
def test_a_template_is_of_its_release_and_its_size(tmp_path: Path, here: monitors.Programs) -> None:
    image = guest_image.GuestImage("key", *[tmp_path] * 4)
    monitor = monitors.Firecracker(image, here)
    parts = [monitor.parts(Size(1, 512)), monitor.parts(Size(1, 768)), monitor.parts(Size(2, 512))]
    here.jailer.write_text("another")
    parts.append(monitor.parts(Size(1, 512)))
    assert len({str(part) for part in parts}) == 4
