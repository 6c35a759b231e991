"""Commands at a terminal: what ECS Exec needs of every tier."""

import asyncio
import hashlib
import os

import pytest

from neargate.node.drivers.base import DriverError, Sandbox, Terminal
from tests.contracts.drivers.rig import Rig, eventually, shell
from tests.contracts.drivers.test_environment import holding

pytestmark = pytest.mark.root
PROMPT = b"/ # "


async def until(terminal: Terminal, what: bytes, seconds: float = 60) -> bytes:
    """Read until the output has `what`; all that was read."""
    seen = b""
    async with asyncio.timeout(seconds):
        while what not in seen:
            data = await terminal.read()
            assert data, f"ended before {what!r}: {seen!r}"
            seen += data
    return seen


async def rest(terminal: Terminal, seconds: float = 60) -> bytes:
    """All that still comes."""
    seen = b""
    async with asyncio.timeout(seconds):
        while data := await terminal.read():
            seen += data
    return seen


async def counted(sandbox: Sandbox, pattern: str, count: int) -> None:
    """Wait until so many processes of the container c have the pattern in their line of `ps`."""
    async with asyncio.timeout(60):
        while True:
            found = await sandbox.exec("c", ("sh", "-c", f"ps | grep -c '{pattern}'"), 30)
            if found.output == f"{count}\n".encode():
                return
            await asyncio.sleep(0.05)


