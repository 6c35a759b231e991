"""Which actions there may be, and how they are kept."""

from typing import Any

import pytest

from neargate.kit.errors import ApiError
from neargate.model.balancer_rules_actions import made, target_groups


def forward(*groups: tuple[str, int], **config: Any) -> dict[str, Any]:
    listed = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in groups]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": listed, **config}}


def redirect(**config: Any) -> dict[str, Any]:
    return {"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", **config}}


def fixed(**config: Any) -> dict[str, Any]:
    return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", **config}}


def kept(
    *given: dict[str, Any], kind: str = "application", protocol: str = "HTTP"
) -> tuple[dict[str, Any], ...]:
    return made(given, kind=kind, protocol=protocol)


OFF = {"Enabled": False}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"Type": "forward", "TargetGroupArn": "a"},
            {"TargetGroups": [{"TargetGroupArn": "a", "Weight": 1}], "TargetGroupStickinessConfig": OFF},
        ),
        (
            {
                "Type": "forward",
                "TargetGroupArn": "a",
                "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": "a"}]},
            },
            {"TargetGroups": [{"TargetGroupArn": "a", "Weight": 1}], "TargetGroupStickinessConfig": OFF},
        ),
        (
            forward(
                ("a", 0), ("b", 999), TargetGroupStickinessConfig={"Enabled": True, "DurationSeconds": 5}
            ),
            {
                "TargetGroups": [
                    {"TargetGroupArn": "a", "Weight": 0},
                    {"TargetGroupArn": "b", "Weight": 999},
                ],
                "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 5},
            },
        ),
        (
            forward(("a", 1), TargetGroupStickinessConfig={"Enabled": False, "DurationSeconds": 5}),
            {
                "TargetGroups": [{"TargetGroupArn": "a", "Weight": 1}],
                "TargetGroupStickinessConfig": {"Enabled": False, "DurationSeconds": 5},
            },
        ),
    ],
)
def test_a_forward_is_spelt_out(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert kept(given) == ({"Type": "forward", "ForwardConfig": expected},)


def test_a_redirect_keeps_what_it_does_not_name() -> None:
    (action,) = kept(redirect(Protocol="HTTPS", Port="443"))
    assert action["RedirectConfig"] == {
        "Protocol": "HTTPS",
        "Port": "443",
        "Host": "#{host}",
        "Path": "/#{path}",
        "Query": "#{query}",
        "StatusCode": "HTTP_301",
    }
    (dropped,) = kept(redirect(Path="/x", Query=""))
    assert dropped["RedirectConfig"]["Query"] == ""


def test_a_fixed_response_and_its_order() -> None:
    given = {**fixed(MessageBody="no", ContentType="text/html"), "Order": 3}
    assert kept(given) == (given,)
    assert kept(fixed(MessageBody="")) == (fixed(),)


BAD = "InvalidLoadBalancerAction"


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ([], "ValidationError", "Actions must be specified"),
        ([{"Type": "authenticate-oidc"}, fixed()], BAD, "'authenticate-oidc' are not built"),
        ([{"Type": "jwt-validation"}], BAD, "'jwt-validation' are not built"),
        ([fixed(), fixed()], "TooManyActions", "only one action"),
        ([{"Type": "forward"}], "ValidationError", "A target group ARN must be specified"),
        ([{"Type": "forward", "ForwardConfig": {"TargetGroups": [{}]}}], "ValidationError", "ARN must be"),
        ([forward(("a", 1000))], "ValidationError", "between 0 and 999"),
        ([forward(("a", 1), ("a", 2))], BAD, "only once"),
        ([forward(*((name, 1) for name in "abcdef"))], "TooManyTargetGroups", "at most 5"),
        ([{**forward(("a", 1), ("b", 1)), "TargetGroupArn": "a"}], BAD, "the only target group"),
        ([forward(("a", 1), TargetGroupStickinessConfig={"Enabled": True})], "ValidationError", "DurationS"),
        (
            [forward(("a", 1), TargetGroupStickinessConfig={"Enabled": True, "DurationSeconds": 604801})],
            "ValidationError",
            "between 1 and 604800",
        ),
        ([{**fixed(), "TargetGroupArn": "a"}], BAD, "only be specified for actions of the type 'forward'"),
        ([{**fixed(), "RedirectConfig": {"StatusCode": "HTTP_301"}}], BAD, "Only FixedResponseConfig"),
        ([{"Type": "redirect"}], BAD, "must have a RedirectConfig"),
        ([{"Type": "fixed-response"}], BAD, "must have a FixedResponseConfig"),
        ([redirect()], BAD, "because it creates a loop"),
        ([redirect(Query="a=b")], BAD, "because it creates a loop"),
        ([redirect(Path="/#{nothing}")], BAD, "unknown keyword"),
        ([redirect(Path="x")], "ValidationError", "must begin with '/'"),
        ([redirect(Port="0")], "ValidationError", "from 1 to 65535"),
        ([redirect(Port="٣")], "ValidationError", "printable ASCII"),
        ([redirect(Host="a b")], "ValidationError", "printable ASCII"),
        ([fixed(ContentType="image/png")], "ValidationError", "must be one of 'text/plain"),
        ([fixed(MessageBody="\ud800")], "ValidationError", "not valid text"),
    ],
)
def test_refused(given: list[dict[str, Any]], code: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        kept(*given)
    assert caught.value.code == code and message in caught.value.message


@pytest.mark.parametrize(
    ("given", "kind", "protocol"),
    [
        (redirect(Protocol="HTTP", Port="80"), "application", "HTTPS"),
        (fixed(), "network", "TCP"),
        (
            forward(("a", 1), TargetGroupStickinessConfig={"Enabled": True, "DurationSeconds": 5}),
            "network",
            "TCP",
        ),
    ],
)
def test_refused_there(given: dict[str, Any], kind: str, protocol: str) -> None:
    with pytest.raises(ApiError) as caught:
        kept(given, kind=kind, protocol=protocol)
    assert caught.value.code == BAD


def test_the_groups_of_actions() -> None:
    actions = (*kept(forward(("a", 1), ("b", 2))), *kept(forward(("b", 1))), *kept(fixed()))
    assert target_groups(actions) == ("a", "b")
