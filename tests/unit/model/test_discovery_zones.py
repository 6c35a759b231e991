"""DNS made of discovery's records: which instances, under which names, and which of them are left out."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model import zones
from neargate.model.discovery import DiscoveryService, Instance, Namespace
from neargate.model.discovery_rules import chosen, is_domain, usable
from neargate.model.zones import Document, Host, RecordSet, Zone

SCOPE = {"account": "000000000000", "region": "us-east-1"}


def namespace(type: str = "DNS_PRIVATE", name: str = "Corp.internal") -> Namespace:
    return Namespace(
        **SCOPE,
        id="ns-1",
        arn="arn",
        name=name,
        type=type,  # type: ignore[arg-type]
        http_name=name,
        soa_ttl=7,
    )


def service(*records: tuple[str, int], custom: bool = True, routing: str = "MULTIVALUE") -> DiscoveryService:
    return DiscoveryService(
        **SCOPE,
        id="srv-1",
        arn="arn",
        name="Web",
        namespace_id="ns-1",
        type="DNS_HTTP",
        records=records,
        custom_health=custom,
        routing=routing,  # type: ignore[arg-type]
    )


def instance(id: str, health: str = "HEALTHY", **attributes: str) -> Instance:
    return Instance(**SCOPE, service_id="srv-1", id=id, health=health, attributes=attributes)


def at(number: int, health: str = "HEALTHY") -> Instance:
    return instance(
        f"i{number}", health, AWS_INSTANCE_IPV4=f"10.0.0.{number}", AWS_INSTANCE_PORT=str(8000 + number)
    )


def no_alias(name: str) -> tuple[str, ...]:
    return ()


def test_unhealthy_ones_are_left_out_unless_all_are() -> None:
    sets = zones.sets_of(namespace(), service(("A", 5)), [at(1), at(2, "UNHEALTHY"), at(3)], no_alias)
    assert sets == [RecordSet("web.corp.internal", "A", 5, ("10.0.0.1", "10.0.0.3"))]
    sets = zones.sets_of(namespace(), service(("A", 5)), [at(1, "UNHEALTHY"), at(2, "UNHEALTHY")], no_alias)
    assert sets[0].values == ("10.0.0.1", "10.0.0.2")
    unchecked = service(("A", 5), custom=False)
    sets = zones.sets_of(namespace(), unchecked, [at(1), at(2, "UNHEALTHY")], no_alias)
    assert sets[0].values == ("10.0.0.1", "10.0.0.2")
    assert zones.sets_of(namespace(), service(("A", 5)), [], no_alias) == []


@given(st.lists(st.sampled_from(["HEALTHY", "UNHEALTHY"]), max_size=12))
def test_who_is_usable(healths: list[str]) -> None:
    found = [at(number, health) for number, health in enumerate(healths)]
    used = usable(service(("A", 5)), found)
    assert bool(used) == bool(found)
    assert len({one.health for one in used}) <= 1
    assert used == chosen(service(("A", 5)), found, "HEALTHY_OR_ELSE_ALL")
    for wanted in ("HEALTHY", "UNHEALTHY"):
        assert [one.health for one in chosen(service(("A", 5)), found, wanted)] == [
            health for health in healths if health == wanted
        ]


def test_each_kind_of_record() -> None:
    both = service(("A", 5), ("AAAA", 6))
    six = instance("six", AWS_INSTANCE_IPV4="10.0.0.6", AWS_INSTANCE_IPV6="fd00::6")
    assert zones.sets_of(namespace(), both, [six], no_alias) == [
        RecordSet("web.corp.internal", "A", 5, ("10.0.0.6",)),
        RecordSet("web.corp.internal", "AAAA", 6, ("fd00::6",)),
    ]
    assert zones.sets_of(namespace(), service(("SRV", 9)), [at(1)], no_alias) == [
        RecordSet("web.corp.internal", "SRV", 9, ("1 1 8001 i1.web.corp.internal.",)),
        RecordSet("i1.web.corp.internal", "A", 9, ("10.0.0.1",)),
    ]
    assert (
        zones.sets_of(
            namespace(), service(("SRV", 9)), [instance("i", AWS_INSTANCE_IPV4="10.0.0.1")], no_alias
        )
        == []
    )  # of a service that its tasks are registered in without a port
    named = [instance(n, AWS_INSTANCE_CNAME=f"{n}.example.com") for n in "ab"]
    weighted = service(("CNAME", 3), routing="WEIGHTED")
    assert zones.sets_of(namespace(), weighted, named, no_alias) == [
        RecordSet("web.corp.internal", "CNAME", 3, ("a.example.com", "b.example.com"), 1)
    ]
    assert zones.sets_of(namespace("HTTP"), service(("A", 5)), [at(1)], no_alias) == []
    assert zones.zone_of(namespace("HTTP")) is None
    assert zones.zone_of(namespace("DNS_PUBLIC")) == Zone("corp.internal", 7)


def test_a_balancer_behind_a_name_stands_for_all_of_its_addresses() -> None:
    weighted = service(("A", 5), routing="WEIGHTED")
    alias = instance("lb", AWS_ALIAS_DNS_NAME="lb-1.elb.amazonaws.com")
    balancers = {"lb-1.elb.amazonaws.com": ("10.0.0.8", "10.0.16.8")}
    sets = zones.sets_of(namespace(), weighted, [alias], lambda name: balancers.get(name, ()))
    assert sets == [RecordSet("web.corp.internal", "A", 5, ("10.0.0.8", "10.0.16.8"))]
    assert zones.sets_of(namespace(), weighted, [alias], no_alias) == []


def test_two_namespaces_of_one_name_are_one() -> None:
    one, other = RecordSet("a.b", "A", 5, ("1.1.1.1",), 1), RecordSet("a.b", "A", 3, ("1.1.1.1", "2.2.2.2"))
    assert zones.merged([one, RecordSet("a.b", "AAAA", 1, ("::1",)), other]) == (
        RecordSet("a.b", "A", 3, ("1.1.1.1", "2.2.2.2"), 8),
        RecordSet("a.b", "AAAA", 1, ("::1",)),
    )


@given(st.ip_addresses(v=4))
def test_addresses_have_one_name_each(address: ipaddress.IPv4Address) -> None:
    name = f"ip-{str(address).replace('.', '-')}.ec2.internal"
    inside = address in ipaddress.IPv4Network("10.0.0.0/8")
    assert zones.private_address(name, "ec2.internal", "10.0.0.0/8") == (str(address) if inside else None)
    reverse = address.reverse_pointer
    assert zones.pointed_name(reverse, "ec2.internal", "10.0.0.0/8") == (name if inside else None)


@given(st.text(alphabet="ip-0123456789.abc", max_size=30))
def test_other_names_are_no_addresses(name: str) -> None:
    found = zones.private_address(f"{name}.ec2.internal", "ec2.internal", "0.0.0.0/0")
    assert found is None or f"ip-{found.replace('.', '-')}" == name
    pointed = zones.pointed_name(f"{name}.in-addr.arpa", "ec2.internal", "0.0.0.0/0")
    assert pointed is None or pointed.endswith(".ec2.internal")


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("a", True),
        ("_x._tcp.A-b.c", True),
        ("a" * 63, True),
        ("a" * 64, False),
        (".".join(["a" * 49] * 5), True),
        (".".join(["a" * 60] * 5), False),
        ("", False),
        (".", False),
        ("a.", False),
        (".a", False),
        ("a..b", False),
        ("-a", False),
        ("a-", False),
        ("a b", False),
        ("ä", False),
        ("a\n", False),
    ],
)
def test_what_is_a_domain_name(name: str, right: bool) -> None:
    assert is_domain(name) is right


def test_a_document_comes_back_from_its_file() -> None:
    document = Document(
        zones=(Zone("a", 1),),
        sets=(RecordSet("b.a", "A", 2, ("1.1.1.1",), 1),),
        hosts=zones.data_hosts(("127.0.0.1", "127.0.0.1")),
        machine=(Host("c", ("10.0.0.1",)),),
        domain="ec2.internal",
        range="10.0.0.0/8",
    )
    assert document.hosts == (Host("data-127.0.0.1", ("127.0.0.1",)),)
    assert zones.decode(zones.encode(document)) == document
