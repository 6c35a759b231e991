"""The contract of a driver, second part: what a container gets, is held to, and cannot do."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from neargate.model.sandbox import LogSink, Tmpfs
from neargate.node.drivers.base import Sandbox
from neargate.node.drivers.process import bases
from neargate.node.shim.birth import FIRST_BASE
from tests.contracts.drivers.rig import MIB, Rig, ended, eventually, lines, only, shell
from tests.contracts.drivers.traces import processes

pytestmark = pytest.mark.root


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("web", "uid=1000(web) gid=1001(web) groups=50(staff),60(logs),1001(web)"),
        ("1000", "uid=1000(web) gid=1001(web) groups=50(staff),60(logs),1001(web)"),
        ("4242", "uid=4242 gid=0(root) groups=0(root)"),
        ("4242:77", "uid=4242 gid=77 groups=77"),
        ("web:staff", "uid=1000(web) gid=50(staff) groups=50(staff)"),
        (None, "uid=0(root) gid=0(root) groups=0(root)"),
    ],
)
async def test_users(rig: Rig, user: str | None, expected: str) -> None:
    text = await rig.output("id", user=user)
    assert text.strip() == expected


async def test_home_environment_and_work_directory(rig: Rig) -> None:
    text = await rig.output(
        "pwd; echo $HOME $A $B; touch x 2>&1 && echo made",
        user="web",
        environment=(("A", "1"), ("B", "two words")),
        working_directory="/srv/new/deep",
    )
    assert text.splitlines()[:2] == ["/srv/new/deep", "/home/web 1 two words"]
    assert "Permission denied" in text
    assert await rig.output("pwd; ls", working_directory="/outside/made") == "/etc/made\n"


async def test_command_and_entrypoint_rules_of_docker(rig: Rig) -> None:
    image = rig.image(
        entrypoint=("echo", "entry"), cmd=("cmd",), env=("A=image", "B=image"), working_dir="/tmp"
    )
    sandbox = await rig.open()
    both = shell("both", "", command=None)
    command = shell("command", "", command=("mine",))
    entry = shell("entry", "", entrypoint=("echo", "own"), command=None)
    env = shell(
        "env", "", entrypoint=("sh", "-c", "echo $A $B $PWD"), environment=(("B", "mine"),), command=None
    )
    for container, expected in (
        (both, "entry cmd\n"), (command, "entry mine\n"), (entry, "own\n"), (env, "image mine /tmp\n"),
    ):  # fmt: skip
        await sandbox.start(container, image)
        assert await ended(sandbox, container.name) == 0
        assert lines(sandbox, container.name) == expected


async def test_read_only_root_with_writable_tmpfs_and_shm(rig: Rig) -> None:
    text = await rig.output(
        "touch /x 2>&1 || echo refused; touch /run/x /dev/shm/x && echo fine; df -k /run | tail -1",
        readonly_rootfs=True,
        tmpfs=(Tmpfs(target="/run", size=8 * MIB, options=("mode=1777", "size=1", "bind")),),
    )
    assert "Read-only file system" in text and "refused\nfine" in text and " 8192 " in text


async def test_init_reaps_and_passes_signals_on(rig: Rig) -> None:
    text = await rig.output("cat /proc/1/comm; echo $$", init=True)
    assert text.split()[0] in ("init", "tini-static", "tini") and text.split()[1] != "1"


async def test_terminal(rig: Rig) -> None:
    text = await rig.output("[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo $TERM", tty=True)
    assert text == "xterm\r\n"


async def test_capabilities_are_dockers_less_drop_plus_add(rig: Rig) -> None:
    script = "grep -E 'Cap(Eff|Bnd|Prm|Inh|Amb)|NoNewPrivs|Seccomp:' /proc/self/status"
    default = dict(line.split(":\t") for line in (await rig.output(script)).splitlines())
    assert default["CapEff"] == default["CapBnd"] == default["CapPrm"] == "00000000a80425fb"
    assert default["CapInh"] == default.get("CapAmb", default["CapInh"]) == "0000000000000000"
    assert rig.tier == "gvisor" or default["Seccomp"] == "2"  # its system calls are not this machine's
    changed = await rig.output(script, capabilities_add=("SYS_PTRACE",), capabilities_drop=("ALL",))
    assert "CapBnd:\t0000000000080000" in changed


@only("process", why="the gVisor kernel has no such sysctls; the driver says so in the log")
async def test_sysctls(rig: Rig) -> None:
    text = await rig.output(
        "cd /proc/sys; cat net/core/somaxconn kernel/msgmax net/ipv4/ip_unprivileged_port_start",
        sysctls=(("net.core.somaxconn", "1234"), ("kernel.msgmax", "9000")),
    )
    assert text == "1234\n9000\n0\n"


@only("process", why="a gVisor sandbox has one limit for all: see test_gvisor.py")
async def test_memory_over_the_limit_is_an_oom_kill_of_that_container_only(rig: Rig) -> None:
    hog = "exec tail /dev/zero"
    sandbox = await rig.run(shell("hog", hog, memory=16 * MIB), shell("other", "sleep 600"))
    assert await ended(sandbox, "hog") == 137
    assert sandbox.states["hog"].oom_killed and sandbox.states["other"].running


async def test_the_tasks_memory_limit_holds_all_its_containers(rig: Rig) -> None:
    sandbox = await rig.run(shell("hog", "exec tail /dev/zero"), memory=24 * MIB)
    assert await ended(sandbox, "hog") == 137
    assert sandbox.states["hog"].oom_killed


async def test_the_tasks_cpu_quota(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "while :; do :; done"), cpu=256)
    await asyncio.sleep(0.4)
    began, before = time.monotonic(), (await sandbox.usage("c")).cpu_seconds
    await asyncio.sleep(1.0)
    used = (await sandbox.usage("c")).cpu_seconds - before
    assert 0 < used < 0.45 * (time.monotonic() - began)  # a quarter, and what a period may carry over


@only("process", "gvisor", why="processes of a guest are not seen here: see test_escapes.py")
async def test_a_fork_bomb_is_bounded(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "f() { f | f & }; f; sleep 600"), pids=64)
    await asyncio.sleep(0.5)
    assert len(processes(rig.instance)) < 80
    await sandbox.destroy()
    await eventually(
        lambda: not [p for p in processes(rig.instance) if "container" in p], "all of it is dead"
    )


async def test_processes_of_the_host_and_of_other_tasks_are_not_seen(rig: Rig) -> None:
    await rig.run(shell("c", "exec sleep 4321"))
    text = await rig.output("ps; ls /proc | grep -c '^[0-9]'")
    assert "4321" not in text and int(text.splitlines()[-1]) < 6


async def test_a_shared_pid_namespace_shows_the_siblings_and_ends_with_each(rig: Rig) -> None:
    both = "ps | grep -q '[s]leep 4321$' && ps | grep -q '[s]leep 1234$'"
    sandbox = await rig.run(
        shell("a", "sleep 4321 & exec sleep 1234"),
        shell("b", f"until {both}; do sleep 0.1; done; ps"),
        shared_pid=True,
    )
    assert await ended(sandbox, "b") == 0
    assert "1234" in lines(sandbox, "b") and "4321" in lines(sandbox, "b")
    await sandbox.signal("a", 9)
    assert await ended(sandbox, "a") == 137
    await sandbox.start(shell("after", "ps"), rig.image())
    assert await ended(sandbox, "after") == 0
    assert "1234" not in lines(sandbox, "after") and "4321" not in lines(sandbox, "after")


@pytest.mark.parametrize(
    "attack",
    [
        "mount -t tmpfs none /mnt",
        "mount -t proc proc /tmp",
        "mount -o remount,rw /sys",
        "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk",
        "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg",
        "unshare -r true",
        "unshare -m true",
        "unshare -n true",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "cd /sys/fs/cgroup; f=memory.max; [ -e memory ] && f=memory/memory.limit_in_bytes; echo -1 > $f",
        "cd /sys/fs/cgroup; f=cgroup.procs; [ -e pids ] && f=pids/cgroup.procs; echo 1 > $f",
        "mkdir /sys/fs/cgroup/pids/mine",
        "head -c 1 /proc/kcore | grep -q .",
        "ip link set eth0 down",
        "ip addr add 10.1.1.1/32 dev eth0",
        "date -s 2001-01-01 >/dev/null; date +%Y | grep -q 2001",
        "chroot /proc/1/root/../../.. ls /work",
        "nsenter -t 1 -n -m ls",
        "reboot -f",
    ],
)
async def test_hostile(rig: Rig, attack: str) -> None:
    sandbox = await rig.run(shell("c", f"mkdir -p /mnt; if {{ {attack}; }}; then echo BROKEN; fi; exit 0"))
    assert await ended(sandbox, "c") == 0
    assert "BROKEN" not in lines(sandbox, "c")


async def test_only_the_containers_own_mounts_are_seen(rig: Rig) -> None:
    text = await rig.output("cat /proc/self/mountinfo; ls /")
    points = [line.split()[4] for line in text.splitlines() if " - " in line]
    assert not any(p.startswith(("/work", "/root", "/var", "/home")) for p in points)
    assert len([p for p in points if p == "/"]) == 1


async def owner(sandbox: Sandbox, container: str) -> int:
    """The user of a container's process, once that is the container's own command: `sleep`."""
    process = Path(f"/proc/{sandbox.states[container].pid}")
    await eventually(lambda: (process / "comm").read_text() == "sleep\n", "it runs")
    return process.stat().st_uid


@only("process", why="it is about user namespaces; test_gvisor.py has that tier's own wall")
async def test_root_inside_is_nobody_outside(rig: Rig) -> None:
    """Where user namespaces work, and they do on the machines that run these tests."""
    sandbox = await rig.run(
        shell("c", "cat /proc/self/uid_map; exec sleep 600"), shell("d", "exec sleep 600", user="web")
    )
    await eventually(lambda: lines(sandbox, "c"), "output")
    base = int(lines(sandbox, "c").split()[1])
    assert base >= 1 << 30
    for name, uid in (("c", base), ("d", base + 1000)):
        assert await owner(sandbox, name) == uid


@only("process", why="it is about user namespaces")
async def test_no_two_sandboxes_have_the_same_users(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though their ids lead to the same ones: made at once, and by a later daemon."""
    monkeypatch.setattr(bases, "first", lambda _sandbox: FIRST_BASE)

    async def base_of() -> int:
        sandbox = await rig.run(shell("c", "exec sleep 600"))
        return await owner(sandbox, "c")

    found = await asyncio.gather(*(base_of() for _ in range(3)))
    await rig.reopen()
    found.append(await base_of())
    assert len(set(found)) == 4
    # a driver's own probe may still be leaving
    assert set(found) <= {FIRST_BASE + 65536 * n for n in range(6)}


