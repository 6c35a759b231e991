"""Addresses, names and zones of the default network."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.model import addresses
from neargate.model.network import Interface, Subnet


def test_a_16_is_cut_as_aws_cuts_it() -> None:
    assert addresses.default_subnets("172.31.0.0/16") == ["172.31.0.0/20", "172.31.16.0/20", "172.31.32.0/20"]
    assert addresses.usable("172.31.0.0/20") == 4091


@given(st.integers(16, 24), st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_subnets_lie_apart_within_the_vpc(prefix: int, second: int) -> None:
    cidr = str(ipaddress.ip_network(f"10.{second}.0.0/{prefix}"))
    subnets = [ipaddress.ip_network(s) for s in addresses.default_subnets(cidr)]
    assert all(s.subnet_of(ipaddress.ip_network(cidr)) for s in subnets)
    assert not any(a.overlaps(b) for a in subnets for b in subnets if a != b)
    assert all(addresses.usable(str(s)) >= 50 for s in subnets)


@pytest.mark.parametrize("cidr", ["10.0.0.0/28", "172.31.16.0/26"])
def test_one_round_gives_every_address_once_and_no_reserved_one(cidr: str) -> None:
    network = ipaddress.ip_network(cidr)
    count = addresses.usable(cidr)
    given_out = [addresses.address_at(cidr, turn) for turn in range(1, count + 1)]
    assert len(set(given_out)) == count == network.num_addresses - 5
    kept = {str(network[i]) for i in (0, 1, 2, 3, -1)}
    assert not kept & set(given_out)
    assert addresses.address_at(cidr, count + 1) == given_out[0]
    assert addresses.gateway(cidr) == str(network[1])


@pytest.mark.parametrize(
    ("region", "zone_id", "name"),
    [
        ("us-east-1", "use1-az1", "ip-172-31-0-4.ec2.internal"),
        ("ap-northeast-1", "apne1-az1", "ip-172-31-0-4.ap-northeast-1.compute.internal"),
        ("eu-central-2", "euc2-az1", "ip-172-31-0-4.eu-central-2.compute.internal"),
        ("us-gov-west-1", "usgw1-az1", "ip-172-31-0-4.us-gov-west-1.compute.internal"),
    ],
)
def test_names(region: str, zone_id: str, name: str) -> None:
    assert addresses.zones(region)[0] == (f"{region}a", zone_id)
    assert addresses.dns_name("172.31.0.4", region) == name


def test_mac_is_local_unicast() -> None:
    assert addresses.mac("0123456789") == "02:01:23:45:67:89"


@pytest.mark.parametrize(
    ("texts", "servers"),
    [
        (["nameserver 127.0.0.53\n", "nameserver 10.1.1.1\nnameserver 10.1.1.2"], ("10.1.1.1", "10.1.1.2")),
        (["# c\nsearch x\nnameserver 9.9.9.9 # q\nnameserver fe80::1\n", "nameserver 1.1.1.1"], ("9.9.9.9",)),
        (
            ["nameserver 1.1.1.1\n" * 2 + "nameserver 2.2.2.2\nnameserver 3.3.3.3"],
            ("1.1.1.1", "1.1.1.1", "2.2.2.2"),
        ),
        (["nameserver ::1\nnameserver"], ()),
        ([], ()),
    ],
)
def test_resolvers(texts: list[str], servers: tuple[str, ...]) -> None:
    assert addresses.resolvers(texts) == servers


def test_the_node_is_told_all_of_the_interface() -> None:
    subnet = Subnet(
        account="0",
        region="us-east-1",
        id="subnet-1",
        vpc_id="vpc-1",
        cidr="172.31.16.0/20",
        zone="a",
        zone_id="z",
    )
    interface = Interface(
        account="0",
        region="us-east-1",
        id="eni-1",
        subnet_id=subnet.id,
        vpc_id="vpc-1",
        zone="a",
        address="172.31.16.9",
        mac="02:00:00:00:00:01",
        security_groups=("sg-1",),
    )
    spec = addresses.interface_spec(interface, subnet, ["1.1.1.1"])
    assert (spec.gateway, spec.subnet_cidr, spec.dns_servers) == (
        "172.31.16.1",
        "172.31.16.0/20",
        ("1.1.1.1",),
    )
    assert (spec.dns_name, spec.security_groups) == ("ip-172-31-16-9.ec2.internal", ("sg-1",))