async def test_a_shell_at_a_terminal(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600", environment=(("WHO", "me"),)))
    terminal = await sandbox.attach("c", ("sh",), 93, 41)
    assert terminal.exit_code is None
    await terminal.write(b"test -t 0 && stty size; echo $WHO $TERM; cat /proc/1/comm\r")
    seen = await until(terminal, b"sleep\r\n")
    assert b"41 93\r\n" in seen and b"me xterm-256color\r\n" in seen
    terminal.resize(120, 50)
    await terminal.write(b"stty size\r")
    await until(terminal, b"50 120\r\n")
    await terminal.write(b"exit 7\r")
    await rest(terminal)
    assert terminal.exit_code == 7
    await terminal.write(b"into the void")
    terminal.close()
    assert sandbox.states["c"].running


@pytest.mark.parametrize(
    ("script", "code", "output"),
    [
        ("echo out; echo err >&2", 0, b"out\r\nerr\r\n"),
        ("exit 3", 3, b""),
        ("printf last-words; exit 255", 255, b"last-words"),
        ("kill -TERM $$", 143, b""),
    ],
)
async def test_exit_codes(rig: Rig, script: str, code: int, output: bytes) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    terminal = await sandbox.attach("c", ("sh", "-c", script), 80, 24)
    assert await rest(terminal) == output
    assert terminal.exit_code == code


async def test_it_is_root_whoever_the_container_is(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600", user="web"))
    script = "id -u; id -g; echo $HOME; touch /etc/mine && chown web /etc/mine && echo could"
    terminal = await sandbox.attach("c", ("sh", "-c", script), 80, 24)
    assert (await rest(terminal)).split() == [b"0", b"0", b"/root", b"could"]


async def test_what_cannot_be_run(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"), shell("done", "exit 0"))
    with pytest.raises(DriverError, match=r"nosuch.*not found"):
        await sandbox.attach("c", ("nosuch",), 80, 24)
    await eventually(lambda: not sandbox.states["done"].running, "done has ended")
    with pytest.raises(DriverError, match="container is not running"):
        await sandbox.attach("done", ("sh",), 80, 24)


async def test_control_c_interrupts_the_command_and_not_the_shell(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    terminal = await sandbox.attach("c", ("sh",), 80, 24)
    await terminal.write(b"echo go; sleep 300\r")
    await until(terminal, b"go\r\n")
    await counted(sandbox, "[s]leep 300", 1)  # it has the terminal
    await terminal.write(b"\x03")
    await until(terminal, PROMPT)
    await terminal.write(b"echo status $?\r")
    await until(terminal, b"status 130\r\n" + PROMPT)  # a shell that reads takes a Control-D for the end
    await terminal.write(b"\x04")
    await rest(terminal)


async def test_much_output_comes_whole_however_slowly_it_is_read(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    script = "stty -opost; yes 0123456789abcde | head -c 2097152; exit 5"
    terminal = await sandbox.attach("c", ("sh", "-c", script), 80, 24)
    await asyncio.sleep(0.5)  # the window is full, and the shell waits
    other = await sandbox.exec("c", ("echo", "alive"), 20)
    assert other.output == b"alive\n"
    seen = await rest(terminal, 60)
    assert len(seen) == 2097152
    assert hashlib.sha256(seen).digest() == hashlib.sha256(b"0123456789abcde\n" * 131072).digest()
    assert terminal.exit_code == 5


async def test_input_waits_for_who_does_not_read(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    script = "stty raw -echo; echo ready; until [ -e /go ]; do sleep 0.1; done; head -c 200000 | md5sum"
    terminal = await sandbox.attach("c", ("sh", "-c", script), 80, 24)
    await until(terminal, b"ready")
    data = b"0123456789" * 20_000
    typing = asyncio.create_task(terminal.write(data))
    await asyncio.sleep(0.2)
    assert not typing.done()
    await sandbox.exec("c", ("touch", "/go"), 30)
    assert hashlib.md5(data).hexdigest().encode() in await rest(terminal)
    await typing


async def test_closed_it_ends_with_all_that_runs_at_it(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    terminal = await sandbox.attach("c", ("sh",), 80, 24)
    await terminal.write(b"trap '' HUP; sleep 4321 & sleep 1234\r")
    await until(terminal, b"sleep 1234")
    await counted(sandbox, "[s]leep 1234", 1)
    terminal.close()
    await rest(terminal)
    await counted(sandbox, "[s]leep [14]", 0)
    assert sandbox.states["c"].running
    assert terminal.exit_code in (129, 130, 137)


async def test_what_it_left_running_stays(rig: Rig) -> None:
    """As after any shell: a background process without the terminal is nobody's to kill."""
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    stays = "(trap '' HUP; : > /trapped; exec sleep 77) >/dev/null 2>&1"
    script = f"{stays} & until [ -e /trapped ]; do sleep 0.1; done; echo left"
    terminal = await sandbox.attach("c", ("sh", "-c", script), 80, 24)
    assert await rest(terminal) == b"left\r\n"
    assert terminal.exit_code == 0
    await counted(sandbox, "[s]leep 77", 1)


async def test_the_containers_end_ends_it(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"), shell("other", "exec sleep 600"))
    terminal = await sandbox.attach("c", ("sh",), 80, 24)
    await terminal.write(b"echo up\r")
    await until(terminal, b"up\r\n")
    await sandbox.signal("c", 9)
    await rest(terminal)
    assert terminal.exit_code == 137
    await sandbox.destroy()


async def test_the_sandboxs_end_ends_it(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    terminal = await sandbox.attach("c", ("sh",), 80, 24)
    await sandbox.destroy()
    await rest(terminal)


async def test_it_does_not_outlive_the_daemon(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    terminal = await sandbox.attach("c", ("sh", "-c", "trap '' HUP; while :; do sleep 0.1; done"), 80, 24)
    spec = rig.specs[sandbox.id]
    await rig.reopen()
    await rest(terminal)
    found = await rig.driver.adopt(spec, rig.directory_of(spec))
    assert found is not None and found.states["c"].running
    await counted(found, "[t]rap", 0)


async def test_several_at_once(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    terminals = await asyncio.gather(
        *(sandbox.attach("c", ("sh", "-c", f"echo n{n}; exit {n}"), 80, 24) for n in range(5))
    )
    assert [await rest(t) for t in terminals] == [f"n{n}\r\n".encode() for n in range(5)]
    assert [t.exit_code for t in terminals] == list(range(5))


async def test_its_environment_is_in_no_file(rig: Rig) -> None:
    value = "secret-of-a-terminal"
    sandbox = await rig.run(shell("c", "exec sleep 600", environment=(("VALUE", value),)))
    terminal = await sandbox.attach("c", ("sh",), 80, 24)
    await terminal.write(b"echo has ${#VALUE}\r")
    await until(terminal, b"has 20")
    os.sync()
    assert holding(rig.directory, value) == []
    terminal.close()
