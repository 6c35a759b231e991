"""The gVisor tier without a sandbox: what runsc says of itself, its control socket, causes, notes."""

import errno
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node.drivers.gvisor import runsc, verdict
from neargate.node.drivers.gvisor.sandbox import memory_of, notes
from neargate.node.drivers.gvisor.sentry import Sentry, SentryError
from neargate.node.drivers.gvisor.shim import SentryContainer, SentryShim, _in_dockers_words

MIB = 1 << 20
OLD = """  -panic-signal int
    \tregister signal handling that panics.
  -platform string
    \tspecifies which platform to use: ptrace (default), kvm. (default "ptrace")
  -platform_device_path string
    \tpath to a platform-specific device file (e.g. /dev/kvm for KVM platform), systrap too.
"""
NEW = OLD.replace("ptrace (default), kvm", "systrap (default), ptrace, kvm")


@pytest.mark.parametrize(
    ("flags", "wish", "found"),
    [
        (OLD, None, {"kvm", "ptrace"}),
        (NEW, None, {"systrap", "kvm", "ptrace"}),
        (NEW, "ptrace", {"ptrace"}),
        (OLD, "systrap", set()),
        ("", None, set()),
    ],
)
def test_platforms_are_those_of_the_version(
    monkeypatch: pytest.MonkeyPatch, flags: str, wish: str | None, found: set[str]
) -> None:
    monkeypatch.setattr(runsc, "_say", lambda *arguments: flags)
    names = runsc.platforms(wish)
    assert set(names) == found - (set() if Path("/dev/kvm").exists() else {"kvm"})
    assert names == sorted(names, key=["systrap", "kvm", "ptrace"].index)


def test_a_verdict_holds_for_one_kernel_and_one_version(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    assert verdict.read(path, "a") is None
    verdict.write(path, "a", verdict.Verdict("ptrace"))
    assert verdict.read(path, "a") == verdict.Verdict("ptrace", "")
    assert verdict.read(path, "b") is None
    for broken in ("", "[]", '{"key": "a"}'):
        path.write_text(broken)
        assert verdict.read(path, "a") is None
    assert verdict.key("1") != verdict.key("2")


@contextmanager
def sandbox(answer: Callable[[dict[str, Any]], bytes]) -> Iterator[tuple[Sentry, list[dict[str, Any]]]]:
    """A control socket that answers each request with some bytes and closes."""
    name, asked = secrets.token_hex(8), list[dict[str, Any]]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"\0runsc-sandbox.{name}\0")
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(json.loads(connection.recv(65536)))
                    data = answer(asked[-1])
                    step = 7 if len(data) < 4096 else 1 << 16
                    with suppress(OSError):  # nobody reads on
                        for at in range(0, len(data), step):
                            connection.sendall(data[at : at + step])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Sentry(name), asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def said(result: object) -> bytes:
    return json.dumps({"success": True, "err": "", "result": result}).encode()


def test_signals_and_usage_are_asked_over_the_control_socket() -> None:
    counts = {"Event": {"data": {"pids": {"current": 3}}}, "ContainerUsage": {"c": 40, "d": 60}}
    with sandbox(lambda request: said(counts if "Event" in request["Method"] else None)) as (sentry, asked):
        sentry.signal("c", 15)
        sentry.kill("c")
        sentry.kill_process("c", 7)
        assert sentry.usage("c") == (40, 100, 3)
    sent = [(r["Arg"]["Signo"], r["Arg"]["PID"], r["Arg"]["Mode"]) for r in asked[:3]]
    assert sent == [(15, 0, 0), (9, 0, 1), (9, 7, 0)]


def test_a_refusal_is_told_from_a_sandbox_that_is_gone() -> None:
    refusal = json.dumps({"success": False, "err": "no such process", "result": None}).encode()
    for data, number in ((refusal, errno.ESRCH), (b"", errno.ECONNRESET), (b'{"succ', errno.ECONNRESET)):
        with sandbox(lambda request, data=data: data) as (sentry, _):  # type: ignore[misc]
            with pytest.raises(SentryError) as failed:
                sentry.signal("c", 15)
        assert failed.value.errno == number
    with pytest.raises(SentryError) as failed:
        Sentry("nobody").kill("c")
    assert failed.value.errno == errno.ECONNREFUSED


