"""The contract of a driver: containers start, say what they do, end, start again, and are found again."""

import asyncio
import contextlib
import os
import secrets
import signal
from pathlib import Path

import pytest

from neargate.model.sandbox import LogSink, Mount, Ulimit
from neargate.node.drivers.base import DriverError, DriverUnavailable
from neargate.node.drivers.process import ProcessDriver
from neargate.node.linked import LinkedSandbox
from tests.contracts.drivers.rig import MIB, Rig, ended, eventually, lines, new_driver, only, shell
from tests.contracts.drivers.traces import alive, comm, mounts, populated, processes, traces

pytestmark = pytest.mark.root


async def test_output_exit_code_and_times_of_a_container(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "echo out; echo err >&2; printf rest; exit 7"))
    assert await ended(sandbox, "c") == 7
    state = sandbox.states["c"]
    assert state.started_at is not None and state.stopped_at is not None
    assert 0 <= state.stopped_at - state.started_at < 30
    assert (state.running, state.oom_killed, state.restarts, state.pid) == (False, False, 0, None)
    assert lines(sandbox, "c", 1) == "out\nrest"
    assert lines(sandbox, "c", 2) == "err\n"
    assert (sandbox.spool("c") / "end").read_text() == str(
        sum(p.stat().st_size for p in sandbox.spool("c").glob("*.seg"))
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
async def test_exit_code_of_a_signal_is_128_and_its_number(rig: Rig, number: int) -> None:
    sandbox = await rig.run(shell("c", "echo ready; exec sleep 600", init=True))
    await eventually(lambda: "ready" in lines(sandbox, "c"), "the init forwards signals")
    await sandbox.signal("c", number)
    assert await ended(sandbox, "c") == 128 + number
    await sandbox.signal("c", number)  # ended: no error


async def test_sigterm_can_be_handled(rig: Rig) -> None:
    sandbox = await rig.run(
        shell("c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    )
    await eventually(lambda: "ready" in lines(sandbox, "c"), "trap set")
    await sandbox.signal("c", signal.SIGTERM)
    assert await ended(sandbox, "c") == 3
    assert lines(sandbox, "c") == "ready\nbye\n"


async def test_containers_share_interface_and_localhost(rig: Rig) -> None:
    server = shell("server", "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp")
    client = shell(
        "client",
        "until wget -qO- http://127.0.0.1:8080/; do sleep 0.1; done",
    )
    sandbox = await rig.run(server, client)
    assert await ended(sandbox, "client") == 0
    assert lines(sandbox, "client", 1) == "hello\n"
    assert sandbox.states["server"].running


async def test_the_host_reaches_a_task_at_its_address_and_tasks_each_other(rig: Rig) -> None:
    server = await rig.run(shell("c", "echo page > /tmp/index.html; exec httpd -f -p 80 -h /tmp", user="web"))
    interface = rig.specs[server.id].interface
    assert interface is not None

    async def fetched() -> bytes:
        for _ in range(3000):
            try:
                reader, writer = await asyncio.open_connection(interface.address, 80)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer
        raise AssertionError("nobody listens")

    assert b"page" in await fetched()
    assert await rig.output(f"wget -qO- http://{interface.address}/") == "page\n"


async def test_interface_has_its_address_mac_names_and_resolver(rig: Rig) -> None:
    sandbox = await rig.run(
        shell("c", "ip addr show eth0; ip route; cat /etc/hosts /etc/resolv.conf; hostname")
    )
    await ended(sandbox, "c")
    text, interface = lines(sandbox, "c"), rig.specs[sandbox.id].interface
    assert interface is not None
    assert f"inet {interface.address}/32" in text and f"link/ether {interface.mac}" in text
    assert f"default via {interface.gateway}" in text
    assert f"{interface.address} {interface.dns_name}" in text and "nameserver 192.0.2.53" in text
    assert text.endswith(f"{interface.dns_name}\n")


async def test_a_task_does_not_reach_the_host(rig: Rig) -> None:
    server = await asyncio.start_server(
        lambda r, w: w.close(), "0.0.0.0"
    )  # like a door that listens everywhere
    async with server:
        port = server.sockets[0].getsockname()[1]
        net = rig.cidr.removesuffix(".0.0/16")
        text = await rig.output(
            f"nc -w 1 {net}.0.1 {port} </dev/null; echo $?; nc -w 1 192.0.2.2 {port} </dev/null; echo $?; "
            f"ping -c 1 -W 20 {net}.0.1 >/dev/null; echo $?"
        )
    assert [line for line in text.splitlines() if line.isdigit()] == ["1", "1", "0"]


@pytest.mark.parametrize(
    ("command", "settings", "cause"),
    [
        (("nosuch",), {}, 'exec: "nosuch": executable file not found in $PATH'),
        (("/etc/notexec",), {}, 'exec: "/etc/notexec": permission denied'),
        (("true",), {"user": "ghost"}, "unable to find user ghost: no matching entries in passwd file"),
        (("true",), {"user": "web:ghost"}, "unable to find group ghost: no matching entries in group file"),
        (("true",), {"working_directory": "/etc/passwd"}, "mkdir /etc/passwd: not a directory"),
        (None, {}, "no command specified"),
    ],
)
async def test_a_start_that_fails_says_why_and_leaves_the_sandbox_usable(
    rig: Rig, command: tuple[str, ...] | None, settings: dict[str, str], cause: str
) -> None:
    sandbox = await rig.open()
    with pytest.raises(DriverError) as failed:
        await sandbox.start(shell("c", "", command=command, **settings), rig.image())
    assert str(failed.value) == cause
    assert dict(sandbox.states) == {}
    await sandbox.start(shell("c", "exit 5"), rig.image())
    assert await ended(sandbox, "c") == 5


async def test_a_restarted_container_has_a_fresh_root_and_goes_on_in_its_spool(rig: Rig) -> None:
    container = shell("c", "ls /made 2>/dev/null; touch /made; echo run")
    sandbox = await rig.run(container)
    await ended(sandbox, "c")
    first = sandbox.states["c"]
    await sandbox.start(container, rig.image())
    await eventually(
        lambda: sandbox.states["c"].restarts == 1 and not sandbox.states["c"].running, "second end"
    )
    await eventually((sandbox.spool("c") / "end").exists, "end")
    assert lines(sandbox, "c") == "run\nrun\n"
    assert (sandbox.states["c"].started_at or 0) > (first.started_at or 0)


async def test_exec_runs_inside_and_is_cut_off(rig: Rig) -> None:
    script = "echo mark > /mark; echo made; exec sleep 600"
    sandbox = await rig.run(shell("c", script, environment=(("WHO", "me"),)))
    await eventually(lambda: sandbox.states["c"].running and "made" in lines(sandbox, "c"), "running")
    result = await sandbox.exec("c", ("sh", "-c", "cat /mark; echo $WHO >&2; exit 4"), 30)
    assert (result.exit_code, result.output, result.timed_out) == (4, b"mark\nme\n", False)
    for _ in range(20 if rig.tier == "gvisor" else 1):  # which said "I/O error" of one in twenty
        long = await sandbox.exec("c", ("sh", "-c", "yes | head -c 100000"), 30)
        assert (long.exit_code, len(long.output)) == (0, 4096)
    started = asyncio.get_running_loop().time()
    slow = await sandbox.exec("c", ("sleep", "60"), 0.3)
    assert slow.timed_out and asyncio.get_running_loop().time() - started < 50
    missing = await sandbox.exec("c", ("nosuch",), 30)
    assert missing.exit_code != 0
    await sandbox.signal("c", signal.SIGKILL)
    await ended(sandbox, "c")
    with pytest.raises(DriverError):
        await sandbox.exec("c", ("true",), 30)


async def test_usage_counts(rig: Rig) -> None:
    sandbox = await rig.run(
        shell("c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; echo done; sleep 600")
    )
    await eventually(lambda: "done" in lines(sandbox, "c"), "the loop is over")
    usage = await sandbox.usage("c")
    assert usage.cpu_seconds > 0.005 and usage.pids >= 1
    assert 0 < usage.memory_bytes <= usage.memory_peak_bytes < 64 * MIB
    assert usage.memory["pgfault"] > 0 and usage.memory["cache"] + usage.memory["rss"] > 0
    await sandbox.signal("c", signal.SIGKILL)
    await ended(sandbox, "c")
    assert (await sandbox.usage("c")).cpu_seconds >= usage.cpu_seconds


async def test_adopted_by_a_new_daemon_with_states_and_logs(rig: Rig) -> None:
    runs = shell("runs", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done")
    ends = shell("ends", "sleep 0.3; echo last; exit 9")
    sandbox = await rig.run(runs, ends)
    spec, directory = rig.specs[sandbox.id], rig.directory_of(rig.specs[sandbox.id])
    pid = sandbox.states["runs"].pid
    await rig.driver.__aexit__(None, None, None)
    await eventually((sandbox.spool("ends") / "end").exists, "one ends without a daemon")
    rig.driver = rig.new_driver()
    await rig.driver.__aenter__()
    again = await rig.driver.adopt(spec, directory)
    assert again is not None and not again.lost
    assert again.states["runs"].running and again.states["runs"].pid == pid
    await eventually(lambda: not again.states["ends"].running, "its end is told")
    assert again.states["ends"].exit_code == 9 and lines(again, "ends") == "last\n"
    await again.start(shell("more", "exit 6"), rig.image())
    assert await ended(again, "more") == 6
    await eventually(lambda: lines(again, "runs").count("\n") > 10, "it writes on")
    await again.destroy()
    written = lines(again, "runs").split()
    assert written == [str(n) for n in range(len(written))] and len(written) > 10


async def test_adopt_finds_nothing_where_nothing_ran(rig: Rig) -> None:
    spec = rig.spec()
    assert await rig.driver.adopt(spec, rig.directory_of(spec)) is None


async def test_a_killed_shim_is_a_lost_sandbox_whose_containers_are_killed(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "sleep 600 & exec sleep 600"))
    told = asyncio.Event()
    sandbox.watch(told.set)
    await _kill_shim(rig, sandbox.id)
    await asyncio.wait_for(told.wait(), 60)
    await eventually(lambda: sandbox.lost and not sandbox.states["c"].running, "lost")
    await eventually(lambda: not [p for p in processes(rig.instance) if "container" in p], "all killed")
    await sandbox.destroy()
    with pytest.raises(DriverError):
        await sandbox.start(shell("d", "true"), rig.image())


async def test_a_broken_connection_is_no_lost_sandbox(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    assert isinstance(sandbox, LinkedSandbox)
    for _ in range(3):
        broken = sandbox.link
        broken.break_off()
        await eventually(lambda broken=broken: sandbox.link is not broken, "connected again")  # type: ignore[misc]
        await asyncio.sleep(0.02)
    await sandbox.start(shell("d", "exit 4"), rig.image())
    assert await ended(sandbox, "d") == 4 and sandbox.states["c"].running and not sandbox.lost


async def test_a_shim_killed_while_no_daemon_ran_is_adopted_as_lost(rig: Rig) -> None:
    sandbox = await rig.run(shell("done", "exit 3"), shell("c", "sleep 600"))
    await ended(sandbox, "done")
    await rig.driver.__aexit__(None, None, None)
    await _kill_shim(rig, sandbox.id)
    rig.driver = rig.new_driver()
    await rig.driver.__aenter__()
    spec = rig.specs[sandbox.id]
    again = await rig.driver.adopt(spec, rig.directory_of(spec))
    assert again is not None and again.lost
    assert again.states["done"].exit_code == 3
    assert not again.states["c"].running and again.states["c"].exit_code == 137
    await again.destroy()
    await eventually(lambda: not [p for p in processes(rig.instance) if "container" in p], "all killed")


async def _kill_shim(rig: Rig, sandbox: str) -> None:
    """And wait until it is dead: until then it may answer."""
    import json

    pid = json.loads((rig.directory / "driver/shims" / sandbox).read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not alive(pid), "the shim is dead")


async def test_destroy_is_idempotent_quick_and_leaves_the_spool(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "echo kept; trap '' TERM; while :; do sleep 1; done"))
    await eventually(lambda: "kept" in lines(sandbox, "c"), "output")
    await sandbox.destroy()
    await sandbox.destroy()
    assert not sandbox.states["c"].running and not sandbox.lost
    assert lines(sandbox, "c") == "kept\n"
    assert [p.name for p in rig.directory_of(rig.specs[sandbox.id]).iterdir()] == ["spool"]


async def test_sweep_removes_only_what_nobody_claims(rig: Rig) -> None:
    kept = await rig.run(shell("c", "sleep 600"))
    await rig.run(shell("c", "sleep 600"))
    await rig.reopen()  # the new daemon knows of none
    await rig.driver.sweep({kept.id})
    spec = rig.specs[kept.id]
    again = await rig.driver.adopt(spec, rig.directory_of(spec))
    assert again is not None and again.states["c"].running
    await eventually(lambda: populated(rig.instance) == {kept.id}, "only what is claimed runs")


async def test_no_mount_is_visible_on_the_host(rig: Rig) -> None:
    await rig.run(shell("c", "sleep 600"))
    assert str(rig.directory) not in Path("/proc/self/mountinfo").read_text()
    assert mounts(rig.directory)  # the finder finds


async def test_opening_again_after_a_crash_starts_anew(rig: Rig) -> None:
    spec = rig.spec()
    first = await rig.driver.open(spec, rig.directory_of(spec))
    await first.start(shell("c", "sleep 600"), rig.image())
    await rig.reopen()
    second = await rig.driver.open(spec, rig.directory_of(spec))
    assert dict(second.states) == {}
    await second.start(shell("c", "exit 0"), rig.image())
    assert await ended(second, "c") == 0


async def test_two_daemons_need_two_ranges(rig: Rig, tmp_path: Path) -> None:
    instance = secrets.token_hex(3)
    other = new_driver(rig.tier, tmp_path / "other", instance, rig.cidr)
    with pytest.raises(DriverUnavailable, match=rf"{rig.cidr}.*overlaps.*{rig.instance}"):
        await other.__aenter__()
    host = new_driver(rig.tier, tmp_path / "host", instance, "127.0.0.0/8")
    with pytest.raises(DriverUnavailable, match=r"127\.0\.0\.0/8"):
        await host.__aenter__()


@only("process", why="it is about the OCI runtimes that this tier chooses from")
async def test_a_machine_that_cannot_run_containers_says_why(rig: Rig, tmp_path: Path) -> None:
    instance, cidr = secrets.token_hex(3), "10.250.0.0/16"
    other = ProcessDriver(tmp_path / "other", instance, cidr, runtime="runc", user_namespaces=True)
    with pytest.raises(DriverUnavailable, match="apt-get install crun"):
        await other.__aenter__()
    assert traces(instance, tmp_path / "other") == []


async def test_volumes_are_shared_and_may_be_read_only(rig: Rig) -> None:
    writer = shell("w", "echo data > /vol/file; exec sleep 600", mounts=(Mount(volume="v", target="/vol"),))
    reader = shell(
        "r",
        "until [ -s /in/file ]; do sleep 0.1; done; cat /in/file; echo > /in/file",
        mounts=(Mount(volume="v", target="/in", readonly=True),),
    )
    taker = shell(
        "t", "cat /vol/file && echo more >> /vol/file && cat /vol/file", volumes_from=(("w", False),)
    )
    sandbox = await rig.open(writer, reader, taker, volumes=("v",))
    for container in (writer, reader):
        await sandbox.start(container, rig.image())
    assert await ended(sandbox, "r") != 0
    assert lines(sandbox, "r", 1) == "data\n" and "Read-only file system" in lines(sandbox, "r", 2)
    await sandbox.start(taker, rig.image())  # not before: the reader would read what it adds
    assert await ended(sandbox, "t") == 0
    assert lines(sandbox, "t", 1) == "data\ndata\nmore\n"


async def test_a_new_volume_begins_as_the_image_declares_it(rig: Rig) -> None:
    """AWS's pattern for volumes of users other than root: VOLUME in the Dockerfile, with owner and mode."""
    mounts = (Mount(volume="v", target="/home/web"), Mount(volume="w", target="/data"))
    sandbox = await rig.open(volumes=("v", "w"))
    script = "cat kept; touch x && stat -c '%U %a' .; touch /data/x || stat -c %U /data"
    container = shell("c", script, user="web", mounts=mounts, working_directory="/home/web")
    await sandbox.start(container, rig.image(volumes=("/home/web", "/missing")))
    assert await ended(sandbox, "c") == 0
    assert lines(sandbox, "c", 1) == "kept\nweb 750\nroot\n"


async def test_ulimits_are_set_and_held_to_the_machines_maximum(rig: Rig) -> None:
    import resource

    # a guest's limits are its own machine's
    most = 1 << 20 if rig.tier == "microvm" else resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert await rig.output("ulimit -Sn; ulimit -Hn") == f"{min(most, 65535)}\n{min(most, 65535)}\n"
    settings = (Ulimit(name="nofile", soft=512, hard=1 << 20), Ulimit(name="core", soft=0, hard=0))
    assert (
        await rig.output("ulimit -Sn; ulimit -Hn; ulimit -c", ulimits=settings)
        == f"512\n{min(most, 1 << 20)}\n0\n"
    )


async def test_without_a_log_sink_output_is_thrown_away(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "yes | head -c 1000000; exit 2", log=None))
    assert await ended(sandbox, "c") == 2
    assert not sandbox.spool("c").exists()


async def test_non_blocking_log_drops_the_newest_and_counts(rig: Rig) -> None:
    sink = LogSink(group="g", stream="s", mode="non-blocking", max_buffer_bytes=MIB)
    sandbox = await rig.run(shell("c", "yes abcdefg | head -c 8388608; exit 0", log=sink))
    assert await ended(sandbox, "c") == 0
    kept = lines(sandbox, "c")
    dropped = [int(n) for n in (sandbox.spool("c") / "dropped").read_text().split()]
    assert MIB // 2 < len(kept) <= MIB and set(kept.splitlines()) == {"abcdefg"}
    assert len(kept) + dropped[1] == 8388608 and len(kept.splitlines()) + dropped[0] == 8388608 // 8


async def test_blocking_log_waits_for_the_reader_and_loses_nothing(rig: Rig) -> None:
    sink = LogSink(group="g", stream="s", mode="blocking", max_buffer_bytes=256 * 1024)
    sandbox = await rig.run(shell("c", "seq 1 200000", log=sink))
    spool, text, taken = sandbox.spool("c"), b"", 0
    async with asyncio.timeout(90):
        while not (spool / "end").exists() or len(list(spool.glob("*.seg"))) > 1:
            kept = sorted(spool.glob("*.seg"))
            assert sum(p.stat().st_size for p in kept) < 512 * 1024
            for segment in kept[:-1]:
                text += b"".join(p for _, _, p in _frames_of(segment))
                segment.unlink()
                taken += 1
            await asyncio.sleep(0.01)
    text += b"".join(p for _, _, p in _frames_of(min(spool.glob("*.seg"))))
    assert text.split() == [str(n).encode() for n in range(1, 200001)] and taken > 3


def _frames_of(segment: Path) -> list[tuple[int, int, bytes]]:
    from neargate.node.spool import FRAME

    data, at, found = segment.read_bytes(), 0, []
    while at < len(data):
        stream, flags, _, length, _ = FRAME.unpack_from(data, at)
        at += FRAME.size + length
        found.append((stream, flags, data[at - length : at]))
    return found


@only("process", why="it is about the OCI runtimes that this tier chooses from")
async def test_runc_does_the_same(rig: Rig) -> None:
    """The fallback where crun is missing."""
    await rig.driver.__aexit__(None, None, None)
    rig.driver = ProcessDriver(rig.directory / "driver", rig.instance, rig.cidr, runtime="runc")
    await rig.driver.__aenter__()
    sandbox = await rig.run(
        shell("c", "echo $(id -u) > /tmp/x; echo here; unshare -n true || exit 7", user="web")
    )
    assert await ended(sandbox, "c") == 7
    assert lines(sandbox, "c", 1) == "here\n"
    long = await rig.run(shell("c", "exec sleep 600", init=True))
    assert (await long.exec("c", ("sh", "-c", "echo in; exit 4"), 30)).output == b"in\n"
    assert (await long.exec("c", ("sleep", "30"), 0.5)).timed_out
    with pytest.raises(DriverError, match=r'^exec: "nosuch": executable file not found in \$PATH$'):
        await long.start(shell("d", "", command=("nosuch",)), rig.image())
    hog = await rig.run(shell("c", "exec tail /dev/zero", memory=16 * MIB))
    assert await ended(hog, "c") == 137 and hog.states["c"].oom_killed


async def test_a_killed_zygote_comes_again(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    pids = [int(p.split()[-1]) for p in processes(rig.instance)]
    zygote = next(pid for pid in pids if comm(pid) == "neargate-zygote")
    os.kill(zygote, signal.SIGKILL)
    again = await rig.run(shell("c", "exit 3"))
    assert await ended(again, "c") == 3
    await sandbox.start(shell("d", "exit 4"), rig.image())
    assert await ended(sandbox, "d") == 4 and sandbox.states["c"].running


async def test_a_cancelled_open_or_start_leaves_nothing(rig: Rig) -> None:
    for delay in (0, 0.001, 0.003, 0.006, 0.01, 0.02, 0.03):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await rig.run(shell("c", "exec sleep 600"))
    for sandbox in rig.sandboxes:
        await sandbox.destroy()
    await eventually(lambda: not [p for p in processes(rig.instance) if "container" in p], "no container")
    await eventually(lambda: not list((rig.directory / "driver/shims").iterdir()), "no record")


async def test_destroy_while_a_container_starts(rig: Rig) -> None:
    sandbox = await rig.open()
    start = asyncio.ensure_future(sandbox.start(shell("c", "exec sleep 600"), rig.image()))
    await asyncio.sleep(0.005)
    await sandbox.destroy()
    await asyncio.gather(start, return_exceptions=True)
    await eventually(lambda: not [p for p in processes(rig.instance) if "container" in p], "no container")
    with pytest.raises(DriverError):
        await sandbox.start(shell("d", "true"), rig.image())


async def test_many_sandboxes_are_adopted_at_once(rig: Rig) -> None:
    many = {"process": 40}.get(rig.tier, 5)
    async with asyncio.TaskGroup() as group:
        for _ in range(many):
            group.create_task(rig.run(shell("c", "exec sleep 600")))
    await rig.reopen()
    started = asyncio.get_running_loop().time()
    found = await asyncio.gather(*(rig.driver.adopt(s, rig.directory_of(s)) for s in rig.specs.values()))
    assert all(s is not None and s.states["c"].running for s in found) and len(found) == many
    assert asyncio.get_running_loop().time() - started < 10  # a quick machine needs 0.03
