"""The way to a router: the forward protocol on a real spool, a router that fails, the shim's part."""

import asyncio
import base64
import os
import random
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from neargate.kit.clock import SystemClock
from neargate.model.sandbox import ContainerSpec, Dependency, LogSink
from neargate.node import route
from neargate.node.drivers.base import DriverError
from neargate.node.drivers.fake import FakeSandbox
from neargate.node.logs import LogShipper
from neargate.node.route import Route
from neargate.node.shim import posts
from neargate.node.spool import STDERR, STDOUT, SpoolWriter
from tests.support.forward import acknowledgement, unpacker
from tests.unit.node import rig
from tests.unit.node.rig import FakeCell, Node, eventually

SANDBOX = "a" * 32
Answer = Callable[[str], Awaitable[bytes]]


async def acknowledge(chunk: str) -> bytes:
    return acknowledgement(chunk)


class Recorder:
    """A router: decodes what comes, by another msgpack than ours, and answers as it is told."""

    def __init__(self, answer: Answer = acknowledge) -> None:
        self.answer = answer
        self.messages: list[list[Any]] = []
        self.fresh: list[bool] = []

    async def __call__(self, sender: str, data: bytes, fresh: bool) -> bytes:
        messages = unpacker()
        messages.feed(data)
        self.fresh.append(fresh)
        found = list(messages)
        self.messages += found
        return await self.answer(found[0][2].get("chunk", "")) if found else b""

    @property
    def lines(self) -> list[str]:
        """Of each chunk once; the same chunk must be the same lines."""
        chunks: dict[str, list[Any]] = {}
        for _tag, entries, options in self.messages:
            assert chunks.setdefault(options["chunk"], entries) == entries
        return [record["log"] for entries in chunks.values() for _time, record in entries]


class Way:
    """A container's spool and the router at its other end; `up` is a daemon's time."""

    def __init__(self, directory: Path, recorder: Recorder, **sink: Any) -> None:
        self.log = LogSink(
            group="", stream="app-firelens-1", router="router", socket=(".firelens", "fluent.sock"),
            **{"acknowledged": True, **sink},
        )  # fmt: skip
        self.container = ContainerSpec(name="app", image="i", runtime_id=f"{SANDBOX}-1", log=self.log)
        self.sandbox = FakeSandbox(rig.spec(self.container, id=SANDBOX), directory)
        self.sandbox.router = recorder
        self.spool = directory / "spool" / "app"
        self.writer = SpoolWriter(str(self.spool), 1 << 20, True)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[LogShipper]:
        async with LogShipper(FakeCell(), SystemClock()) as ship:
            way = Route(self.sandbox, self.container, self.log, self.spool)
            ship.attach(SANDBOX, self.container, "0", "x", self.spool, way)
            yield ship


async def test_records_are_what_fluentds_driver_makes_of_lines(tmp_path: Path) -> None:
    recorder = Recorder()
    way = Way(tmp_path, recorder)
    before = time.time()
    way.writer.feed(STDOUT, b"first\n\nthird\n")
    way.writer.feed(STDERR, b"\xff unended")
    way.writer.close_stream(STDERR)
    way.writer.finish()
    async with way.up() as ship:
        assert await ship.drain(SANDBOX, 5, "router")
    ((tag, entries, options),) = recorder.messages
    assert (tag, options["size"]) == ("app-firelens-1", 4)
    common = {"container_id": f"{SANDBOX}-1", "container_name": "app"}
    assert [record for _, record in entries] == [
        {**common, "source": "stdout", "log": "first"},
        {**common, "source": "stdout", "log": ""},
        {**common, "source": "stdout", "log": "third"},
        {**common, "source": "stderr", "log": "\N{REPLACEMENT CHARACTER} unended"},
    ]
    for (seconds, nanoseconds), _ in entries:
        assert before - 0.001 < seconds + nanoseconds / 1e9 < time.time()


async def test_a_router_without_acknowledgements_is_sent_each_line_once(tmp_path: Path) -> None:
    async def nothing(chunk: str) -> bytes:
        return b""

    recorder = Recorder(nothing)
    way = Way(tmp_path, recorder, acknowledged=False)
    way.writer.feed(STDOUT, b"a\nb\n")
    way.writer.finish()
    async with way.up() as ship:
        assert await ship.drain(SANDBOX, 5)
    ((_, entries, options),) = recorder.messages
    assert ([record["log"] for _, record in entries], options) == (["a", "b"], {"size": 2})


