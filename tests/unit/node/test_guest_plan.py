"""What of a container's start is worked out for its guest: which configurations the container that was made
ahead can become, and by what it does.
"""

import copy
import ctypes
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.sandbox import ContainerSpec, Mount, SandboxSpec, Tmpfs, Ulimit
from neargate.node import ocispec
from neargate.node.drivers.microvm import templates
from neargate.node.drivers.microvm.sandbox import PLACE
from neargate.node.guest import places, plan
from neargate.node.shim import kernel
from neargate.oci.manifest import ImageConfig

VOLUME = {"type": "bind", "source": "/task/volumes/v", "options": ["rbind", "rprivate", "ro"]}


def _config(**settings: Any) -> dict[str, Any]:
    container = ContainerSpec(name="c", image="i", command=("/x",), runtime_id="c-1", **settings)
    spec = SandboxSpec(id="0" * 32, containers=(container,), interface=None, cpu=256, memory=64 << 20)
    config = ocispec.config(spec, container, ImageConfig(), PLACE)[0]
    return config | {"annotations": {plan.FILTER: "as rehearsed"}}


_REHEARSED = _config()


def _changed(*path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(_REHEARSED)
    here = config
    for name in path[:-1]:
        here = here[name]
    here[path[-1]] = value
    return config


def _with_mounts(*more: dict[str, Any]) -> dict[str, Any]:
    return _changed("mounts", value=[*_REHEARSED["mounts"], *more])


def _start(
    config: dict[str, Any], *volumes: dict[str, Any], interactive: bool = False, possible: bool = True
) -> dict[str, Any]:
    request = {"op": "start", "id": 7, "name": "c", "config": config, "interactive": interactive}
    return plan.start(request | {"volumes": list(volumes)}, _REHEARSED, possible)


def _plan(config: dict[str, Any], *volumes: dict[str, Any]) -> dict[str, Any]:
    found = _start(config, *volumes)["plan"]
    assert found is not None
    return dict(found)


# -- what it can become ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"readonly_rootfs": True},
        {"init": True},
        {"mounts": (Mount(volume="v", target="/v"),)},
        {"tmpfs": (Tmpfs(target="/t", size=1, options=("ro", "noatime", "uid=3")),)},
        {"ulimits": (Ulimit(name="nofile", soft=1, hard=-1),)},
        {"capabilities_drop": ("ALL",)},
        {"capabilities_add": ("CHOWN",)},
        {"environment": (("A", "1"),)},
        {"memory": 1 << 20, "cpu": 5},
        {"memory": 1 << 20, "memory_reservation": 1 << 19},
        {"memory_reservation": 1 << 19},
        {"files": (("/etc/mine", "text"),)},
    ],
)
def test_it_can_be_most_containers(settings: dict[str, Any]) -> None:
    config = _config(**settings)
    assert plan.alike(config, _REHEARSED)
    assert plan.staged(config) == plan.staged(_REHEARSED)
    assert _plan(config)["staged"] == len(plan.staged(_REHEARSED))


_DEVICES = _REHEARSED["linux"]["resources"]["devices"]


@pytest.mark.parametrize(
    "config",
    [
        _config(tty=True),
        _config(capabilities_add=("SYS_PTRACE",)),
        _config(sysctls=(("net.core.somaxconn", "1"),)),
        _changed("linux", "maskedPaths", value=[]),
        _changed("linux", "readonlyPaths", value=[]),
        _changed("linux", "resources", "devices", value=[*_DEVICES, {"allow": True, "access": "r"}]),
        _changed("mounts", value=_REHEARSED["mounts"][1:]),
        _changed("mounts", value=[]),
        _changed("process", "noNewPrivileges", value=True),
        _changed("process", "oomScoreAdj", value=500),
    ],
)
def test_it_cannot_be_what_it_was_not_staged_for(config: dict[str, Any]) -> None:
    assert not plan.alike(config, _REHEARSED)
    assert _start(config)["plan"] is None


@pytest.mark.parametrize(
    ("config", "volumes"),
    [
        (_changed("process", "rlimits", value=[{"type": "RLIMIT_NEW", "soft": 1, "hard": 1}]), []),
        (_with_mounts({"destination": "/x", "type": "tmpfs", "source": "t", "options": ["nosymfollow"]}), []),
        (_config(), [VOLUME | {"destination": "/v", "options": ["rbind", "nosymfollow"]}]),
        (_config(), [VOLUME | {"destination": "/v"}, VOLUME | {"destination": "/v"}]),
        (_config(tmpfs=(Tmpfs(target="/t", size=1), Tmpfs(target="/t", size=2))), []),
    ],
    ids=["a limit that nobody knows", "an option", "a volume's option", "volumes", "one tmpfs upon another"],
)
def test_what_nobody_can_plan_is_left_to_the_runtime(config: dict[str, Any], volumes: list[Any]) -> None:
    assert plan.alike(config, _REHEARSED)
    assert _start(config, *volumes)["plan"] is None