def test_an_answer_without_end_is_not_waited_for() -> None:
    with (
        sandbox(lambda _request: b"[" + b" " * (3 << 20)) as (sentry, _),
        pytest.raises(SentryError) as failed,
    ):
        sentry.usage("c")
    assert failed.value.errno == errno.ECONNRESET


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (said(7 << 8), 7 << 8), (b"", None), (b'{"success":false}', None), (b"[]", None), (b"7", None),
        (b'{"success":true}', None), (said([1]), None), (said("9"), None), (said(1 << 80), 0),
    ],
)  # fmt: skip
def test_the_end_of_a_container_or_of_its_sandbox(data: bytes, status: int | None) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        assert Sentry.status(ours) == status


class Group:
    """A sandbox's, of which only is asked whether it was killed."""

    killed = False
    ooms = 0

    def kill(self) -> None:
        self.killed = True

    def oom_kills(self) -> int:
        return self.ooms


@pytest.fixture
def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SentryShim:
    setup = {
        "id": "s",
        "cgroup": "none",
        "v2": True,
        "directory": str(tmp_path),
        "uid_base": 0,
        "runtime": [],
        "sentry": {"sole": ""},
    }
    shim = SentryShim(setup)
    monkeypatch.setattr(shim, "sandbox_group", Group())
    return shim


@pytest.mark.parametrize(
    ("run", "running", "killed"), [("1-c", True, True), ("1-c", False, False), ("2-c", True, False)]
)
def test_only_the_sandbox_that_a_container_runs_in_is_killed_when_its_socket_closes(
    shim: SentryShim, run: str, running: bool, killed: bool
) -> None:
    told = SentryContainer(shim.setup, "c", shim)
    told.id, told.boot, told.state["running"] = run, 1, running
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        shim.watch(ours.fileno(), lambda _fd: None)
        shim._waited(told, ("1-c", 1), ours)
    assert shim.sandbox_group.killed is killed  # type: ignore[attr-defined]


@pytest.mark.parametrize(("words", "status"), [("", 2), ("a container's own", 2), ("panic: x\n", 137)])
def test_what_a_failed_kernel_ends_with_is_not_its_roots_status(
    shim: SentryShim, monkeypatch: pytest.MonkeyPatch, words: str, status: int
) -> None:
    root = SentryContainer(shim.setup, "c", shim)
    root.state["running"] = True
    shim.root, shim.containers["c"] = root, root
    (Path(shim.setup["directory"]) / "c").mkdir()
    (Path(shim.setup["directory"]) / "c/panic.log").write_text(words)
    told = []
    monkeypatch.setattr(shim, "ended", lambda _container, wait: told.append(os.waitstatus_to_exitcode(wait)))
    shim._sandbox_ended(shim.boots, 2 << 8)
    assert [128 - code if code < 0 else code for code in told] == [status]


@pytest.mark.parametrize(
    ("ooms", "cause"),
    [(0, "the runtime ended without a cause"), (1, "the task's memory ran out during the start")],
)
def test_a_start_that_memory_ran_out_in_says_so(shim: SentryShim, ooms: int, cause: str) -> None:
    failing = SentryContainer(shim.setup, "c", shim)
    shim.sandbox_group.ooms = ooms  # type: ignore[attr-defined]
    assert failing.failed() == cause


STARTING = "running container: starting sub-container [x]: "


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        (
            f'{STARTING}error finding executable "x" in PATH [/bin]: no such file or directory',
            'exec: "x": executable file not found in $PATH',
        ),
        (
            f"{STARTING}creating process: failed to load x: permission denied",
            'exec: "x": permission denied',
        ),
        ("creating container: EOF", "creating container: EOF"),
    ],
)
def test_causes_in_dockers_words(told: str, cause: str) -> None:
    assert _in_dockers_words(told, "x") == cause


def container(name: str, **settings: Any) -> ContainerSpec:
    return ContainerSpec(name=name, image="i", runtime_id=f"{name}-1", **settings)


def task(*containers: ContainerSpec) -> SandboxSpec:
    return SandboxSpec(id="a" * 32, containers=containers, interface=None, cpu=256, memory=512 * MIB)


def test_the_sandbox_is_held_to_the_task_or_to_all_its_containers() -> None:
    limited = container("a", memory=100 * MIB)
    assert memory_of(task()) == memory_of(task(limited, container("b"))) == 512 * MIB
    assert memory_of(task(limited)) == 100 * MIB
    assert memory_of(task(limited, container("b", memory=600 * MIB))) == 512 * MIB


def test_what_has_no_effect_is_said() -> None:
    plain = container("a", sysctls=(("net.core.somaxconn", "1"),))
    limited = container("b", memory=100 * MIB)
    assert list(notes(task(limited), limited)) == []
    assert ["somaxconn" in note for note in notes(task(plain, limited), plain)] == [True]
    assert ["one memory limit" in note for note in notes(task(plain, limited), limited)] == [True]
