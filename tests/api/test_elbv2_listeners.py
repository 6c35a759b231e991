"""Listeners and their certificates by an unmodified client."""

from typing import Any

import pytest

from tests.support import certificates
from tests.support.balancing import Balancing, refused
from tests.support.door import Door


@pytest.fixture
def lb(door: Door) -> Balancing:
    return Balancing(door)


FIXED = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "MessageBody": "hello"}}]


def imported(door: Door, name: str) -> str:
    made = certificates.made(name)
    answer = door.client("acm").import_certificate(Certificate=made.pem, PrivateKey=made.key_pem)
    return str(answer["CertificateArn"])


def test_a_listener_from_birth_to_death(lb: Balancing) -> None:
    balancer, group = lb.balancer(), lb.group()
    actions = [{"Type": "forward", "TargetGroupArn": group}]
    params = {"LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 80, "DefaultActions": actions}
    made = lb.client.create_listener(**params)["Listeners"][0]
    assert made["ListenerArn"].startswith(balancer.replace(":loadbalancer/", ":listener/"))
    assert made["DefaultActions"] == [
        {
            "Type": "forward",
            "TargetGroupArn": group,
            "ForwardConfig": {
                "TargetGroups": [{"TargetGroupArn": group, "Weight": 1}],
                "TargetGroupStickinessConfig": {"Enabled": False},
            },
        }
    ]
    assert "Certificates" not in made and "SslPolicy" not in made
    assert lb.client.describe_listeners(LoadBalancerArn=balancer)["Listeners"] == [made]
    assert lb.client.create_listener(**params)["Listeners"] == [made]
    message = refused("DuplicateListener", lb.client.create_listener, **{**params, "DefaultActions": FIXED})
    assert message == f"A listener already exists on this port for this load balancer '{balancer}'"
    assert lb.balancers_of(group) == [balancer]
    message = refused("ResourceInUse", lb.client.delete_target_group, TargetGroupArn=group)
    assert message == f"Target group '{group}' is currently in use by a listener or a rule"
    lb.client.delete_listener(ListenerArn=made["ListenerArn"])
    assert lb.balancers_of(group) == []
    refused("ListenerNotFound", lb.client.delete_listener, ListenerArn=made["ListenerArn"])
    refused("ListenerNotFound", lb.client.describe_listeners, ListenerArns=[made["ListenerArn"]])
    lb.client.delete_target_group(TargetGroupArn=group)


def test_a_balancers_end_is_its_listeners(lb: Balancing) -> None:
    balancer, group, other = lb.balancer(), lb.group(), lb.group("other")
    listener = lb.listener(balancer, group)
    rule = lb.rule(listener, 1, Actions=[{"Type": "forward", "TargetGroupArn": other}])
    assert lb.balancers_of(other) == [balancer]
    lb.client.delete_load_balancer(LoadBalancerArn=balancer)
    refused("RuleNotFound", lb.client.describe_rules, RuleArns=[rule])
    assert lb.balancers_of(group) == lb.balancers_of(other) == []


BAD = "ValidationError"
SERVER = "arn:aws:iam::0:server-certificate/a"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"Port": None}, BAD, "A listener port must be specified"),
        ({"Protocol": None}, BAD, "A listener protocol must be specified"),
        ({"Protocol": "TCP"}, BAD, "Listener protocol 'TCP' must be one of 'HTTP, HTTPS'"),
        ({"Protocol": "HTTPS"}, BAD, "A certificate must be specified for HTTPS listeners"),
        ({"SslPolicy": "ELBSecurityPolicy-2016-08"}, BAD, "cannot be specified for HTTP listeners"),
        ({"Certificates": [{"CertificateArn": "a"}]}, BAD, "cannot be specified for HTTP listeners"),
        (
            {"Protocol": "HTTPS", "Certificates": [{"CertificateArn": SERVER}]},
            "CertificateNotFound",
            f"Certificate '{SERVER}' not found",
        ),
        (
            {"Protocol": "HTTPS", "Certificates": [{"CertificateArn": "a"}, {"CertificateArn": "b"}]},
            "TooManyCertificates",
            "Exactly one",
        ),
        ({"AlpnPolicy": ["HTTP2Only"]}, "InvalidConfigurationRequest", "only be specified for TLS"),
        ({"MutualAuthentication": {"Mode": "verify"}}, "InvalidConfigurationRequest", "not built"),
        ({"DefaultActions": []}, BAD, "Actions must be specified"),
        (
            {"DefaultActions": [{"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301"}}]},
            "InvalidLoadBalancerAction",
            "because it creates a loop",
        ),
        (
            {
                "DefaultActions": [
                    {
                        "Type": "authenticate-cognito",
                        "AuthenticateCognitoConfig": {
                            "UserPoolArn": "a",
                            "UserPoolClientId": "b",
                            "UserPoolDomain": "c",
                        },
                        "Order": 1,
                    }
                ]
            },
            "InvalidLoadBalancerAction",
            "not built into neargate",
        ),
        ({"DefaultActions": [{"Type": "forward", "TargetGroupArn": "x"}]}, BAD, "'x' is not a valid"),
    ],
)
def test_what_cannot_be_created(lb: Balancing, options: dict[str, Any], code: str, message: str) -> None:
    usual = {"Protocol": "HTTP", "Port": 80, "DefaultActions": FIXED}
    params = {name: value for name, value in {**usual, **options}.items() if value is not None}
    balancer = lb.balancer()
    assert message in refused(code, lb.client.create_listener, LoadBalancerArn=balancer, **params)
    assert lb.client.describe_listeners(LoadBalancerArn=balancer)["Listeners"] == []


