"""The OCI configuration: Docker's defaults and rules, as tables."""

import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.sandbox import ContainerSpec, InterfaceSpec, Mount, SandboxSpec, Tmpfs, Ulimit
from neargate.node import ocispec, seccomp
from neargate.oci.manifest import ImageConfig

PLACE = ocispec.Place("/d", "neargate_abc/t", {"RLIMIT_NOFILE": 20000}, "/usr/bin/tini-static")


def spec(**settings: object) -> ContainerSpec:
    return ContainerSpec(name="c", image="i", runtime_id="t-1", **settings)  # type: ignore[arg-type]


def task(container: ContainerSpec) -> SandboxSpec:
    interface = InterfaceSpec(
        id="eni", mac="0a:00:00:00:00:01", address="10.0.0.9", subnet_cidr="10.0.0.0/24", gateway="10.0.0.1",
        dns_name="ip-10-0-0-9.ec2.internal", dns_servers=("10.0.0.2",),
    )  # fmt: skip
    return SandboxSpec(id="0" * 32, containers=(container,), interface=interface, cpu=256, memory=1 << 29)


@pytest.mark.parametrize(
    ("entrypoint", "command", "image_entrypoint", "image_command", "expected"),
    [
        (None, None, ("e",), ("c",), ["e", "c"]),
        (None, ("x",), ("e",), ("c",), ["e", "x"]),
        (("y",), None, ("e",), ("c",), ["y"]),
        (("y",), ("x",), ("e",), ("c",), ["y", "x"]),
        (None, (), ("e",), ("c",), ["e"]),
        ((), None, ("e",), ("c",), []),
        (None, None, None, None, []),
        (None, None, None, ("c",), ["c"]),
    ],
)
def test_entrypoint_and_command(
    entrypoint: tuple[str, ...] | None,
    command: tuple[str, ...] | None,
    image_entrypoint: tuple[str, ...] | None,
    image_command: tuple[str, ...] | None,
    expected: list[str],
) -> None:
    image = ImageConfig(entrypoint=image_entrypoint, cmd=image_command)
    assert ocispec.argv(spec(entrypoint=entrypoint, command=command), image) == expected


def test_environment_of_the_task_wins_over_the_images() -> None:
    found = ocispec.environment(
        spec(environment=(("A", "mine"), ("E", "a=b"))),
        ImageConfig(env=("A=image", "PATH=/x", "NOVALUE")),
        "host",
    )
    assert found == ["PATH=/x", "HOSTNAME=host", "A=mine", "NOVALUE=", "E=a=b"]


@pytest.mark.parametrize(
    ("add", "drop", "plus", "minus"),
    [
        ((), (), set(), set()),
        (("SYS_PTRACE",), (), {"CAP_SYS_PTRACE"}, set()),
        ((), ("net_raw", "CAP_MKNOD"), set(), {"CAP_NET_RAW", "CAP_MKNOD"}),
        ((), ("ALL",), set(), ocispec.CAPABILITIES),
        (("CHOWN",), ("ALL",), set(), ocispec.CAPABILITIES - {"CAP_CHOWN"}),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], plus: set[str], minus: set[str]) -> None:
    found = ocispec.capabilities(spec(capabilities_add=add, capabilities_drop=drop))
    assert found == (ocispec.CAPABILITIES - minus) | plus


@given(soft=st.integers(0, 1 << 20), more=st.integers(0, 1 << 20))
def test_rlimits_never_ask_for_more_than_the_machine_allows(soft: int, more: int) -> None:
    limits, notes = ocispec.rlimits(
        spec(ulimits=(Ulimit(name="nofile", soft=soft, hard=soft + more),)), PLACE.limits
    )
    assert limits == [{"type": "RLIMIT_NOFILE", "soft": min(soft, 20000), "hard": min(soft + more, 20000)}]
    assert bool(notes) == (soft + more > 20000)


def test_unlimited_and_default_rlimits() -> None:
    limits, notes = ocispec.rlimits(spec(ulimits=(Ulimit(name="core", soft=-1, hard=-1),)), {})
    assert limits == [
        {"type": "RLIMIT_NOFILE", "soft": 65535, "hard": 65535},
        {"type": "RLIMIT_CORE", "soft": (1 << 64) - 1, "hard": (1 << 64) - 1},
    ]
    assert notes == []


