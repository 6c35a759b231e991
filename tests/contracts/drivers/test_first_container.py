"""A virtual machine's first container is made by our own code, the others by crun: nobody inside can tell."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from neargate.model.sandbox import ContainerSpec, Mount, Tmpfs, Ulimit
from neargate.node.drivers.base import DriverError
from tests.contracts.drivers.rig import Rig, ended, eventually, lines, only, shell

pytestmark = [pytest.mark.root, pytest.mark.microvm, only("microvm", why="the other tiers have one maker")]

_ALL = r"""
cd /; exec 2>&1
echo "== mounts"; cut -d' ' -f5- /proc/self/mountinfo
echo "== devices"; stat -c '%A %g %t %T %N' /dev /dev/* /dev/shm /dev/mqueue
echo "== status"; grep -E '^(Uid|Gid|Groups|Umask|Cap|NoNewPrivs|Seccomp|Sig[IBC]|NSpid|NSsid|Threads)' /proc/self/status
echo "== limits"; cat /proc/self/limits
echo "== environment"; tr '\0' '\n' < /proc/self/environ | sort
echo "== descriptors"; for fd in /proc/self/fd/*; do echo "${fd##*/} $(readlink $fd)"; done
echo "== own"; cat /proc/1/cgroup /proc/self/oom_score_adj /proc/1/stat; hostname; pwd; umask; id; stat -c %u /proc/self/fd/1
echo "== group"; cd /sys/fs/cgroup; for f in memory.max memory.low memory.swap.max cpu.weight pids.max; do echo "$f $(cat $f)"; done
echo "== kept"; ls -d /etc /mnt /proc/kcore /proc/keys /sys/firmware; head -c 9 /proc/kcore; ls -A /sys/firmware
echo x > /proc/sys/kernel/hostname; echo x > /sys/fs/cgroup/pids.max; mount -t tmpfs x /mnt; mknod /tmp/d b 7 0 && cat /tmp/d
cat /etc/hostname /etc/hosts; touch /tmp/written && ls /tmp; chroot / true; echo $?
echo "== keys"; cat /proc/keys 2>&1 | wc -l
echo "== addresses"; [ "$(grep -m1 stack /proc/self/maps)" = "$(sh -c 'grep -m1 stack /proc/self/maps')" ] || echo random
"""  # noqa: E501 - a shell script
_VARIANTS = {
    "plain": {},
    "another user": {"user": "web"},
    "user and group by number": {"user": "1000:60"},
    "read-only": {
        "readonly_rootfs": True,
        "tmpfs": (Tmpfs(target="/tmp", size=1 << 20, options=("mode=1777",)),),
    },
    "held": {"memory": 64 << 20, "memory_reservation": 32 << 20, "cpu": 128},
    "reserved": {"memory_reservation": 32 << 20},
    "limits": {"ulimits": (Ulimit(name="nofile", soft=100, hard=200), Ulimit(name="core", soft=0, hard=-1))},
    "with less": {"capabilities_drop": ("CHOWN", "NET_RAW")},
    "with init": {"init": True},
    "elsewhere": {"working_directory": "/new/place"},
    "relative": {"command": ("./sh", "-c", _ALL), "working_directory": "/bin"},
    "volume": {"mounts": (Mount(volume="v", target="/mnt"),)},
}  # fmt: skip


def _told(text: str) -> list[str]:
    """Its parts, less the numbers of processes and pipes, which are a container's own."""
    text = re.sub(r"^(\d+ \(\S+\) \S) .*$", r"\1", text, flags=re.M)  # the rest of stat is time
    text = re.sub(r"(pipe|socket):\[\d+\]", r"\1", text)
    text = re.sub(r"(?<=SigIgn:\t)0000000180000000", "0" * 16, text)  # the C library's own two, inherited
    text = re.sub(r"(?<= )\d+ 1 3 (?='?/dev/null)", "0 1 3 ", text)  # crun gives its user the standard input
    return text.split("== ")[1:]


def _mounts(part: str) -> dict[str, tuple[str, set[str]]]:
    """Target -> (kind, flags)."""
    lines = [line.split() for line in part.splitlines()[1:]]
    return {line[0]: (line[line.index("-") + 1], set(line[1].split(","))) for line in lines}


