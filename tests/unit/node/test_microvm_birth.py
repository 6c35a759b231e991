"""What a machine is told at its birth: requests to its kernel, files, and what it need not write again."""

import copy
import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.sandbox import ContainerSpec, InterfaceSpec, SandboxSpec
from neargate.node import ocispec
from neargate.node.drivers.microvm.sandbox import PLACE
from neargate.node.drivers.microvm.vmm import birth
from neargate.node.guest import places
from neargate.node.network import rtnetlink as nl
from neargate.oci.manifest import ImageConfig

INTERFACE = {"mac": "0a:00:00:00:00:01", "address": "10.0.0.9", "gateway": "10.0.0.1"}
_HEADER = struct.Struct("=IHHII")
_REQUEST, _ACK, _REPLACE, _CREATE = 1, 4, 0x100, 0x400


def _setup(**changed: Any) -> dict[str, Any]:
    files = {"hosts": "h\n", "hostname": "n\n", "resolv.conf": "r\n", "file-c-0": "text"}
    found = {"id": "5" * 32, "hostname": "name", "interface": INTERFACE, "files": files, "memory": 1 << 29}
    return found | {"pids": 100, "cpu": 256, "shared_pid": False, "uid": 4711} | changed


def _told(known: list[list[str]], **changed: Any) -> dict[str, Any]:
    return birth.told(_setup(**changed), [], False, known)


