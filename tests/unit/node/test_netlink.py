"""rtnetlink messages and the ranges that daemons claim. (Interfaces of real sandboxes:
tests/contracts/drivers.)
"""

import ipaddress
import os
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.node.network import claims, firewall
from neargate.node.network.interface import host_names
from neargate.node.network.rtnetlink import RtNetlink, attribute, attributes, nested


@given(st.dictionaries(st.integers(1, 200), st.binary(max_size=30)))
def test_attributes_come_back(values: dict[int, bytes]) -> None:
    data = b"".join(attribute(kind, value) for kind, value in values.items())
    assert attributes(data) == values and len(data) % 4 == 0


@given(st.binary(max_size=64))
def test_broken_attributes_end(data: bytes) -> None:
    attributes(data)


def test_nested_attributes() -> None:
    outer = attributes(nested(18, attribute(1, b"veth"), attribute(2, b"x")))
    assert attributes(outer[18]) == {1: b"veth", 2: b"x"}


def test_links_and_find_agree_with_the_kernel() -> None:
    netlink = RtNetlink()
    try:
        assert netlink.links() == {index: name for index, name in socket.if_nameindex()}
        assert netlink.find("lo") == socket.if_nametoindex("lo") and netlink.find("nosuch0") == 0
        with pytest.raises(OSError, match="No such device"):
            netlink.delete_link(1 << 20)
    finally:
        netlink.close()


def test_host_names_fit_and_carry_the_instance() -> None:
    names = host_names("abc123", "0123456789abcdef" * 2)
    assert names == ["ngabc1230123456", "ngabc123789abcd", "ngabc123ef01234"]
    assert all(len(name) <= 15 for name in names)


def test_rules_name_only_the_instances_interfaces() -> None:
    text = firewall.rules("abc123", "10.1.0.0/16")
    assert "table inet neargate_abc123" in text and 'iifname "ngabc123*"' in text
    assert "ip daddr != 10.1.0.0/16 masquerade" in text


@pytest.mark.root
def test_a_claim_is_seen_by_others_and_not_by_oneself(tmp_path: Path) -> None:
    """In a network namespace of its own, so that nothing of this machine matters."""
    script = tmp_path / "claims.py"
    script.write_text(
        "import subprocess\n"
        "from neargate.node.network import claims\n"
        "assert claims.clash('abc123', '10.9.0.0/16') is None\n"
        "claims.claim('abc123', '10.9.0.0/16')\n"
        "claims.claim('abc123', '10.9.0.0/16')\n"
        "assert claims.clash('abc123', '10.9.0.0/16') is None\n"
        "assert claims.clash('fedcba', '10.9.128.0/17').startswith('10.9.0.0/16 (neargate daemon abc123')\n"
        "assert claims.clash('fedcba', '10.8.0.0/16') is None\n"
        "claims.release('abc123', '10.9.0.0/16')\n"
        "claims.release('abc123', '10.9.0.0/16')\n"
        "assert claims.clash('fedcba', '10.9.128.0/17') is None\n"
        "assert claims.take('abc123', '10.9.0.0/16') is None\n"
        "assert 'abc123' in claims.take('fedcba', '10.9.128.0/17')\n"
        "assert claims.take('abc123', '10.9.0.0/16') is None\n"
        "claims.release('abc123', '10.9.0.0/16')\n"
        "ip = lambda *a: subprocess.run(['ip', *a], check=True)\n"
        "ip('link', 'add', 'br7', 'type', 'bridge'), ip('addr', 'add', '10.7.0.1/24', 'dev', 'br7')\n"
        "assert 'br7' in claims.clash('abc123', '10.7.0.0/16')\n"
    )
    import sys

    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        ["unshare", "-n", sys.executable, str(script)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


@given(st.ip_addresses(v=4))
def test_metrics_differ_by_instance(address: ipaddress.IPv4Address) -> None:
    instance = f"{int(address):08x}"[:6]
    assert claims.metric(instance) == int(instance, 16) + 1