@pytest.mark.parametrize(("interactive", "possible"), [(True, True), (False, False), (True, False)])
def test_it_has_no_input_and_a_pid_namespace_of_its_own(interactive: bool, possible: bool) -> None:
    assert _start(_REHEARSED, interactive=interactive, possible=possible)["plan"] is None
    assert _start(_REHEARSED)["plan"] is not None


def test_all_that_is_staged_is_below_three_directories_and_comes_first() -> None:
    mounts = plan.staged(_REHEARSED)
    assert [mount["destination"] for mount in mounts][:2] == ["/proc", "/dev"]
    assert all(mount["destination"].startswith(plan.TOPS) for mount in mounts)
    assert not any(mount["type"] == "bind" for mount in mounts)


# -- what a guest is told --------------------------------------------------------------------------------

_SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "readonly_rootfs": st.booleans(),
        "init": st.booleans(),
        "tty": st.booleans(),
        "tmpfs": st.lists(
            st.builds(
                Tmpfs, target=st.sampled_from(("/t", "/v0", "/dev/x")), size=st.just(5), options=st.just(())
            ),
            max_size=2,
        ).map(tuple),
        "capabilities_drop": st.sampled_from(((), ("ALL",), ("CHOWN", "KILL"))),
        "capabilities_add": st.sampled_from(((), ("SYS_PTRACE",))),
        "memory": st.integers(1 << 20, 1 << 30),
        "cpu": st.integers(0, 4096),
        "files": st.sampled_from(((), (("/etc/mine", "text"),), (("/v1", "text"), ("/b", "")))),
    },
)
_VOLUMES = st.lists(
    st.builds(
        lambda target, options: VOLUME | {"destination": target, "options": ["rbind", *options]},
        st.sampled_from(("/v0", "/v1", "/etc/hosts", "/t", "/dev/shm", "/dev/x")),
        st.lists(st.sampled_from(("ro", "nosuid", "nodev", "rprivate")), unique=True),
    ),
    max_size=3,
)
_CONFIGS = st.builds(
    lambda settings, filter_, devices: (
        _config(**settings)
        | {"annotations": {plan.FILTER: filter_}}
        | ({"linux": _changed("linux", "resources", "devices", value=[])["linux"]} if devices else {})
    ),
    _SETTINGS,
    st.sampled_from(("as rehearsed", "another")),
    st.booleans(),
)


def _as_the_guest_has_it(told: dict[str, Any]) -> dict[str, Any]:
    """With what it knows from its rehearsal (agent.py)."""
    config: dict[str, Any] = copy.deepcopy(told["config"])
    config["annotations"] = config["annotations"] or _REHEARSED["annotations"]
    config["linux"]["resources"].setdefault("devices", _DEVICES)
    return config


@given(_CONFIGS, _VOLUMES, st.booleans(), st.booleans())
def test_a_guest_puts_together_again_what_was_left_out(
    config: dict[str, Any], volumes: list[dict[str, Any]], interactive: bool, possible: bool
) -> None:
    request = {"op": "start", "id": 7, "config": config, "volumes": volumes, "interactive": interactive}
    before = copy.deepcopy((request, _REHEARSED))
    told = plan.start(request, _REHEARSED, possible)
    assert (request, _REHEARSED) == before
    assert _as_the_guest_has_it(told) == config
    others = set(told) - {"config", "plan"}
    assert {name: told[name] for name in others} == {name: request[name] for name in others}
    assert set(told) == {*request, "plan"}
    json.dumps(told)