async def test_one_that_only_seems_to_acknowledge_is_not_sent_the_same_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "_ANSWER_SECONDS", 0.05)

    async def silence(chunk: str) -> bytes:
        if not chunk:
            return b""
        await asyncio.sleep(60)
        raise AssertionError

    recorder = Recorder(silence)
    way = Way(tmp_path, recorder)
    async with way.up() as ship:
        way.writer.feed(STDOUT, b"a\n")
        await eventually(lambda: recorder.messages, "the first line is sent")
        way.writer.feed(STDOUT, b"b\n")
        way.writer.finish()
        assert await ship.drain(SANDBOX, 5)
    assert [[r["log"] for _, r in entries] for _, entries, _ in recorder.messages] == [["a"], ["b"]]
    assert ["chunk" in options for _, _, options in recorder.messages] == [True, False]


@pytest.mark.parametrize(
    "answer", [b"\xc1", b"\x93\x01\x02\x03", acknowledgement("another"), b"\x81\xa3ack", b"\x81\xa1x\xa1y"]
)
async def test_what_is_not_acknowledged_comes_again_as_the_same_chunk(tmp_path: Path, answer: bytes) -> None:
    answers = iter([answer])

    async def wrong_first(chunk: str) -> bytes:
        return next(answers, None) or acknowledgement(chunk)

    async def refuse_more(sender: str, data: bytes, fresh: bool) -> bytes:
        if not data:
            raise DriverError("the router has ended the connection")
        return await recorder(sender, data, fresh)

    recorder = Recorder(wrong_first)
    way = Way(tmp_path, recorder)
    way.sandbox.router = refuse_more
    way.writer.feed(STDOUT, b"a\n")
    async with way.up() as ship:
        await eventually(lambda: recorder.messages, "it is sent")
        way.writer.feed(STDOUT, b"b\n")  # is not among what is sent again
        way.writer.finish()
        assert await ship.drain(SANDBOX, 5)
    first, second, *_ = recorder.messages
    assert first == second
    assert recorder.lines == ["a", "b"]
    assert recorder.fresh[:2] == [True, True], "a late answer must not be taken for the next one's"


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_lost_whoever_is_killed_when(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def moody(chunk: str) -> bytes:
        await asyncio.sleep(chance.choice((0, 0, 0.005)))
        if chance.random() < 0.2:
            raise DriverError("the router has ended the connection")
        return acknowledgement(chunk)

    recorder = Recorder(moody)
    way = Way(tmp_path, recorder)
    wanted: list[str] = []
    for _ in range(12):
        async with way.up():
            for _ in range(chance.randrange(1, 6)):
                more = [f"{len(wanted) + i} {'x' * chance.choice((1, 3000, 20000))}" for i in range(20)]
                wanted += more
                stream = chance.choice((STDOUT, STDERR))
                way.writer.feed(stream, "".join(f"{line}\n" for line in more).encode())
                await asyncio.sleep(chance.choice((0, 0.01)))
    way.writer.feed(STDOUT, b"last")
    way.writer.close_stream(STDOUT)
    way.writer.finish()
    async with way.up() as ship:
        assert await ship.drain(SANDBOX, 10)
    assert recorder.lines == [*wanted, "last"]


# -- in a task ---------------------------------------------------------------------------------------------


async def test_the_router_starts_first_and_stops_last_with_all_lines(tmp_path: Path) -> None:
    recorder = Recorder()
    app = Way(tmp_path / "x", recorder).container
    depends = {"depends_on": (Dependency(container="router", condition="START"),)}
    app = rig.container("app", log=app.log, command=("echo", "hello"), essential=False, **depends)
    one = rig.spec(app, rig.container("router"))
    node = Node(tmp_path)
    async with node.up():
        await node.run(one)
        sandbox = node.sandbox(one)
        assert sandbox.started == ["router", "app"]
        signals_then: list[Any] = []

        async def late(chunk: str) -> bytes:
            signals_then.extend(sandbox.signals)
            return acknowledgement(chunk)

        node.cell.want(one, desired="STOPPED")
        await asyncio.sleep(0.05)
        recorder.answer = late
        sandbox.router = recorder  # from now on it listens
        await node.gone(one)
    assert recorder.lines == ["hello"]
    assert signals_then == [] and sandbox.signals[0][0] == "router"


# -- in the shim -------------------------------------------------------------------------------------------


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    return listener


def test_a_socket_is_reached_in_its_directory_only(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    outside, inside = listening(tmp_path / "outside"), listening(tmp_path / "volume/in")
    (tmp_path / "volume/link").symlink_to("../outside")
    (tmp_path / "linked").symlink_to("volume")
    (tmp_path / "volume/file").write_text("")
    os.mkfifo(tmp_path / "volume/fifo")
    with posts.connect(str(tmp_path / "volume"), "in") as connection, inside.accept()[0] as other:
        connection.sendall(b"x")
        assert other.recv(1) == b"x"
    for name in ("link", "file", "fifo", "missing", "../outside", ".", ".."):
        with pytest.raises(OSError):
            posts.connect(str(tmp_path / "volume"), name)
    with pytest.raises(OSError):
        posts.connect(str(tmp_path / "linked"), "in")
    outside.close()
    inside.close()


def test_a_queue_that_is_full_is_told_and_not_waited_for(tmp_path: Path) -> None:
    with listening(tmp_path / "in"):
        waiting = []
        with pytest.raises(BlockingIOError):
            for _ in range(8):
                waiting.append(posts.connect(str(tmp_path), "in"))
        for connection in waiting:
            connection.close()


class Loop:
    """A shim's loop, as far as Posts needs it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.handlers: dict[int, tuple[Callable[[int], None], int]] = {}

    def volume(self, name: str) -> str:
        return str(self.directory / name)

    def watch(self, fd: int, handler: Callable[[int], None], events: int = 1) -> None:
        assert fd not in self.handlers
        self.handlers[fd] = (handler, events)

    def unwatch(self, fd: int) -> None:
        self.handlers.pop(fd, None)

    def turn(self) -> None:
        poll = select.poll()
        for fd, (_, events) in self.handlers.items():
            poll.register(fd, events)
        for fd, _ in poll.poll(50):
            if fd in self.handlers:
                self.handlers[fd][0](fd)


def test_messages_larger_than_a_socket_holds_and_answers_in_their_turn(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    loop = Loop(tmp_path)
    post = posts.Posts(loop)  # type: ignore[arg-type]
    answers: list[tuple[str | None, bytes]] = []

    def ask(data: bytes, fresh: bool = False, answered: bool = True) -> None:
        def done(error: str | None, answer: dict[str, Any] | None = None) -> None:
            answers.append((error, base64.b64decode((answer or {}).get("data", ""))))

        text = base64.b64encode(data).decode()
        request = {"sender": "a", "volume": "v", "socket": "in", "fresh": fresh, "answered": answered}
        post.answer({**request, "data": text}, done)

    def turns(until: Callable[[], bool]) -> None:
        for _ in range(200):
            if until():
                return
            loop.turn()
        raise AssertionError(answers)

    ask(b"x")
    assert answers.pop() == ("the router's socket: no such file or directory", b"")
    with listening(tmp_path / "v/in") as listener:
        big = os.urandom(1 << 20)
        got = bytearray()

        def serve() -> None:
            connection, _ = listener.accept()
            while len(got) < len(big):
                got.extend(connection.recv(1 << 16))
            connection.sendall(b"ok")
            connection.recv(1)
            connection.sendall(b"and")
            connection.recv(1 << 16)
            connection.close()

        server = threading.Thread(target=serve)
        server.start()
        ask(big)
        turns(lambda: bool(answers))
        assert answers.pop() == (None, b"ok") and bytes(got) == big
        ask(b".")
        turns(lambda: bool(answers))
        assert answers.pop() == (None, b"and")
        ask(b"the end")
        turns(lambda: bool(answers))
        assert answers.pop() == ("the router has ended the connection", b"")
        server.join()
        ask(b"unanswered", answered=False)
        turns(lambda: bool(answers))
        assert answers.pop() == (None, b"")
        with listener.accept()[0] as first:
            assert first.recv(20) == b"unanswered"
            ask(b"waits")
            ask(b"instead", fresh=True)  # whoever asked first is told
            assert answers.pop() == ("the router has ended the connection", b"")
            assert first.recv(20) == b"waits" and first.recv(20) == b""
        listener.accept()[0].close()
        turns(lambda: bool(answers))
        assert not loop.handlers
