"""Rules of listeners by an unmodified client."""

from typing import Any

import pytest

from neargate.state.listeners import routing
from tests.support.balancing import Balancing, refused
from tests.support.door import Door


@pytest.fixture
def lb(door: Door) -> Balancing:
    return Balancing(door)


@pytest.fixture
def listener(lb: Balancing) -> str:
    return lb.listener(lb.balancer(), lb.group())


def priorities(lb: Balancing, listener: str) -> list[str]:
    return [rule["Priority"] for rule in lb.client.describe_rules(ListenerArn=listener)["Rules"]]


def test_a_rule_from_birth_to_death(lb: Balancing, listener: str) -> None:
    group = lb.group("other")
    made = lb.client.create_rule(
        ListenerArn=listener,
        Priority=10,
        Conditions=[
            {"Field": "path-pattern", "Values": ["/a/*"]},
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "Values": ["*b*"]}},
        ],
        Actions=[{"Type": "forward", "TargetGroupArn": group}],
    )["Rules"][0]
    assert made["RuleArn"].startswith(listener.replace(":listener/", ":listener-rule/"))
    assert made["Priority"] == "10" and made["IsDefault"] is False
    assert made["Conditions"][0] == {
        "Field": "path-pattern",
        "Values": ["/a/*"],
        "PathPatternConfig": {"Values": ["/a/*"]},
    }
    assert "Values" not in made["Conditions"][1]
    assert made["Actions"][0]["ForwardConfig"]["TargetGroups"] == [{"TargetGroupArn": group, "Weight": 1}]
    assert len(lb.balancers_of(group)) == 1
    arn = made["RuleArn"]
    assert lb.client.describe_rules(RuleArns=[arn])["Rules"] == [made]
    changed = lb.client.modify_rule(
        RuleArn=arn,
        Actions=[{"Type": "redirect", "RedirectConfig": {"Port": "81", "StatusCode": "HTTP_302"}}],
    )["Rules"][0]
    assert changed["Conditions"] == made["Conditions"] and changed["Actions"][0]["Type"] == "redirect"
    assert lb.balancers_of(group) == []
    query = {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "a", "Value": "b"}]}}
    changed = lb.client.modify_rule(RuleArn=arn, Conditions=[query])["Rules"][0]
    assert changed["Conditions"] == [query]
    refused("ValidationError", lb.client.modify_rule, RuleArn=arn)
    lb.client.delete_rule(RuleArn=arn)
    assert refused("RuleNotFound", lb.client.delete_rule, RuleArn=arn) == "One or more rules not found"
    assert priorities(lb, listener) == ["default"]


def test_priorities(lb: Balancing, listener: str) -> None:
    one, five = lb.rule(listener, 1), lb.rule(listener, 500)
    assert priorities(lb, listener) == ["1", "500", "default"]
    usual = {
        "ListenerArn": listener,
        "Priority": 1,
        "Conditions": [{"Field": "path-pattern", "Values": ["/b"]}],
        "Actions": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
    }
    message = refused("PriorityInUse", lb.client.create_rule, **usual)
    assert message == "Priority '1' is currently in use"
    pairs = [{"RuleArn": one, "Priority": 500}, {"RuleArn": five, "Priority": 1}]
    changed = lb.client.set_rule_priorities(RulePriorities=pairs)["Rules"]
    assert [(rule["RuleArn"], rule["Priority"]) for rule in changed] == [(one, "500"), (five, "1")]
    order = lb.client.set_rule_priorities
    refused("PriorityInUse", order, RulePriorities=[{"RuleArn": one, "Priority": 1}])
    twice = [{"RuleArn": one, "Priority": 7}, {"RuleArn": five, "Priority": 7}]
    assert (
        refused("ValidationError", order, RulePriorities=twice) == "Priority '7' was provided multiple times"
    )
    refused("ValidationError", order, RulePriorities=[pairs[0], pairs[0]])
    refused("ValidationError", order, RulePriorities=[])
    refused("ValidationError", order, RulePriorities=[{"RuleArn": one}])
    other = lb.rule(lb.listener(lb.balancer("b"), lb.group("b")), 1)
    across = [{"RuleArn": one, "Priority": 8}, {"RuleArn": other, "Priority": 9}]
    refused("ValidationError", order, RulePriorities=across)
    assert priorities(lb, listener) == ["1", "500", "default"]