@pytest.mark.parametrize("known", [True, False])
def test_what_a_guest_knows_is_left_out(known: bool) -> None:
    told = _start(_REHEARSED | {"annotations": {plan.FILTER: "as rehearsed" if known else "another"}})
    assert told["config"]["annotations"] == ({} if known else {plan.FILTER: "another"})
    assert "devices" not in told["config"]["linux"]["resources"]
    unlike = _start(_changed("linux", "resources", "devices", value=[{"allow": False, "access": "rwm"}]))
    assert unlike["config"]["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]


@given(_CONFIGS, _VOLUMES)
def test_every_mount_that_is_not_staged_has_its_flags(
    config: dict[str, Any], volumes: list[dict[str, Any]]
) -> None:
    """Its own: a configuration's mount goes before a volume at the same place (container.py)."""
    planned = _start(config, *volumes)["plan"]
    if planned is None:
        return
    own = {mount["destination"] for mount in config["mounts"]}
    mounts = config["mounts"] + [volume for volume in volumes if volume["destination"] not in own]
    for mount in mounts[planned["staged"] :]:
        *found, directory = planned["mounts"][mount["destination"]]
        assert tuple(found) == plan.flags_of(mount["options"])
        assert directory == (mount["type"] == "tmpfs" or mount["source"] == VOLUME["source"])


def test_a_volume_does_not_override_a_configurations_own_mount() -> None:
    volumes = [VOLUME | {"destination": place} for place in ("/etc/hosts", "/t", "/v")]
    planned = _plan(_config(tmpfs=(Tmpfs(target="/t", size=4096, options=("noatime",)),)), *volumes)
    readonly_bind = kernel.MS_BIND | kernel.MS_REC | kernel.MS_RDONLY
    assert planned["mounts"]["/etc/hosts"] == (kernel.MS_BIND | kernel.MS_REC, "", False)
    assert planned["mounts"]["/t"] == (
        kernel.MS_NOSUID | kernel.MS_NOEXEC | kernel.MS_NODEV | 1024,
        "size=4096",
        True,
    )
    assert planned["mounts"]["/v"] == (readonly_bind, "", True)


_MOUNTING = ContainerSpec(
    name="c",
    image="i",
    runtime_id="c-1",
    mounts=(Mount(volume="v", target="/v"), Mount(volume="hosts", target="/w")),
)


@pytest.mark.parametrize(
    ("settings", "volumes", "place", "directory"),
    [
        ({}, [], "/etc/hosts", False),
        ({}, [], "/etc/hostname", False),
        ({}, [], "/etc/resolv.conf", False),
        ({"files": (("/etc/ecs/mine", "text"),)}, [], "/etc/ecs/mine", False),
        ({"init": True}, [], "/dev/init", False),
        ({"tmpfs": (Tmpfs(target="/t", size=1),)}, [], "/t", True),
        ({}, ocispec.volumes(_MOUNTING, PLACE.directory), "/v", True),
        ({}, ocispec.volumes(_MOUNTING, PLACE.directory), "/w", True),
        ({}, ocispec.volumes(_MOUNTING, PLACE.directory, ("v",)), "/v", True),
    ],
)
def test_what_is_a_directory(
    settings: dict[str, Any], volumes: list[dict[str, Any]], place: str, directory: bool
) -> None:
    assert _plan(_config(**settings), *volumes)["mounts"][place][2] is directory


@pytest.mark.parametrize(
    ("options", "flags", "data"),
    [
        ([], 0, ""),
        (["ro", "nosuid", "nodev", "noexec"], 1 | 2 | 4 | 8, ""),
        (["rbind", "rprivate", "rw"], 4096 | 16384, ""),
        (["bind", "private"], 4096, ""),
        (["newinstance", "mode=0620", "gid=5", "nosuid"], 2, "newinstance,mode=0620,gid=5"),
        (["sync", "mand", "dirsync", "noatime", "nodiratime"], 16 | 64 | 128 | 1024 | 2048, ""),
        (["relatime", "strictatime", "suid", "async"], 1 << 21 | 1 << 24, ""),
    ],
)
def test_flags_of_options(options: list[str], flags: int, data: str) -> None:
    assert plan.flags_of(options) == (flags, data)


# -- limits, capabilities --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [(1, 5, (1, 5)), (1, -1, (1, 1 << 20)), (-1, -1, (1 << 20, 1 << 20))],
)
def test_limits_are_what_setrlimit_takes(soft: int, hard: int, expected: tuple[int, int]) -> None:
    """Of open files, which a machine has a highest number of; others may be without limit."""
    own = (Ulimit(name="nofile", soft=soft, hard=hard), Ulimit(name="core", soft=0, hard=-1))
    limits = _plan(_config(ulimits=own))["limits"]
    assert limits == [(resource.RLIMIT_NOFILE, *expected), (resource.RLIMIT_CORE, 0, resource.RLIM_INFINITY)]


def test_a_limit_that_is_staged_is_left_out() -> None:
    assert _plan(_config())["limits"] == []
    assert [limit[0] for limit in plan.rlimits_of(_REHEARSED)] == [resource.RLIMIT_NOFILE]


def test_a_container_without_a_limit_that_is_staged_is_the_runtimes() -> None:
    assert _start(_changed("process", "rlimits", value=[]))["plan"] is None


