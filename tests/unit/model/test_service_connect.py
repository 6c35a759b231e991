"""Service Connect by its rules: what a service offers, who answers there, and what Envoy is told of it."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from neargate.model import addresses, envoy, envoy_connect
from neargate.model.balancing import EMPTY, View
from neargate.model.service import Service
from neargate.model.service_connect import (
    ConnectEndpoint,
    ConnectTarget,
    free_address,
    namespace_of,
    offered,
    shifted,
    targets,
)
from neargate.model.task import Task, TaskDefinition
from neargate.node.balancer.protos import packed
from tests.support.tasks import running_task

SCOPE = {"account": "000000000000", "region": "us-east-1"}
NAMESPACE = "arn:aws:servicediscovery:us-east-1:000000000000:namespace/ns-1"


def definition(*mappings: dict[str, Any], **container: Any) -> TaskDefinition:
    body = {"containerDefinitions": [{"name": "web", "portMappings": list(mappings), **container}]}
    return TaskDefinition(**SCOPE, arn="d", family="web", revision=1, body=body)


def service(*offers: dict[str, Any], enabled: bool = True) -> Service:
    connect = {"enabled": enabled, "namespace": NAMESPACE, "services": list(offers)}
    return Service(
        **SCOPE,
        arn="arn:aws:ecs:us-east-1:000000000000:service/c/shop",
        name="shop",
        cluster_arn="c",
        definition_arn="d",
        revision_arn="r",
        body={"serviceConnectConfiguration": connect if enabled else {"enabled": False}},
    )


API = {"portName": "api", "discoveryName": "api"}
HTTP = {"name": "api", "containerPort": 8080, "appProtocol": "http"}


def test_what_is_offered_and_its_defaults() -> None:
    (one,) = offered(service(API), definition(HTTP), "mesh")
    assert (one.dns_name, one.port, one.protocol) == ("api.mesh", 8080, "http")
    assert (one.namespace_id, one.idle_seconds, one.request_seconds) == ("ns-1", 300, 15)
    (tcp,) = offered(service(API), definition({"name": "api", "containerPort": 1}), "mesh")
    assert (tcp.protocol, tcp.idle_seconds) == ("", 3600)
    assert (one.test_header, one.test_value) == ("x-amzn-ecs-blue-green-test", None)
    rules = {"header": {"name": "x-test", "value": {"exact": "v2"}}}
    alias = {"clientAliases": [{"port": 80, "dnsName": "shop", "testTrafficRules": rules}]}
    timeout = {"timeout": {"idleTimeoutSeconds": 0, "perRequestTimeoutSeconds": 7}}
    (named,) = offered(service(API | alias | timeout), definition(HTTP), "mesh")
    assert (named.dns_name, named.port, named.idle_seconds, named.request_seconds) == ("shop", 80, 0, 7)
    assert (named.test_header, named.test_value) == ("x-test", "v2")
    assert list(offered(service(API), definition({"name": "other", "containerPort": 1}), "mesh")) == []
    assert namespace_of(service().body) == "ns-1" and namespace_of(service(enabled=False).body) == ""
    assert namespace_of({}) == "" and list(offered(service(enabled=False), definition(HTTP), "mesh")) == []


def endpoint(*found: ConnectTarget, protocol: str = "http") -> ConnectEndpoint:
    return ConnectEndpoint(
        **SCOPE,
        namespace_id="ns-1",
        discovery_name="api",
        service_arn="s",
        port_name="api",
        dns_name="api.mesh",
        port=80,
        protocol=protocol,
        address="10.0.240.1",
        targets=found,
    )


def answering(*tasks: Task, **container: Any) -> list[str]:
    found = targets(endpoint(), tasks, {"d": definition(HTTP, **container)})
    assert all(target.port == 8080 for target in found)
    return [target.address for target in found]


def test_who_answers() -> None:
    others = [
        running_task(2, last_status="PENDING"),
        running_task(3, desired_status="STOPPED"),
        running_task(4, private_ip=""),
        running_task(5, definition_arn="gone"),
    ]
    assert answering(running_task(1), *others) == ["10.0.0.1"]
    assert answering(running_task(1), running_task(2, health="UNHEALTHY")) == ["10.0.0.1"]
    assert answering(running_task(1, health="UNHEALTHY"), running_task(2, health="UNHEALTHY")) == [
        "10.0.0.1",
        "10.0.0.2",
    ]
    checked = {"healthCheck": {"command": ["true"]}}
    assert answering(running_task(1), running_task(2, health="HEALTHY"), **checked) == ["10.0.0.2"]
    assert answering() == []


@given(st.integers(0, 6), st.integers(0, 6), st.floats(0, 100))
def test_a_deployment_that_shifts_traffic_has_its_share(blue: int, green: int, percent: float) -> None:
    found = [ConnectTarget(address=f"10.0.0.{n}", port=1, task_arn=str(n)) for n in range(blue + green)]
    new = {str(n) for n in range(blue, blue + green)}
    told = shifted(found, new, percent)
    assert set(target.address for target in told) <= {target.address for target in found}
    assert bool(told) == bool(found) and all(target.weight >= 1 for target in told)
    if blue and green:
        own = sum(target.weight for target in told if target.task_arn in new)
        share = 100 * own / sum(target.weight for target in told)
        assert abs(share - percent) < 0.2
    else:
        assert list(told) == found


@pytest.mark.parametrize("vpc", ["172.31.0.0/16", "10.1.2.0/24", "10.0.0.0/20"])
def test_addresses_of_their_own(vpc: str) -> None:
    first = free_address(vpc, ())
    assert first is not None
    second = free_address(vpc, {first})
    assert second is not None and second != first
    for address in (first, second):
        assert ipaddress.IPv4Address(address) in ipaddress.IPv4Network(vpc)
        assert not any(
            ipaddress.IPv4Address(address) in ipaddress.IPv4Network(subnet)
            for subnet in addresses.default_subnets(vpc)
        )


def test_a_range_has_an_end() -> None:
    taken: set[str] = set()
    while (address := free_address("10.1.2.0/24", taken)) is not None:
        assert address not in taken
        taken.add(address)
    assert len(taken) == 62


@given(
    st.sampled_from(["http", "http2", "grpc", ""]), st.integers(0, 5), st.integers(0, 999), st.integers(0, 99)
)
def test_envoy_can_read_what_it_is_told(protocol: str, count: int, idle: int, request: int) -> None:
    found = [ConnectTarget(address=f"10.0.0.{n}", port=8080, task_arn=f"t{n}") for n in range(count)]
    one = replace(endpoint(*found, protocol=protocol), idle_seconds=idle, request_seconds=request)
    view = _view(one)
    made = envoy.Translator().resources(view)
    name = envoy_connect.name(one)
    for kind in (envoy.CLUSTER, envoy.ENDPOINTS, envoy.LISTENER, envoy.ROUTES):
        assert set(made[kind]) == ({name} if kind != envoy.ROUTES or protocol else set())
        for resource in made[kind].values():
            assert packed(kind, resource).value
    told = made[envoy.ENDPOINTS][name]["endpoints"]
    assert sum(len(locality["lb_endpoints"]) for locality in told) == count
    assert not view.empty and EMPTY.empty


def test_a_changed_target_makes_no_listener_anew() -> None:
    """A listener that changes drains its connections."""
    one, other = (endpoint(ConnectTarget(address=a, port=1, task_arn="t")) for a in ("10.0.0.1", "10.0.0.2"))
    assert envoy_connect.listener(one) == envoy_connect.listener(other)
    assert envoy_connect.cluster(one, "a") == envoy_connect.cluster(other, "a")
    assert envoy_connect.routes(one) == envoy_connect.routes(other)
    assert envoy_connect.endpoints("a", one.targets) != envoy_connect.endpoints("a", other.targets)


@pytest.mark.parametrize(
    ("value", "match"), [(None, {"present_match": True}), ("v2", {"string_match": {"exact": "v2"}})]
)
def test_test_traffic_goes_to_its_own(value: str | None, match: dict[str, Any]) -> None:
    blue, green = (ConnectTarget(address=f"10.0.0.{n}", port=1, task_arn=str(n)) for n in (1, 2))
    one = replace(endpoint(blue), test_header="x-test", test_value=value, test_targets=(green,))
    made = envoy.Translator().resources(_view(one))
    first, second = made[envoy.ROUTES][envoy_connect.name(one)]["virtual_hosts"][0]["routes"]
    assert first["match"]["headers"] == [{"name": "x-test", **match}]
    assert first["route"]["cluster"] == envoy_connect.test_name(one)
    assert second["route"]["cluster"] == envoy_connect.name(one)
    (told,) = made[envoy.ENDPOINTS][envoy_connect.test_name(one)]["endpoints"][0]["lb_endpoints"]
    assert told["endpoint"]["address"]["socket_address"]["address"] == "10.0.0.2"
    for kind, named in made.items():
        assert all(packed(kind, resource).value for resource in named.values())


def _view(one: ConnectEndpoint) -> View:
    return View(**{n: getattr(EMPTY, n) for n in View.__slots__ if n != "connect"}, connect={"a": one})
