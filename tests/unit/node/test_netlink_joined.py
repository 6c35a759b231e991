"""Requests that are joined, asked of the kernel: in a network namespace of the test's own."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from neargate.node.drivers.microvm.vmm import birth
from neargate.node.guest import places
from neargate.node.network import rtnetlink as nl

pytestmark = pytest.mark.root

_IN_THERE = """
import json, subprocess, sys
from neargate.node.network import rtnetlink as nl

def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout

ip("link", "add", "name", "eth0", "index", "2", "type", "veth", "peer", "name", "there", "index", "3")
for name in ("eth0", "there"):
    ip("link", "set", name, "up")
netlink, found = nl.RtNetlink(), []
for step in json.loads(sys.argv[1]):
    said, data = 0, bytes.fromhex(step["data"])
    try:
        (netlink.ask_older if step["older"] else netlink.send_joined)(data)
    except OSError as error:
        said = error.errno
    link = json.loads(ip("-j", "addr", "show", "dev", "eth0"))[0]
    addresses = [f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"] if one["family"] == "inet"]
    routes = [(one["dst"], one.get("gateway"), one["dev"]) for one in json.loads(ip("-j", "-4", "route"))]
    found.append([said, link["address"], addresses, sorted(routes)])
print(json.dumps(found))
"""
INTERFACE = {"mac": "0a:00:00:00:00:01", "address": "10.0.0.9", "gateway": "10.0.0.1"}


def _asked(tmp_path: Path, *steps: tuple[str, bool]) -> list[Any]:
    """What there is after each of them: (errno, hardware address, addresses, routes)."""
    script = tmp_path / "joined.py"
    script.write_text(_IN_THERE)
    told = json.dumps([{"data": data, "older": older} for data, older in steps])
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        ["unshare", "-n", sys.executable, str(script), told], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def _steps(told: dict[str, Any]) -> list[tuple[str, bool]]:
    hardware, rest = told["network"]
    return [(hardware, True), (rest, False)]


def _told(interface: dict[str, str] | None) -> dict[str, Any]:
    setup = {"id": "1" * 32, "cpu": 1, "shared_pid": False, "hostname": "h", "memory": 1, "pids": 1}
    setup |= {"interface": interface, "files": dict.fromkeys(places.KEPT_OPEN, "")}
    return birth.told(setup, [], False, []) if interface else birth.rehearsed(setup)


def _routes(gateway: str) -> list[Any]:
    return [[gateway, None, "eth0"], ["default", gateway, "eth0"]]


def test_an_interface_has_its_addresses_and_routes(tmp_path: Path) -> None:
    """After a rehearsal, of which nothing is left."""
    rehearsed = _told(None)
    steps = [*_steps(rehearsed), (rehearsed["undo"], False), *_steps(_told(INTERFACE))]
    found = _asked(tmp_path, *steps)
    assert [said for said, *_ in found] == [0] * 5
    assert found[1][1:] == ["02:00:00:00:00:01", ["192.0.2.2/32"], _routes("192.0.2.1")]
    assert found[2][2:] == [[], []]
    assert found[4][1:] == [INTERFACE["mac"], ["10.0.0.9/32"], _routes("10.0.0.1")]


def test_what_was_asked_before_may_be_asked_again(tmp_path: Path) -> None:
    found = _asked(tmp_path, *_steps(_told(INTERFACE)) * 2)
    assert found[1] == found[3] == [0, INTERFACE["mac"], ["10.0.0.9/32"], _routes("10.0.0.1")]


_NEW = nl.NLM_F_CREATE | nl.NLM_F_REPLACE
_ADDRESS = (nl.RTM_NEWADDR, _NEW, nl.address_of(2, "10.0.0.9"))
_WAY = (nl.RTM_NEWROUTE, _NEW, nl.route("10.0.0.1", 2))
_ONCE = (nl.RTM_NEWROUTE, nl.NLM_F_EXCL | nl.NLM_F_CREATE, _WAY[2])
_DEFAULT = (nl.RTM_NEWROUTE, _NEW, nl.route(None, 2, "10.0.0.1"))


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([_ADDRESS, _WAY, _DEFAULT], 0),
        ([_ADDRESS], 0),
        ([(nl.RTM_NEWADDR, _NEW, nl.address_of(9, "10.0.0.9")), _ADDRESS, _WAY], errno.ENODEV),
        ([_ADDRESS, (nl.RTM_NEWROUTE, _NEW, nl.route(None, 2, "10.9.9.9")), _WAY], errno.ENETUNREACH),
        ([_ADDRESS, _ONCE, _WAY, _WAY], 0),
        ([_ADDRESS, _WAY, _ONCE, _DEFAULT], errno.EEXIST),
        ([_ADDRESS, _WAY, (nl.RTM_DELADDR, 0, nl.address_of(2, "10.0.0.8"))], errno.EADDRNOTAVAIL),
        ([(99, 0, bytes(4)), _ADDRESS], errno.EOPNOTSUPP),
    ],
    ids=["all", "one", "first", "in the middle", "there before", "there already", "last", "of no kind"],
)  # fmt: skip
def test_one_that_fails_says_why(tmp_path: Path, requests: list[tuple[int, int, bytes]], said: int) -> None:
    ((code, _mac, addresses, _),) = _asked(tmp_path, (nl.joined(requests).hex(), False))
    assert (code, addresses) == (said, ["10.0.0.9/32"])
