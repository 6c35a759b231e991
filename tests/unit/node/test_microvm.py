"""The microvm tier without a machine: its protocol, what is believed of a guest, files and command lines."""

import base64
import errno
import itertools
import json
import mmap
import os
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node import spool
from neargate.node.drivers.microvm import cpio, verdict
from neargate.node.drivers.microvm.templates import size_of, uid_of
from neargate.node.drivers.microvm.vmm import logs, machine, scratch, template, told
from neargate.node.drivers.microvm.vmm.logs import Log
from neargate.node.drivers.microvm.vmm.supervisor import Supervisor
from neargate.node.drivers.microvm.vmm.terminals import Terminals
from neargate.node.drivers.microvm.vmm.vm import Vm
from neargate.node.guest import frames
from neargate.node.shim.peers import Peer
from neargate.node.shim.terminals import WINDOW

MIB = 1 << 20
NS = 1_000_000_000


# -- frames --------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from(("a", "web-1")), st.integers(1, 2), st.binary(max_size=300))),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_frames_are_put_together_however_they_are_cut(
    sent: list[tuple[str, int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(frames.log_frame(frames.LOG, *parts) for parts in sent)
    stream += frames.json_frame({"event": "states"})
    reader, found, at = frames.Reader(1 << 16), [], 0
    while at < len(stream):
        size = cuts[at % len(cuts)]
        found += list(reader.feed(stream[at : at + size]))
        at += size
    assert [frames.log_parts(payload) for kind, payload in found[:-1]] == sent
    assert (found[-1][0], frames.message(found[-1][1])) == (frames.JSON, {"event": "states"})


def test_a_frame_beyond_the_limit_is_refused_before_it_has_come() -> None:
    reader = frames.Reader(100)
    with pytest.raises(frames.FrameError, match="101 bytes"):
        list(reader.feed(frames.FRAME.pack(frames.LOG, 101)))


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x01\x05abc"])
def test_a_log_frame_that_is_too_short(payload: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.log_parts(payload)


@pytest.mark.parametrize("payload", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_a_message_that_is_no_object(payload: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.message(payload)


# -- what a hostile guest says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (
            {"running": True, "pid": 1, "started_at": 5 * NS},
            {"running": True, "pid": 77, "started_at": 5.0, "stopped_at": None},
        ),
        ({"running": False, "exit_code": 3}, {"running": False, "pid": None, "exit_code": 3}),
        ({"running": False, "exit_code": 1 << 80}, {"exit_code": 0}),
        ({"running": "yes", "exit_code": "3"}, {"running": False, "exit_code": None}),
        ({"name": "other", "runtime_id": "x"}, {"name": "c", "runtime_id": "task-1"}),
        ({"started_at": float("nan"), "restarts": -4}, {"started_at": None, "restarts": 0}),
        ({"started_at": 1e300, "oom_killed": 1}, {"started_at": None, "oom_killed": False}),
        (
            {"started_at": 1_700_000_000 * NS + NS // 2, "stopped_at": 1_700_000_001 * NS},
            {"started_at": 1_700_000_000.5, "stopped_at": 1_700_000_001.0},
        ),
        ({"started_at": 0, "stopped_at": 1}, {"started_at": 0.0, "stopped_at": 1e-9}),
    ],
)
def test_states_are_checked(state: dict[str, Any], expected: dict[str, Any]) -> None:
    found = told.states({"c": state, "ghost": state}, {"c": "task-1"}, {"c": "task-1"}, 77)
    assert set(found) == {"c"}
    assert expected.items() <= found["c"].items()


@pytest.mark.parametrize("which", ["started_at", "stopped_at"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        5.0,
        1.7e18,
        float("inf"),
        float("nan"),
        -1,
        -NS,
        1 << 90,
        10**400,
        -(10**400),
        True,
        False,
        "5",
        [5],
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_time_that_is_none(which: str, value: object) -> None:
    """A guest's are nanoseconds."""
    found = told.states({"c": {which: value}}, {"c"}, {"c": "task-1"}, 77)
    assert found["c"][which] is None


@pytest.mark.parametrize("nonsense", [None, [], "x", {"c": 5}, {"c": None}])
def test_states_that_are_none(nonsense: object) -> None:
    assert told.states(nonsense, {"c"}, {"c": "task-1"}, 77) == {}


@pytest.mark.parametrize(
    "said",
    [
        frames.json_frame({"id": [], "ok": {}}),
        frames.json_frame({"id": {"1": 1}, "error": "x"}),
        frames.FRAME.pack(frames.JSON, 1 << 30),
        frames.FRAME.pack(frames.JSON, 4) + b"[1] ",
        frames.FRAME.pack(frames.LOG, 1) + b"\1",
    ],
)
def test_a_guest_that_does_not_keep_to_the_protocol_is_ended(said: bytes) -> None:
    """And its supervisor says why, instead of dying of it."""
    read, write = os.pipe()
    ours, guests = socket.socketpair()
    guests.sendall(said)
    child = os.fork()
    if not child:
        try:
            os.dup2(write, 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            supervisor = Supervisor({"cgroup": "none", "v2": False}, cast(Vm, _Machine(ours)))
            supervisor._from_guest(ours.fileno())
        finally:
            os._exit(0)
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    with os.fdopen(read) as pipe:
        text = pipe.read()
    for end in (ours, guests):
        end.close()
    assert "does not keep to the protocol" in text and "the virtual machine has ended" in text


class _Machine:
    """As much of one as has a guest."""

    def __init__(self, port: socket.socket) -> None:
        self.port = port
        self.output = os.open("/dev/null", os.O_RDONLY)

    def kill(self) -> None:
        """It is none."""


class _Listener:
    """A peer that keeps what it is sent."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        self.heard.append(message)


def _output(size: int, terminal: str = "t") -> dict[str, Any]:
    return {"event": "output", "terminal": terminal, "data": base64.b64encode(b"x" * size).decode()}


@pytest.mark.parametrize("size", [1, 1000, 32 * 1024])
def test_terminal_output_beyond_its_window_breaks_the_protocol(size: int) -> None:
    """Each byte that is shown makes room for one, at that terminal."""
    listener, relay = _Listener(), Terminals(lambda _message: None)
    for terminal in ("t", "u"):
        relay.attached(cast(Peer, listener), terminal)
    for _ in range(3 * WINDOW // size):
        relay.told(_output(size))
        relay.shown("t", size)
    honest = (WINDOW - 1) // size + 1  # it reads while there is room for a byte
    for _ in range(honest):
        relay.told(_output(size))
    relay.told(_output(size, "u"))
    with pytest.raises(frames.FrameError):
        for _ in range(2 * WINDOW // size):
            relay.told(_output(size))
    kept = sum(len(base64.b64decode(m["data"])) for m in listener.heard if m["terminal"] == "t")
    assert kept - 3 * WINDOW // size * size <= 2 * WINDOW


@pytest.mark.parametrize("data", ["", "?", 5, []])
def test_terminal_output_of_nothing_breaks_the_protocol(data: object) -> None:
    listener, relay = _Listener(), Terminals(lambda _message: None)
    relay.attached(cast(Peer, listener), "t")
    with pytest.raises(frames.FrameError):
        relay.told(_output(1) | {"data": data})
    assert listener.heard == []


def test_answers_are_checked() -> None:
    assert told.answer("start", {"error": "x" * 10_000}) == {"error": "x" * 4096}
    assert told.answer("start", {"error": "half \ud800"}) == {"error": "half ?"}
    assert told.answer("start", {"ok": {"anything": 1}}) == {"ok": {}}
    assert told.answer("exec", {"ok": {"exit_code": 4, "output": "6162", "timed_out": True}}) == {
        "ok": {"exit_code": 4, "output": "6162", "timed_out": True}
    }
    hostile = told.answer("exec", {"ok": {"exit_code": "0", "output": "zz", "timed_out": "no"}})
    assert hostile == {"ok": {"exit_code": 255, "output": "", "timed_out": False}}
    assert len(told.answer("exec", {"ok": {"output": "61" * 100_000}})["ok"]["output"]) == 8192
    usage = told.answer("usage", {"ok": {"cpu_seconds": 1.5, "memory_bytes": "much", "pids": -1}})["ok"]
    assert (usage["cpu_seconds"], usage["memory_bytes"], usage["pids"]) == (1.5, 0, 0)
    assert told.answer("usage", {}) == told.answer("usage", {"ok": []})


# -- logs ------------------------------------------------------------------------------------------------


def test_a_log_that_blocks_waits_for_room_and_keeps_the_order(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "spool"), 8192, blocking=True)
    lines = [b"%05d\n" % n * 100 for n in range(40)]
    taken = sum(log.take(frames.LOG, spool.STDOUT, line) for line in lines)
    assert taken < sum(map(len, lines))
    log.take(frames.CLOSED, spool.STDOUT, b"")
    log.take(frames.FINISHED, spool.STDOUT, b"")
    read = b""
    while log.waits:
        kept = sorted((tmp_path / "spool").glob("*.seg"))
        for segment in kept[:-1]:
            read += _payloads(segment)
            segment.unlink()
        log.advance()
    for segment in sorted((tmp_path / "spool").glob("*.seg")):
        read += _payloads(segment)
    assert read == b"".join(lines) and (tmp_path / "spool/end").exists()


@pytest.mark.parametrize("size", [65_535, 100, 0])
def test_a_guest_that_ignores_the_window_fills_neither_memory_nor_disk(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even with frames of nothing."""
    monkeypatch.setattr(logs, "_MOST_FRAMES", 2000)
    log = Log(str(tmp_path / "spool"), 4096, blocking=True)
    log.take(frames.LOG, spool.STDERR, b"y" * 65_535 + b"\n")
    tracemalloc.start()
    for _ in range(10_000 if size < 1000 else 400):
        log.take(frames.LOG, spool.STDERR, os.urandom(1) * size)
        log.take(frames.CLOSED, spool.STDERR, b"")
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < (3 * MIB if size > 1000 else 600_000)
    assert sum(path.stat().st_size for path in (tmp_path / "spool").iterdir()) < 128 * 1024
    log.end()
    assert sum(path.stat().st_size for path in (tmp_path / "spool").iterdir()) < 3 * MIB


def test_a_window_of_single_bytes_is_kept(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "spool"), 4096, blocking=True)
    log.take(frames.LOG, spool.STDOUT, b"y" * 8191 + b"\n")
    for at in range(frames.WINDOW):
        assert log.take(frames.LOG, 1 + at % 2, b"x") == 0
    assert log.advance(regardless=True) == frames.WINDOW


def _payloads(segment: Path) -> bytes:
    data, at, found = segment.read_bytes(), 0, b""
    while at < len(data):
        length = spool.FRAME.unpack_from(data, at)[3]
        at += spool.FRAME.size + length
        found += data[at - length : at]
    return found


# -- machines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        (256, 512, (1, 768)), (512, 1024, (1, 1280)), (1024, 2048, (1, 2304)), (2048, 4096, (2, 4352)),
        (4096, 30720, (4, 30976)), (16384, 122880, (16, 123136)), (1024, 24, (1, 256)), (1025, 160, (2, 256)),
    ],
)  # fmt: skip
def test_the_machine_of_a_task(cpu: int, memory: int, expected: tuple[int, int]) -> None:
    spec = SandboxSpec(id="0" * 32, containers=(), interface=None, cpu=cpu, memory=memory * MIB)
    size = size_of(spec)
    assert (size.cpus, size.memory) == expected
    assert size.memory >= memory + 96  # the task has all of its own


@pytest.mark.parametrize(("images", "slots"), [(0, 3), (1, 3), (2, 3), (3, 10), (10, 10)])
def test_a_task_of_few_images_gets_a_machine_of_few_disks(images: int, slots: int) -> None:
    names = [f"i{number}" for number in range(images)] * 2
    containers = tuple(
        ContainerSpec(name=f"c{n}", image=name, runtime_id=f"c{n}-1") for n, name in enumerate(names)
    )
    spec = SandboxSpec(id="0" * 32, containers=containers, interface=None, cpu=256, memory=512 * MIB)
    size = size_of(spec)
    assert size.images == slots
    command = machine.command(size, machine.Ends(10, 11, 12, 13, 14, 15), "tcg", None)
    assert sum(word.startswith("virtio-blk-device") for word in command) == slots + 2


def test_each_machine_has_a_user_of_its_own() -> None:
    found = {uid_of(f"{n:032x}") for n in range(1000)}
    assert len(found) == 1000 and min(found) >= 3 << 30 and max(found) < 1 << 32


def _command(boot: list[str] | None) -> list[str]:
    return machine.command(machine.Size(2, 512), machine.Ends(10, 11, 12, 13, 14, 15), "tcg", boot)


def test_a_template_and_its_clone_have_the_same_devices() -> None:
    def devices(command: list[str]) -> list[str]:
        return [b for a, b in itertools.pairwise(command) if a in ("-device", "-machine", "-smp")]

    assert devices(_command(["-kernel", "x"])) == devices(_command(None))
    assert "share=on" in " ".join(_command(["-kernel", "x"])) and "share=off" in " ".join(_command(None))


def test_qemu_is_told_no_path_of_the_host_and_is_sandboxed() -> None:
    command = _command(None)
    paths = [word for argument in command[1:] for word in argument.split(",") if "/" in word]
    assert sorted({path.partition("=")[2] for path in paths}) == ["/dev/fdset/0", "/proc/self/fd/10"]
    sandbox = command[command.index("-sandbox") + 1]
    assert sandbox.startswith("on,") and sandbox.count("=deny") == 4


# -- files -----------------------------------------------------------------------------------------------


def test_an_initramfs_is_what_cpio_reads(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/tool").write_bytes(b"\x7fELF" + bytes(range(256)))
    (tree / "usr/bin/tool").chmod(0o755)
    (tree / "link").symlink_to("usr/bin/tool")
    (tree / "empty").touch()
    with (tmp_path / "initramfs").open("wb") as file:
        cpio.write(tree, file)
    out = tmp_path / "out"
    out.mkdir()
    with (tmp_path / "initramfs").open("rb") as file:
        subprocess.run(["busybox", "cpio", "-id", "--quiet"], cwd=out, stdin=file, capture_output=True)
    assert (out / "usr/bin/tool").read_bytes() == (tree / "usr/bin/tool").read_bytes()
    assert os.access(out / "usr/bin/tool", os.X_OK)
    assert (out / "link").readlink() == Path("usr/bin/tool") and (out / "empty").read_bytes() == b""
    assert (tmp_path / "initramfs").read_bytes().count(b"070701") == 8  # 5 entries, 2 devices, the trailer


def test_a_sparse_file_is_copied_sparse(tmp_path: Path) -> None:
    pieces = {0: b"start", 5 * MIB + 17: b"middle" * 1000, 64 * MIB - 3: b"end"}
    with (tmp_path / "a").open("wb") as file:
        file.truncate(64 * MIB)
        for at, piece in pieces.items():
            file.seek(at)
            file.write(piece)
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("w+b") as target:
        target.truncate(64 * MIB)
        scratch.copy_data(source.fileno(), target.fileno(), 64 * MIB)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "b").stat().st_blocks * 512 < MIB


def test_a_templates_memory_cannot_be_written_by_a_clone(tmp_path: Path) -> None:
    """QEMU opens it for writing: the seals are what keeps a machine that was taken over from its siblings."""
    (tmp_path / "memory").write_bytes(b"template" * 1024)
    assert template.hold({"directory": str(tmp_path)}) == {"ok": True}
    fd = os.open(f"/proc/self/fd/{template.MEMORIES.pop(str(tmp_path))}", os.O_RDWR)
    with mmap.mmap(fd, 8192, flags=mmap.MAP_PRIVATE) as own:
        own[:8] = b"mine    "
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"theirs", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 8192, flags=mmap.MAP_SHARED)
    with pytest.raises(OSError, match=os.strerror(errno.EPERM)):
        os.ftruncate(fd, 1)
    assert os.pread(fd, 8, 0) == b"template"
    os.close(fd)


def test_a_template_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    assert "No such file" in str(template.hold({"directory": str(tmp_path)})["error"])


def test_a_verdict_holds_for_what_it_was_found_on(tmp_path: Path) -> None:
    path = tmp_path / "new/kvm.json"
    assert verdict.read(path, "a") is None
    verdict.write(path, "a", "it hangs")
    assert (verdict.read(path, "a"), verdict.read(path, "b")) == ("it hangs", None)
    assert json.loads(path.read_text())["cause"] == "it hangs"
    path.write_text("[]")
    assert verdict.read(path, "a") is None