def _messages(data: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    while data:
        length, kind, flags, _sequence, _port = _HEADER.unpack_from(data)
        assert _HEADER.size < length <= len(data) and length % 4 == 0
        found.append((kind, flags, data[_HEADER.size : length]))
        data = data[length:]
    return found


# -- the network -----------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(16, 99), st.integers(0, 0xFFF8), st.binary(max_size=40)), min_size=1))
def test_requests_are_joined_and_the_last_is_acknowledged(requests: list[tuple[int, int, bytes]]) -> None:
    requests = [
        (kind, flags & ~_ACK, nl.attribute(1, body) + nl.attribute(2, body)) for kind, flags, body in requests
    ]
    found = _messages(nl.joined(requests))
    assert [(kind, body) for kind, _flags, body in found] == [(kind, body) for kind, _, body in requests]
    assert all(flags & _REQUEST for _kind, flags, _body in found)
    assert [bool(flags & _ACK) for _kind, flags, _body in found] == [False] * (len(requests) - 1) + [True]
    assert [f & ~(_ACK | _REQUEST) for _, f, _ in found] == [f & ~_REQUEST for _, f, _ in requests]


@given(st.ip_addresses(v=4).map(str), st.ip_addresses(v=4).map(str), st.binary(min_size=6, max_size=6))
def test_an_interface_is_its_address_and_two_routes(address: str, gateway: str, mac: bytes) -> None:
    interface = {"mac": mac.hex(":"), "address": address, "gateway": gateway}
    hardware, rest = map(bytes.fromhex, _told([], interface=interface)["network"])
    name, family, given_mac = struct.unpack("=16sH6s16x", hardware)
    assert (name.rstrip(b"\0"), family, given_mac) == (b"eth0", 1, mac)
    added, first, second = _messages(rest)
    new = _REQUEST | _CREATE | _REPLACE
    assert (added[:2], first[:2], second[:2]) == ((20, new), (24, new), (24, new | _ACK))
    inet, prefix, _flags, _scope, index = struct.unpack_from("=BBBBi", added[2])
    assert (inet, prefix, index) == (2, 32, places.INDEX)
    assert nl.attributes(added[2][8:]) == dict.fromkeys((nl.IFA_LOCAL, nl.IFA_ADDRESS), _packed(address))
    out = {nl.RTA_OIF: struct.pack("=i", places.INDEX)}
    assert nl.attributes(first[2][12:]) == {nl.RTA_DST: _packed(gateway)} | out
    assert nl.attributes(second[2][12:]) == {nl.RTA_GATEWAY: _packed(gateway)} | out
    assert (first[2][1], second[2][1]) == (32, 0)
    assert (first[2][6], second[2][6]) == (nl.RT_SCOPE_LINK, nl.RT_SCOPE_UNIVERSE)


def _packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


def test_a_rehearsal_has_an_interface_and_takes_it_away() -> None:
    found = birth.rehearsed(_setup(interface=None))
    (added, *_routes) = _messages(bytes.fromhex(found["network"][1]))
    ((kind, flags, body),) = _messages(bytes.fromhex(found["undo"]))
    assert (kind, flags) == (21, _REQUEST | _ACK)
    assert body == added[2]
    assert {name: value for name, value in found.items() if name not in ("network", "undo")} == {
        name: value for name, value in _told([], interface=None).items() if name != "network"
    }
    assert _told([], interface=None)["network"] is None


# -- files and limits ------------------------------------------------------------------------------------


def test_what_a_machine_is_told_of_its_sandbox() -> None:
    setup = _setup()
    before = copy.deepcopy(setup)
    shared = [{"name": "v", "has_user": False}]
    found = birth.told(setup, shared, True, [])
    assert setup == before
    assert found["setup"] == {
        "id": "5" * 32, "cpu": 256, "shared_pid": False, "shared": shared, "scratch_released": True
    }  # fmt: skip
    assert found["names"] == ["name", "5" * 32 + "\n"]
    assert found["files"] == {"hosts": "h\n", "hostname": "n\n", "resolv.conf": "r\n"}
    assert found["writes"] == [
        ["/task/file-c-0", "text"],
        ["/sys/fs/cgroup/neargate/task/memory.max", str(1 << 29)],
        ["/sys/fs/cgroup/neargate/task/pids.max", "100"],
    ]


_LIMITS = st.tuples(st.sampled_from((1 << 28, 1 << 29)), st.sampled_from((100, 200)))
_OWN_FILES = st.dictionaries(st.sampled_from(("file-c-0", "file-c-1")), st.sampled_from(("", "a", "b")))


@given(_LIMITS, _LIMITS, _OWN_FILES)
def test_what_the_rehearsal_wrote_is_left_out(
    rehearsed: tuple[int, int], own: tuple[int, int], more: dict[str, str]
) -> None:
    known = birth.rehearsed(_setup(memory=rehearsed[0], pids=rehearsed[1], files=_ETC))["writes"]
    known = json.loads(json.dumps(known))  # it was read from a file
    found = _told(known, memory=own[0], pids=own[1], files=_ETC | more)["writes"]
    all_of_it = _told([], memory=own[0], pids=own[1], files=_ETC | more)["writes"]
    assert dict(known) | dict(found) == dict(known) | dict(all_of_it)
    assert [path for path, _text in found] == [
        *(f"/task/{name}" for name in more),
        *(f"/sys/fs/cgroup/neargate/task/{name}" for name, at in (("memory.max", 0), ("pids.max", 1))
          if rehearsed[at] != own[at]),
    ]  # fmt: skip


_ETC = {"hosts": "", "hostname": "", "resolv.conf": ""}


def test_each_file_is_where_a_container_mounts_it_from() -> None:
    container = ContainerSpec(name="c", image="i", runtime_id="c-1", files=(("/etc/mine", "text"),))
    interface = InterfaceSpec(
        id="eni", mac="0a:00:00:00:00:01", address="10.0.0.9", subnet_cidr="10.0.0.0/24", gateway="10.0.0.1",
        dns_name="n", dns_servers=("10.0.0.2",),
    )  # fmt: skip
    spec = SandboxSpec(id="0" * 32, containers=(container,), interface=interface, cpu=256, memory=1 << 29)
    told = birth.told(_setup(files=ocispec.files_of(spec)), [], False, [])
    written = {f"{places.ETC}/{name}": text for name, text in told["files"].items()}
    written |= dict(told["writes"])
    mounts = ocispec.config(spec, container, ImageConfig(), PLACE)[0]["mounts"]
    sources = [mount["source"] for mount in mounts if mount["type"] == "bind"]
    assert sources == [*(f"{places.ETC}/{name}" for name in places.KEPT_OPEN), "/task/file-c-0"]
    texts = ocispec.files_of(spec)
    assert [written[source] for source in sources] == [texts[Path(place).name] for place in sources]


# -- the message -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["born", "rehearse"])
def test_no_two_messages_have_the_same_entropy(op: str) -> None:
    before = time.time_ns()
    found = [birth.message(op, {"names": ["n", "i"]}) for _ in range(2)]
    assert all((told["op"], told["names"]) == (op, ["n", "i"]) for told in found)
    assert all(before <= told["time"] <= time.time_ns() for told in found)
    pools = [bytes.fromhex(told["entropy"]) for told in found]
    assert [(len(pool), *struct.unpack_from("=ii", pool)) for pool in pools] == [(72, 512, 64)] * 2
    assert pools[0][8:] != pools[1][8:]