async def test_ids_beyond_the_range_work(rig: Rig) -> None:
    assert (
        await rig.output("touch /tmp/x; stat -c %u:%g /tmp/x", user="1000650000:70000")
        == "1000650000:70000\n"
    )
    assert await rig.output("touch /x; chown 100000:100000 /x; stat -c %u:%g /x") == "100000:100000\n"


async def test_a_flood_of_log_does_not_starve_the_shim(rig: Rig) -> None:
    sink = LogSink(group="g", stream="s", max_buffer_bytes=MIB)
    sandbox = await rig.run(shell("flood", "exec yes", log=sink), shell("quiet", "exec sleep 600"))
    await asyncio.sleep(1)
    result = await sandbox.exec("quiet", ("echo", "here"), 30)
    assert (result.output, result.timed_out) == (b"here\n", False)
    kept = sum(p.stat().st_size for p in sandbox.spool("flood").glob("*.seg"))
    assert kept <= MIB
    began, before = time.monotonic(), shim_cpu(rig, sandbox.id)
    await asyncio.sleep(1)
    # a flood gets no processor for nothing
    assert shim_cpu(rig, sandbox.id) - before < 0.6 * (time.monotonic() - began)
    assert shim_memory(rig, sandbox.id) < 6 * MIB


def _shim(rig: Rig, sandbox: str) -> int:
    return int(json.loads((rig.directory / "driver/shims" / sandbox).read_text())["pid"])


def shim_cpu(rig: Rig, sandbox: str) -> float:
    """CPU seconds that a shim has used."""
    fields = Path(f"/proc/{_shim(rig, sandbox)}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def shim_memory(rig: Rig, sandbox: str) -> int:
    """Private bytes of a shim."""
    pid = _shim(rig, sandbox)
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(
        int(line.split()[1]) * 1024
        for line in rollup.splitlines()
        if line.startswith(("Private_Dirty", "Private_Clean"))
    )


async def test_an_idle_shim_is_small(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "exec sleep 600"))
    assert shim_memory(rig, sandbox.id) < 4 * MIB