def forward(*groups: str) -> list[dict[str, Any]]:
    listed = [{"TargetGroupArn": group} for group in groups]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": listed}}]


def test_groups_that_do_not_fit(lb: Balancing) -> None:
    balancer, create = lb.balancer(), lb.client.create_listener
    usual = {"LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 80}
    tcp, grpc = lb.group("tcp", Protocol="TCP"), lb.group("grpc", ProtocolVersion="GRPC")
    message = refused("IncompatibleProtocols", create, DefaultActions=forward(tcp), **usual)
    assert "'HTTP' is not supported with a target group with the protocol 'TCP'" in message
    message = refused("InvalidLoadBalancerAction", create, DefaultActions=forward(grpc), **usual)
    assert "with the protocol-version 'GRPC'" in message
    gone = tcp[:-16] + "0" * 16
    message = refused("TargetGroupNotFound", create, DefaultActions=forward(gone), **usual)
    assert message == f"Target group '{gone}' not found"
    mine = lb.group("mine")
    lb.listener(lb.balancer("other"), mine)
    message = refused("TargetGroupAssociationLimit", create, DefaultActions=forward(mine), **usual)
    assert mine in message and lb.client.describe_listeners(LoadBalancerArn=balancer)["Listeners"] == []


@pytest.mark.parametrize(
    ("listener", "group", "fits"),
    [
        *(("TCP", "TCP", True), ("TCP", "TCP_UDP", True), ("TCP", "TLS", False), ("TCP", "UDP", False)),
        *(("UDP", "UDP", True), ("UDP", "TCP_UDP", True), ("UDP", "TCP", False)),
        *(("TCP_UDP", "TCP_UDP", True), ("TCP_UDP", "TCP", False), ("TCP", "HTTP", False)),
    ],
)
def test_protocols_of_network_balancers(lb: Balancing, listener: str, group: str, fits: bool) -> None:
    balancer, target = lb.balancer("net", Type="network"), lb.group("g", Protocol=group)
    params = {
        "LoadBalancerArn": balancer,
        "Protocol": listener,
        "Port": 53,
        "DefaultActions": forward(target),
    }
    if fits:
        assert lb.client.create_listener(**params)["Listeners"][0]["Protocol"] == listener
    else:
        refused("IncompatibleProtocols", lb.client.create_listener, **params)


def test_https_with_its_certificates(lb: Balancing) -> None:
    one, two, three = (imported(lb.door, f"{name}.example.com") for name in ("one", "two", "three"))
    balancer, group = lb.balancer(), lb.group("grpc", ProtocolVersion="GRPC")
    certificate = [{"CertificateArn": one}]
    arn = lb.listener(balancer, group, 443, "HTTPS", Certificates=certificate)
    shown = lb.client.describe_listeners(ListenerArns=[arn])["Listeners"][0]
    assert shown["Certificates"] == certificate and shown["SslPolicy"] == "ELBSecurityPolicy-2016-08"
    assert shown["MutualAuthentication"] == {"Mode": "off"}
    added = [{"CertificateArn": two}, {"CertificateArn": three}]
    for _ in range(2):
        answer = lb.client.add_listener_certificates(ListenerArn=arn, Certificates=added)
        assert [item["CertificateArn"] for item in answer["Certificates"]] == [two, three]

    def listed() -> list[tuple[str, bool]]:
        found = lb.client.describe_listener_certificates(ListenerArn=arn)["Certificates"]
        return [(item["CertificateArn"], item["IsDefault"]) for item in found]

    assert listed() == [(one, True), (two, False), (three, False)]
    pages = lb.client.get_paginator("describe_listener_certificates").paginate(
        ListenerArn=arn, PaginationConfig={"PageSize": 2}
    )
    assert [len(page["Certificates"]) for page in pages] == [2, 1]
    remove = lb.client.remove_listener_certificates
    refused("OperationNotPermitted", remove, ListenerArn=arn, Certificates=certificate)
    remove(ListenerArn=arn, Certificates=added[:1])
    lb.client.modify_listener(
        ListenerArn=arn,
        Certificates=[{"CertificateArn": two}],
        SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06",
    )
    assert listed() == [(two, True), (three, False)]
    unknown = {"ListenerArn": arn, "SslPolicy": "none"}
    refused("SSLPolicyNotFound", lb.client.modify_listener, **unknown)
    bad = [{"CertificateArn": one, "IsDefault": True}]
    refused("ValidationError", lb.client.add_listener_certificates, ListenerArn=arn, Certificates=bad)
    lb.client.modify_listener(ListenerArn=arn, Protocol="HTTP", DefaultActions=FIXED)
    refused("InvalidConfigurationRequest", remove, ListenerArn=arn, Certificates=added)
    assert "Certificates" not in lb.client.describe_listeners(ListenerArns=[arn])["Listeners"][0]


def test_tls_with_alpn(lb: Balancing) -> None:
    balancer, group = lb.balancer("net", Type="network"), lb.group("tls", Protocol="TLS")
    certificate = [{"CertificateArn": imported(lb.door, "a.example.com")}]
    params = {"Certificates": certificate, "AlpnPolicy": ["HTTP2Preferred"]}
    arn = lb.listener(balancer, group, 443, "TLS", **params)
    shown = lb.client.describe_listeners(ListenerArns=[arn])["Listeners"][0]
    assert shown["AlpnPolicy"] == ["HTTP2Preferred"]
    refused("ALPNPolicyNotFound", lb.client.modify_listener, ListenerArn=arn, AlpnPolicy=["HTTP3"])
    changed = lb.client.modify_listener(ListenerArn=arn, Port=8443)["Listeners"][0]
    assert changed["AlpnPolicy"] == ["HTTP2Preferred"] and changed["Port"] == 8443


def test_modifying_moves_the_links(lb: Balancing) -> None:
    balancer, one, two = lb.balancer(), lb.group("one"), lb.group("two")
    arn, other = lb.listener(balancer, one), lb.listener(balancer, two, 81)
    changed = lb.client.modify_listener(ListenerArn=arn, DefaultActions=forward(one, two), Port=8080)
    assert changed["Listeners"][0]["Port"] == 8080
    assert "TargetGroupArn" not in changed["Listeners"][0]["DefaultActions"][0]
    lb.client.modify_listener(ListenerArn=arn, DefaultActions=forward(two))
    assert lb.balancers_of(one) == [] and lb.balancers_of(two) == [balancer]
    lb.client.delete_listener(ListenerArn=other)
    assert lb.balancers_of(two) == [balancer]
    lb.client.modify_listener(ListenerArn=arn, DefaultActions=FIXED)
    assert lb.balancers_of(two) == []
    lb.listener(balancer, one)
    refused("DuplicateListener", lb.client.modify_listener, ListenerArn=arn, Port=80)
    again = lb.client.modify_listener(ListenerArn=arn)["Listeners"][0]
    assert again["DefaultActions"] == FIXED


def test_a_protocol_must_fit_the_rules_groups_too(lb: Balancing) -> None:
    balancer, plain, grpc = lb.balancer(), lb.group(), lb.group("grpc", ProtocolVersion="GRPC")
    certificate = [{"CertificateArn": imported(lb.door, "a.example.com")}]
    arn = lb.listener(balancer, plain, 443, "HTTPS", Certificates=certificate)
    lb.rule(arn, 1, Actions=forward(grpc))
    refused("InvalidLoadBalancerAction", lb.client.modify_listener, ListenerArn=arn, Protocol="HTTP")


def test_describing_needs_to_know_which(lb: Balancing) -> None:
    balancer = lb.balancer()
    describe = lb.client.describe_listeners
    refused("ValidationError", describe)
    refused("ValidationError", describe, LoadBalancerArn=balancer, ListenerArns=["a"])
    refused("LoadBalancerNotFound", describe, LoadBalancerArn=balancer[:-16] + "0" * 16)
    message = refused("ValidationError", describe, ListenerArns=["a"])
    assert message == "'a' is not a valid listener ARN"
    for port in range(1, 6):
        lb.client.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=port, DefaultActions=FIXED)
    pages = lb.client.get_paginator("describe_listeners").paginate(
        LoadBalancerArn=balancer, PaginationConfig={"PageSize": 2}
    )
    assert [len(page["Listeners"]) for page in pages] == [2, 2, 1]


def test_attributes(lb: Balancing) -> None:
    arn = lb.listener(lb.balancer("net", Type="network"), lb.group("tcp", Protocol="TCP"), 9, "TCP")
    given = [{"Key": "tcp.idle_timeout.seconds", "Value": "60"}]
    assert lb.client.modify_listener_attributes(ListenerArn=arn, Attributes=given)["Attributes"] == given
    assert lb.client.describe_listener_attributes(ListenerArn=arn)["Attributes"] == given
    refused(
        "ValidationError",
        lb.client.modify_listener_attributes,
        ListenerArn=arn,
        Attributes=[{"Key": "tcp.idle_timeout.seconds", "Value": "59"}],
    )