def test_the_configuration_of_a_container() -> None:
    container = spec(
        command=("run",), working_directory="/w", memory=1 << 26, memory_reservation=1 << 25, cpu=128,
        init=True, readonly_rootfs=True, mounts=(Mount(volume="v", target="/v", readonly=True),),
        tmpfs=(Tmpfs(target="/t", size=4096, options=("noexec", "bind", "mode=700", "size=9g")),),
        sysctls=(("net.core.somaxconn", "99"),),
    )  # fmt: skip
    config, _ = ocispec.config(task(container), container, ImageConfig(), PLACE)
    assert config["process"]["args"] == ["/dev/init", "--", "run"] and config["process"]["cwd"] == "/w"
    assert config["root"] == {"path": "/d/c/c/root", "readonly": True}
    assert {n["type"] for n in config["linux"]["namespaces"]} >= {
        "pid",
        "ipc",
        "uts",
        "mount",
        "cgroup",
        "network",
    }
    resources = config["linux"]["resources"]
    assert resources["memory"] == {"limit": 1 << 26, "swap": 1 << 26, "reservation": 1 << 25}
    assert resources["cpu"] == {"shares": 128} and resources["devices"][0] == {
        "allow": False,
        "access": "rwm",
    }
    mounts = {m["destination"]: m for m in config["mounts"]}
    assert mounts["/t"]["options"] == ["nosuid", "noexec", "nodev", "mode=700", "size=4096"]
    assert mounts["/dev/init"]["source"] == "/usr/bin/tini-static" and "ro" in mounts["/sys"]["options"]
    assert ocispec.volumes(container, "/d")[0]["source"] == "/d/volumes/v"
    assert "ro" in ocispec.volumes(container, "/d")[0]["options"]
    assert config["linux"]["sysctl"] == {"net.core.somaxconn": "99"}


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ((), ["nosuid", "noexec", "nodev"]),
        (("exec",), ["nosuid", "nodev"]),
        (("suid", "exec", "dev"), []),
        (("exec", "noexec"), ["nosuid", "noexec", "nodev"]),
        (("ro", "rw", "mode=1", "mode=2"), ["nosuid", "noexec", "nodev", "rw", "mode=2"]),
        (("noatime", "atime", "sync", "async"), ["nosuid", "noexec", "nodev", "atime", "async"]),
    ],
)
def test_of_contradicting_options_of_a_tmpfs_the_last_counts(asked: tuple[str, ...], made: list[str]) -> None:
    container = spec(tmpfs=(Tmpfs(target="/t", size=1, options=asked),))
    config, _ = ocispec.config(task(container), container, ImageConfig(), PLACE)
    (found,) = (m["options"] for m in config["mounts"] if m["destination"] == "/t")
    assert found == [*made, "size=1"]


def test_etc_files() -> None:
    files = ocispec.etc_files(task(spec()))
    assert "10.0.0.9 ip-10-0-0-9.ec2.internal ip-10-0-0-9\n" in files["hosts"]
    assert files["resolv.conf"] == "search ec2.internal\nnameserver 10.0.0.2\n"
    assert files["hostname"] == "ip-10-0-0-9.ec2.internal\n"


def test_seccomp_is_dockers_without_namespaces() -> None:
    profile = seccomp.oci_profile(ocispec.CAPABILITIES)
    allowed = {
        name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }  # fmt: skip
    assert {"read", "openat", "execve", "chroot", "futex", "ptrace"} <= allowed
    assert not allowed & {
        "unshare",
        "mount",
        "setns",
        "clone",
        "clone3",
        "keyctl",
        "bpf",
        "socket",
        "syslog",
        "init_module",
    }
    admin = seccomp.oci_profile(ocispec.CAPABILITIES | {"CAP_SYS_ADMIN"})
    assert any("mount" in r["names"] and r["action"] == "SCMP_ACT_ALLOW" for r in admin["syscalls"])
    assert profile["architectures"] == [f"SCMP_ARCH_{platform.machine().upper()}"]
    logs = seccomp.oci_profile(ocispec.CAPABILITIES | {"CAP_SYSLOG"})
    assert any("syslog" in r["names"] and r["action"] == "SCMP_ACT_ALLOW" for r in logs["syscalls"])
    assert len(seccomp.bpf(ocispec.CAPABILITIES)) > 1000
