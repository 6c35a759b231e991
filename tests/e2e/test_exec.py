"""ECS Exec for real: our CLI at a terminal, the stock aws CLI with a plugin not ours, a killed daemon."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.support.images import busybox_image
from tests.support.real import BIN, RealDaemon, eventually, nothing_left

pytestmark = pytest.mark.root

ROLE = "arn:aws:iam::000000000000:role/task"


class Screen:
    """A program at a terminal of 100 columns and 30 rows, as a person at a keyboard has it."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self.pid, self._fd = pty.fork()
        if not self.pid:
            # as readline leaves them where this process runs, for a terminal that is not this one
            told = {k: v for k, v in environment.items() if k not in ("COLUMNS", "LINES")}
            os.execvpe(argv[0], argv, told)
        self.resize(100, 30)
        self.seen = b""
        self.status: int | None = None

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self._fd, text)

    def until(self, what: bytes, seconds: float = 60) -> bytes:
        """Wait until the screen shows it, beyond what was waited for before."""
        deadline = time.monotonic() + seconds
        while what not in self.seen:
            assert time.monotonic() < deadline, f"{what!r} does not show: {self.seen[-2000:]!r}"
            if not self._read():
                raise AssertionError(f"the program ended before {what!r}: {self.seen[-2000:]!r}")
        before, _, self.seen = self.seen.partition(what)
        return before

    def _read(self) -> bool:
        if select.select([self._fd], [], [], 0.1)[0]:
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                data = b""
            self.seen += data
            return bool(data)
        return True

    def end(self, seconds: float = 60) -> int:
        """Its exit status, once it has ended."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, f"it does not end: {self.seen[-2000:]!r}"
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._fd)
        return self.status

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._fd)


def enabled_task(stack: Stack, *containers: dict[str, Any], **more: Any) -> str:
    """A running task in which commands can be run."""
    definition = stack.ecs.register_task_definition(
        family="exec", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
        executionRoleArn=ROLE, taskRoleArn=ROLE,
        containerDefinitions=list(containers or (stack.container(),)), **more,
    )["taskDefinition"]["taskDefinitionArn"]  # fmt: skip
    arn = stack.run_definition(definition, enableExecuteCommand=True)
    stack.wait(arn, "RUNNING")
    return arn


@pytest.fixture(scope="module")
def task(stack: Stack) -> Iterator[str]:
    arn = enabled_task(stack, stack.container(), stack.container(name="side", essential=False, user="65534"))
    yield arn
    stack.stop(arn)


@pytest.fixture
def screens() -> Iterator[list[Screen]]:
    opened: list[Screen] = []
    yield opened
    for screen in opened:
        screen.close()


def at_screen(screens: list[Screen], daemon: RealDaemon, *arguments: str) -> Screen:
    screen = Screen([str(BIN / "neargate"), *arguments], daemon.environment)
    screens.append(screen)
    return screen


def interrupted(screen: Screen) -> None:
    """A command at the shell on the screen, once it has the terminal, by a Control-C."""
    command = f"sleep {100_000 + os.getpid()}"
    screen.type(command.encode() + b"\r")
    eventually(lambda: processes_with(command.replace(" ", "\0").encode()), "it sleeps")
    screen.until(command.encode())
    screen.type(b"\x03")


def short(task: str) -> str:
    return task.rsplit("/", 1)[1][:12]


def test_our_cli_at_a_terminal(stack: Stack, task: str, screens: list[Screen]) -> None:
    screen = at_screen(screens, stack.daemon, "exec", "-it", short(task), "--container", "main", "sh")
    screen.until(b"# ")
    screen.type(b"stty size; id -u\r")
    screen.until(b"30 100\r\n0\r\n")
    screen.resize(133, 44)
    screen.until(b"# ")
    screen.type(b"until stty size | grep '44 13[3]'; do sleep 0.1; done\r")
    screen.until(b"44 133\r\n")
    interrupted(screen)
    screen.until(b"# ")
    screen.type(b"echo after $?\r")
    screen.until(b"after 130")
    screen.type(b"exit 42\r")
    assert screen.end() == 42


def test_our_cli_passes_exit_codes_and_output_on(stack: Stack, task: str) -> None:
    one = ["exec", "-it", short(task), "--container=side"]
    done = stack.daemon.cli(*one, "sh", "-c", "id -u; exit 9", check=False)
    assert (done.returncode, done.stdout.split()) == (9, ["0"])
    done = stack.daemon.cli(*one, "nosuch", check=False)
    assert done.returncode == 1
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stderr
    done = stack.daemon.cli("exec", "-it", short(task), "sh", check=False)
    assert (done.returncode, "container name is required" in done.stderr) == (1, True)


def test_a_megabyte_through_our_cli(stack: Stack, task: str) -> None:
    script = "stty -opost; yes 0123456789abcde | head -c 1048576"
    done = stack.daemon.cli("exec", "-it", short(task), "--container", "main", "sh", "-c", script)
    assert len(done.stdout) == 1048576
    assert done.stdout == "0123456789abcde\n" * 65536


def test_not_enabled(stack: Stack) -> None:
    arn = stack.run(stack.container())
    stack.wait(arn, "RUNNING")
    done = stack.daemon.cli("exec", "-it", short(arn), "sh", check=False)
    assert done.returncode == 1
    assert "execute command was not enabled when the task was run" in " ".join(done.stderr.split())
    stack.stop(arn)


PLUGIN = """#!/bin/sh
# What the aws CLI looks for by this name is pyssm-client here: {bin}/pyssm, unmodified.
case "${{1-}}" in
    "" | --version) echo 1.2.312.0 ;;
    *) exec "{bin}/pyssm" connect "$1" ;;
