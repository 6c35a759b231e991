"""The hole in the firewall that leads to 169.254.170.2, as text; e2e/test_metadata.py goes through it."""

import socket

import pytest

from neargate.model import endpoints
from neargate.model.addresses import RESERVED_FIRST, address_at, default_subnets, gateway
from neargate.node.network import endpoint, firewall

RULES = firewall.endpoint_rules("abc123", "10.1.0.3", {80: 20_000, 4566: 20_001})


@pytest.mark.parametrize("vpc", ["172.31.0.0/16", "10.9.8.0/24", "10.0.0.0/20"])
def test_the_daemons_address_is_no_tasks_nor_a_gateways(vpc: str) -> None:
    own = endpoint.own_address(vpc)
    first = default_subnets(vpc)[0]
    assert own.endswith(".3") and own != gateway(first)
    assert own != address_at(first, 1) and RESERVED_FIRST == 4


def test_only_tasks_of_this_daemon_and_only_two_ports_are_led_there() -> None:
    led = [line for line in RULES.splitlines() if "dnat" in line and line.startswith("add")]
    assert led == [
        "add rule inet neargate_abc123 endpoint_dnat"
        f' iifname "ngabc123*" ip daddr {endpoints.ADDRESS} tcp dport {outer} dnat ip to 10.1.0.3:{inner}'
        for outer, inner in ((80, 20_000), (4566, 20_001))
    ]


def test_who_was_not_led_there_is_dropped_last() -> None:
    let_in = [
        line for line in RULES.splitlines() if line.startswith("add rule inet neargate_abc123 endpoint ")
    ]
    assert let_in[-1].endswith("endpoint ip daddr 10.1.0.3 drop")
    for line in let_in[:-1]:
        assert line.endswith("accept") and 'iifname "ngabc123*"' in line
        assert (
            f"ct original ip daddr {endpoints.ADDRESS} ip daddr 10.1.0.3 tcp dport {{ 20000, 20001 }}" in line
        )
    assert "socket wildcard 0" in RULES
    assert "socket" not in firewall.endpoint_rules("abc123", "10.1.0.3", {80: 1}, bound=False)


def test_a_port_that_is_taken_gives_way_to_any_other() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with endpoint._listener("127.0.0.1", port) as listener:
            assert listener.getsockname()[1] not in (0, port)
        with endpoint._listener("127.0.0.1", port + 1 if port < 65535 else 2000) as listener:
            assert listener.getblocking() is False