@given(
    st.none() | st.integers(4096, 1 << 40),
    st.none() | st.integers(4096, 1 << 40),
    st.integers(0, 1 << 20),
    st.integers(1, 1 << 20),
)
def test_a_groups_limits_are_all_there_in_the_end(
    memory: int | None, reservation: int | None, cpu: int, pids: int
) -> None:
    config = _config(memory=memory, memory_reservation=reservation, cpu=cpu)
    config["linux"]["resources"]["pids"]["limit"] = pids
    found = {Path(path).name: text for path, text in plan.limits_of(config)}
    assert found["pids.max"] == str(pids)
    assert found.get("memory.max") == (None if memory is None else str(memory))
    assert found.get("memory.swap.max") == (None if memory is None else "0")
    assert found.get("memory.low") == (None if reservation is None else str(reservation))
    written = plan.limits_of(config)
    known = plan.limits_of(_REHEARSED)
    left = _plan(config)["writes"]
    assert left == [write for write in plan.limits_of(config) if write not in known]
    assert dict(known) | dict(left) == dict(written)  # what the group has in the end


def test_a_reservation_needs_no_limit() -> None:
    config = _config(memory_reservation=1 << 20)
    found = {Path(path).name: text for path, text in plan.limits_of(config)}
    assert found["memory.low"] == str(1 << 20) and "memory.max" not in found
    assert [text for _path, text in _plan(config)["writes"]] == [str(1 << 20)]


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


@given(
    st.sets(st.sampled_from(sorted(plan.CAPABILITIES))), st.sets(st.sampled_from(sorted(plan.CAPABILITIES)))
)
def test_capabilities_are_what_capset_takes(effective: set[str], permitted: set[str]) -> None:
    masks = [sum(1 << plan.CAPABILITIES[name] for name in names) for names in (effective, permitted)]
    header, data = kernel.capabilities(*masks)
    version_3 = _Header.from_buffer_copy(header)
    assert (version_3.version, version_3.pid, len(header)) == (0x20080522, 0, ctypes.sizeof(_Header))
    halves = (_Sets * 2).from_buffer_copy(data)
    assert len(data) == ctypes.sizeof(halves)
    assert [halves[0].effective | halves[1].effective << 32] == masks[:1]
    assert [halves[0].permitted | halves[1].permitted << 32] == masks[1:]
    assert halves[0].inheritable == halves[1].inheritable == 0


def test_a_plan_keeps_and_drops_a_containers_capabilities() -> None:
    planned = _plan(_config(capabilities_drop=("CHOWN", "KILL")))
    kept = ocispec.CAPABILITIES - {"CAP_CHOWN", "CAP_KILL"}
    mask = sum(1 << plan.CAPABILITIES[name] for name in kept)
    assert [bytes.fromhex(part) for part in planned["capabilities"]] == list(kernel.capabilities(mask, mask))
    assert planned["drops"] == [plan.CAPABILITIES["CAP_CHOWN"], plan.CAPABILITIES["CAP_KILL"]] == [0, 5]
    assert _plan(_config())["drops"] == []


def _in_a_child(act: Callable[[], None]) -> dict[str, str]:
    """Lines of a child's own /proc/self/status, after that."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            act()
            os.write(write, Path("/proc/self/status").read_bytes())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(child, 0)
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.root
def test_the_kernel_takes_them() -> None:
    planned = _plan(_config(capabilities_drop=("NET_RAW",)))

    def act() -> None:
        kernel.drop_bounds([*planned["drops"], 63])  # no kernel has that many
        kernel.keep_capabilities(*map(bytes.fromhex, planned["capabilities"]))

    found = _in_a_child(act)
    mask = sum(1 << plan.CAPABILITIES[name] for name in ocispec.CAPABILITIES - {"CAP_NET_RAW"})
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == mask
    assert int(found["CapInh"], 16) == 0
    assert not int(found["CapBnd"], 16) >> plan.CAPABILITIES["CAP_NET_RAW"] & 1
    assert int(found["CapBnd"], 16) & 1


# -- the rehearsal ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "memory"), [(352, 256), (512, 256), (608, 512), (1120, 1024), (2048, 1536)]
)
def test_a_rehearsal_is_planned_as_any_start(machine: int, memory: int) -> None:
    told = templates._rehearsal(machine, 3)
    start = told["start"]
    assert (start["slot"], start["plan"]["writes"], start["plan"]["drops"]) == (3, [], [])
    assert plan.FILTER in start["config"]["annotations"]
    assert start["config"]["linux"]["resources"]["devices"]  # they are what a guest has from it
    assert [f"{places.GROUP_DIRECTORY}/memory.max", str(memory << 20)] in told["writes"]
    again = plan.start(start, start["config"], possible=True)
    assert again["plan"] == start["plan"] and again["config"]["annotations"] == {}