esac
"""


def test_the_stock_aws_cli_with_a_foreign_plugin(
    stack: Stack, task: str, tmp_path: Path, screens: list[Screen]
) -> None:
    plugin = tmp_path / "session-manager-plugin"
    plugin.write_text(PLUGIN.format(bin=BIN))
    plugin.chmod(0o755)
    environment = stack.daemon.aws_environment()
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    arguments = ["--cluster", "e2e", "--task", task, "--container", "main", "--interactive"]
    arguments += ["--command", "/bin/sh"]
    screen = Screen([str(BIN / "aws"), "ecs", "execute-command", *arguments], environment)
    screens.append(screen)
    screen.until(b"# ")
    screen.type(b"expr 20 + 22; stty size\r")
    screen.until(b"42\r")
    screen.until(b"30 100")
    interrupted(screen)
    screen.until(b"# ")
    screen.type(b"echo still $?\r")
    screen.until(b"still 130")
    screen.type(b"exit\r")
    screen.end()


def test_a_foreign_client_runs_a_command(stack: Stack, task: str) -> None:
    """pyssm-client's own way: StartSession, a shell, and the exit status by an echo."""
    runtime = next(c["runtimeId"] for c in stack.describe(task)["containers"] if c["name"] == "main")
    target = f"ecs:e2e_{task.rsplit('/', 1)[1]}_{runtime}"
    environment = stack.daemon.aws_environment()
    command = [str(BIN / "pyssm"), "exec", "--target", target, "--command", "echo one two; exit 5"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert "one two" in done.stdout, done
    assert done.returncode == 5, done


def processes_with(word: bytes) -> list[int]:
    """Those of this machine with the word in their command line, beside ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if word in line and b"neargate" not in line:
            found.append(int(path.parent.name))
    return found


def test_a_killed_daemon_leaves_no_command_behind(tmp_path: Path, screens: list[Screen]) -> None:
    with nothing_left(tmp_path / "data"), RealDaemon(tmp_path / "data") as daemon:
        layout = busybox_image(tmp_path)
        stack = Stack(daemon, daemon.push(layout, "busybox"))
        stack.ecs.create_cluster(clusterName="e2e")
        daemon.client("logs").create_log_group(logGroupName="/e2e")
        arn = enabled_task(stack)
        word = f"mark-{os.getpid()}"
        script = f"trap '' HUP; while :; do sleep 0.2; done; echo {word}"
        screen = at_screen(screens, daemon, "exec", "-it", short(arn), "sh", "-c", script)
        eventually(lambda: processes_with(word.encode()), "the command runs")
        daemon.kill()
        assert screen.end() == 1
        eventually(lambda: not processes_with(word.encode()), "the command has ended")
        daemon.up()
        assert stack.describe(arn)["lastStatus"] == "RUNNING"
        kept = daemon.client("ssm").describe_sessions(State="History")["Sessions"]
        assert [s["Details"] for s in kept] == ["The daemon stopped."]
        assert daemon.client("ssm").describe_sessions(State="Active")["Sessions"] == []
        done = daemon.cli("exec", "-it", short(arn), "echo again")
        assert done.stdout == "again\n"