@pytest.mark.parametrize("variant", sorted(_VARIANTS))
async def test_the_first_container_is_as_the_runtime_makes_the_second(rig: Rig, variant: str) -> None:
    wanted = _VARIANTS[variant]
    first, second = shell("first", _ALL, **wanted), shell("second", _ALL, **wanted)
    sandbox = await rig.run(first, second, memory=512 << 20)
    for container in (first, second):
        await ended(sandbox, container.name, 60)
        assert sandbox.states[container.name].runtime_id == container.runtime_id
    one, other = (_told(lines(sandbox, name)) for name in ("first", "second"))
    assert len(one) == len(other) == 11
    ours, theirs = _mounts(one[0]), _mounts(other[0])
    assert ours.keys() == theirs.keys()
    for target, (kind, flags) in theirs.items():
        assert ours[target][0] == kind
        closed = {"nosuid", "nodev", "noexec"}
        assert flags <= ours[target][1] <= flags | closed, target  # where it comes from is closed to these
    assert one[1:] == other[1:]


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (("nosuch",), 'exec: "nosuch": executable file not found in $PATH'),
        (("/nosuch",), 'exec: "/nosuch": executable file not found in $PATH'),
        (("/etc/notexec",), 'exec: "/etc/notexec": permission denied'),
        (("/etc",), None),
        (("/data/../etc/passwd",), None),
    ],
)
async def test_what_cannot_be_started_is_refused_in_the_runtimes_words(
    rig: Rig, command: tuple[str, ...], cause: str | None
) -> None:
    spec = rig.spec(shell("first", ""), shell("second", ""))
    sandbox = await rig.driver.open(spec, rig.directory_of(spec))
    rig.sandboxes.append(sandbox)
    causes = []
    for name in ("first", "second"):
        container = ContainerSpec(name=name, image="busybox", command=command, runtime_id=f"{name}-1")
        with pytest.raises(Exception) as refused:
            await sandbox.start(container, rig.image())
        causes.append(str(refused.value))
    assert causes[0] == causes[1]
    assert cause is None or causes[0] == cause


async def test_a_small_first_container_has_its_memory_for_itself(rig: Rig) -> None:
    sandbox = await rig.run(shell("c", "cat /sys/fs/cgroup/memory.peak", memory=6 << 20))
    assert await ended(sandbox, "c", 30) == 0
    assert int(lines(sandbox, "c")) < 4 << 20


async def test_the_first_container_ends_and_starts_again_as_any_other(rig: Rig) -> None:
    container = shell("c", "[ -e /data/mine ] && echo old || echo new; touch /data/mine; exit 3")
    sandbox = await rig.run(container)
    for restarts in range(3):
        assert await ended(sandbox, "c", 60) == 3
        assert sandbox.states["c"].restarts == restarts
        await sandbox.start(container, rig.image())
    await ended(sandbox, "c", 60)
    assert lines(sandbox, "c").split() == ["new"] * 4  # each in a root of its own


async def test_commands_run_in_the_first_container_as_in_the_second(rig: Rig) -> None:
    sandbox = await rig.run(shell("first", "exec sleep 600"), shell("second", "exec sleep 600"))
    script = "id; cat /proc/self/cgroup; grep -E '^(Cap|Secc|NoNew)' /proc/self/status; ls /; hostname; pwd"
    told = [await sandbox.exec(name, ("sh", "-c", script), 30) for name in ("first", "second")]
    assert told[0].exit_code == 0 and told[0].output == told[1].output
    listed = await sandbox.exec("first", ("ps", "-o", "pid,args"), 30)
    assert b"1 sleep 600" in listed.output