def test_the_default_rule(lb: Balancing, listener: str) -> None:
    default = lb.client.describe_rules(ListenerArn=listener)["Rules"][0]
    assert default["IsDefault"] and default["Conditions"] == []
    arn = default["RuleArn"]
    assert lb.client.describe_rules(RuleArns=[arn])["Rules"] == [default]
    message = refused("OperationNotPermitted", lb.client.delete_rule, RuleArn=arn)
    assert message == f"Default rule '{arn}' cannot be deleted"
    actions = default["Actions"]
    refused("OperationNotPermitted", lb.client.modify_rule, RuleArn=arn, Actions=actions)
    pairs = [{"RuleArn": arn, "Priority": 3}]
    refused("OperationNotPermitted", lb.client.set_rule_priorities, RulePriorities=pairs)


FIXED = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"Conditions": []}, "ValidationError", "A condition must be specified"),
        ({"Conditions": [{"Field": "path-pattern", "Values": ["/a b"]}]}, "ValidationError", "not valid"),
        ({"Priority": 50001}, "ValidationError", "less than or equal to 50000"),
        ({"Actions": []}, "ValidationError", "Actions must be specified"),
        ({"Actions": FIXED * 2}, "TooManyActions", "only one action"),
        (
            {"Transforms": [{"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": []}}]},
            "InvalidConfigurationRequest",
            "Transforms of requests are not built into neargate.",
        ),
    ],
)
def test_what_cannot_be_created(
    lb: Balancing, listener: str, options: dict[str, Any], code: str, message: str
) -> None:
    usual = {"Priority": 1, "Conditions": [{"Field": "path-pattern", "Values": ["/b"]}], "Actions": FIXED}
    params = {"ListenerArn": listener, **usual, **options}
    assert message in refused(code, lb.client.create_rule, **params)
    assert priorities(lb, listener) == ["default"]


def test_network_balancers_have_no_rules(lb: Balancing) -> None:
    arn = lb.listener(lb.balancer("net", Type="network"), lb.group("tcp", Protocol="TCP"), 9, "TCP")
    assert priorities(lb, arn) == ["default"]
    refused(
        "InvalidConfigurationRequest",
        lb.client.create_rule,
        ListenerArn=arn,
        Priority=1,
        Conditions=[{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}],
        Actions=FIXED,
    )


def test_describing_needs_to_know_which(lb: Balancing, listener: str) -> None:
    describe = lb.client.describe_rules
    refused("ValidationError", describe)
    refused("ValidationError", describe, ListenerArn=listener, RuleArns=["a"])
    message = refused("ValidationError", describe, RuleArns=["a"])
    assert message == "'a' is not a valid listener rule ARN"
    for priority in (30, 4, 200, 1):
        lb.rule(listener, priority)
    pages = lb.client.get_paginator("describe_rules").paginate(
        ListenerArn=listener, PaginationConfig={"PageSize": 2}
    )
    found = [[rule["Priority"] for rule in page["Rules"]] for page in pages]
    assert found == [["1", "4"], ["30", "200"], ["default"]]


def test_a_listener_has_a_hundred_rules_at_most(lb: Balancing, listener: str) -> None:
    for priority in range(1, 101):
        lb.rule(listener, priority)
    params = {"Conditions": [{"Field": "path-pattern", "Values": ["/b"]}], "Actions": FIXED}
    refused("TooManyRules", lb.client.create_rule, ListenerArn=listener, Priority=101, **params)


def test_a_default_rules_arn_leads_to_its_listener(lb: Balancing, listener: str) -> None:
    """As the ARN of a rule in a service's loadBalancers may."""
    rule = lb.rule(listener, 1)
    default = lb.client.describe_rules(ListenerArn=listener)["Rules"][-1]["RuleArn"]
    store = lb.door.daemon.house.store

    def led(arn: str) -> str | None:
        found = lb.door.call(store.read(lambda tx: routing(tx, arn)))
        return found.arn if found is not None else None

    assert [led(arn) for arn in (rule, default, listener)] == [rule, listener, listener]
    assert led(rule[:-16] + "0" * 16) is None and led("none") is None