def _bare_image(place: Path) -> Path:
    """Programs, and a user behind a link; nothing where something is mounted."""
    tree, image = place / "tree", place / "bare.erofs"
    for name in ("bin", "elsewhere", "etc"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", tree / "bin/busybox")
    for applet in ("sh", "id", "ls", "cat", "env", "sort"):
        (tree / "bin" / applet).symlink_to("busybox")
    (tree / "elsewhere/passwd").write_text("worker:x:700:701::/work:/bin/sh\n")
    (tree / "etc/passwd").symlink_to("../elsewhere/passwd")
    for name, text in (("garbage", "none\n"), ("orphan", "#!/nowhere/sh\n")):
        (tree / "bin" / name).write_text(text)
        (tree / "bin" / name).chmod(0o755)
    subprocess.run(["mkfs.erofs", str(image), str(tree)], check=True, capture_output=True)
    return image


async def test_an_image_without_mount_points_and_with_users_behind_a_link(rig: Rig, tmp_path: Path) -> None:
    rig.image_path = _bare_image(tmp_path)
    script = "id; env | sort; ls -A / /etc; cat /etc/hostname"
    sandbox = await rig.run(*(shell(name, script, user="worker") for name in ("first", "second")))
    for name in ("first", "second"):
        assert await ended(sandbox, name, 60) == 0
    assert "uid=700" in lines(sandbox, "first") and "HOME=/work" in lines(sandbox, "first")
    assert lines(sandbox, "first") == lines(sandbox, "second")


@pytest.mark.parametrize("program", ["/bin/garbage", "/bin/orphan"])
async def test_a_program_that_is_none_is_the_containers_own_end(
    rig: Rig, tmp_path: Path, program: str
) -> None:
    rig.image_path = _bare_image(tmp_path)
    two = [shell(name, "", command=(program,)) for name in ("first", "second")]
    sandbox = await rig.run(*two)
    assert [await ended(sandbox, container.name, 60) for container in two] == [1, 1]
    assert lines(sandbox, "first").startswith(f"exec {program}: ")
    await sandbox.start(two[0], rig.image())
    assert await ended(sandbox, "first", 60) == 1
    assert sandbox.states["first"].restarts == 1


async def test_what_the_first_container_could_not_be_takes_nothing_along(rig: Rig) -> None:
    """Descriptors of one that was refused are used again, and waited for."""
    spec = rig.spec(shell("first", ""), shell("second", ""))
    sandbox = await rig.driver.open(spec, rig.directory_of(spec))
    rig.sandboxes.append(sandbox)
    with pytest.raises(DriverError):
        await sandbox.start(shell("first", "", command=("/nosuch",)), rig.image())
    for name in ("first", "second"):
        await sandbox.start(shell(name, f"echo {name}; echo wrong >&2"), rig.image())
        assert await ended(sandbox, name, 60) == 0
        assert sorted(lines(sandbox, name).split()) == sorted([name, "wrong"])


async def test_a_first_container_of_no_such_user_takes_nothing_along(rig: Rig) -> None:
    """What was made ahead for it is let go of before it is discarded: no number of its descriptors stays."""
    names = [f"c{number}" for number in range(6)]
    sandbox = await rig.open(*(shell(name, "") for name in ("first", *names)))
    with pytest.raises(DriverError):
        await sandbox.start(shell("first", "", user="nosuch"), rig.image())
    for name in names:
        await sandbox.start(shell(name, f"echo {name}; echo wrong >&2; exec sleep 600"), rig.image())
    for name in names:
        await eventually(lambda name=name: lines(sandbox, name, 2) == "wrong\n", f"{name}'s output", 20)
        await eventually(lambda name=name: lines(sandbox, name, 1) == f"{name}\n", f"{name}'s output", 20)


@pytest.mark.parametrize(
    ("environment", "more"), [("=x", ()), ("A\0B=c", ()), ("A=b", ("x\0y",)), ("A=b", ("x\ud800y",))]
)
async def test_what_no_program_can_be_given_is_for_the_runtime(
    rig: Rig, environment: str, more: tuple[str, ...]
) -> None:
    """An image's variables and commands are nobody's who was asked. No trace of ours is in its log."""
    sandbox = await rig.open(shell("first", ""), shell("second", ""))
    told = []
    for name in ("first", "second"):
        container = shell(name, "", command=("sh", "-c", 'echo "$#"', "-", *more))
        await sandbox.start(container, rig.image(env=(environment,)))
        told.append((await ended(sandbox, name, 60), lines(sandbox, name)))
    assert told[0] == told[1]
