"""Requests of load balancing in any order, some with a fault in them: nothing breaks, what is refused changes
nothing, and whatever was done, the records fit together.
"""

import random
from collections.abc import Callable
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import ClientError

from neargate.model.balancer_rules_actions import target_groups
from neargate.state.catalog import INTERFACE
from neargate.state.catalog_balancers import LISTENER, LISTENER_RULE, LOAD_BALANCER, TARGET, TARGET_GROUP
from neargate.state.store import Tx
from tests.support.balancing import Balancing
from tests.support.certificates import made, new_key
from tests.support.door import Door

T = TypeVar("T")
REQUESTS = 1_500
OURS = frozenset({"load-balancer", "listener", "listener-rule", "target-group", "interface"})
KINDS = {"balancer": LOAD_BALANCER, "listener": LISTENER, "rule": LISTENER_RULE, "group": TARGET_GROUP}
WEIGHTS = {"delete_load_balancer": 0.1, "delete_listener": 0.3, "delete_rule": 0.5, "set_subnets": 0.3}
ODD = ("", "\x00", "x" * 300, "😀", "-1", "0", "None", "arn:aws:elasticloadbalancing:::", "10.0.0.999")


class Asking:
    """Makes requests about what is there."""

    def __init__(self, lb: Balancing, certificate: str, chance: random.Random) -> None:
        self._lb, self._certificate, self._chance = lb, certificate, chance
        self._arns: dict[str, list[str]] = {}
        self.look()

    def look(self) -> None:
        def body(tx: Tx) -> dict[str, list[str]]:
            return {name: [record.arn for record in tx.all(kind)] for name, kind in KINDS.items()}

        self._arns = self._lb.door.call(self._lb.door.daemon.house.store.read(body))

    def one(self, *choices: T) -> T:
        return self._chance.choice(choices)

    def arn(self, kind: str) -> str:
        return self._chance.choice(self._arns[kind] or ["arn:aws:elasticloadbalancing:us-east-1:0:none"])

    def actions(self) -> list[dict[str, Any]]:
        listed = [{"TargetGroupArn": self.arn("group"), "Weight": self.one(0, 1, 999)} for _ in range(2)]
        return [
            self.one(
                {"Type": "forward", "TargetGroupArn": self.arn("group")},
                {"Type": "forward", "ForwardConfig": {"TargetGroups": listed[: self.one(1, 2)]}},
                {"Type": "redirect", "RedirectConfig": {"Port": "81", "StatusCode": "HTTP_301"}},
                {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}},
            )
        ]

    def protocol(self) -> dict[str, Any]:
        certificates = [{"CertificateArn": self._certificate}]
        encrypted = {"Protocol": "HTTPS", "Certificates": certificates}
        return self.one({"Protocol": "HTTP"}, {"Protocol": "HTTP"}, {"Protocol": "TCP"}, encrypted)

    def conditions(self) -> list[dict[str, Any]]:
        header = {"HttpHeaderName": "X-A", "Values": ["*"]}
        return [
            self.one(
                {"Field": "path-pattern", "Values": ["/a/*"]},
                {"Field": "http-header", "HttpHeaderConfig": header},
                {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}},
            )
        ]

    def subnets(self) -> list[str]:
        return self._chance.sample(self._lb.subnets, self.one(1, 2, 3))

    def targets(self) -> list[dict[str, Any]]:
        return [{"Id": self._lb.address(self.one(0, 1, 2)), "Port": self.one(80, 81)}]

    def requests(self) -> dict[str, Callable[[], dict[str, Any]]]:
        balancer, listener, rule, group = (lambda kind=kind: self.arn(kind) for kind in KINDS)
        kind = {"Type": self.one("application", "application", "application", "network")}
        plain = {"Protocol": "HTTP"}
        tcp = self.one(plain, plain, plain, {"Protocol": "TCP"}, {**plain, "ProtocolVersion": "GRPC"})
        priority = self.one(1, 2, 3)
        return {
            "create_load_balancer": lambda: {"Name": self.one("a", "b"), "Subnets": self.subnets(), **kind},
            "delete_load_balancer": lambda: {"LoadBalancerArn": balancer()},
            "set_subnets": lambda: {"LoadBalancerArn": balancer(), "Subnets": self.subnets()},
            "create_target_group": lambda: {
                **{"Name": self.one("c", "d", "e"), "Port": 80, "VpcId": self._lb.vpc, "TargetType": "ip"},
                **tcp,
            },
            "delete_target_group": lambda: {"TargetGroupArn": group()},
            "create_listener": lambda: {
                **{
                    "LoadBalancerArn": balancer(),
                    "Port": self.one(80, 443),
                    "DefaultActions": self.actions(),
                },
                **self.protocol(),
            },
            "modify_listener": lambda: {
                **{"ListenerArn": listener(), "DefaultActions": self.actions()},
                **self.one(self.protocol(), {"Port": self.one(80, 443)}, {}),
            },
            "delete_listener": lambda: {"ListenerArn": listener()},
            "create_rule": lambda: {
                **{"ListenerArn": listener(), "Priority": priority},
                **{"Conditions": self.conditions(), "Actions": self.actions()},
            },
            "modify_rule": lambda: {
                "RuleArn": rule(),
                **self.one({"Conditions": self.conditions()}, {"Actions": self.actions()}),
            },
            "delete_rule": lambda: {"RuleArn": rule()},
            "set_rule_priorities": lambda: {"RulePriorities": [{"RuleArn": rule(), "Priority": priority}]},
            "register_targets": lambda: {"TargetGroupArn": group(), "Targets": self.targets()},
            "deregister_targets": lambda: {"TargetGroupArn": group(), "Targets": self.targets()},
            "describe_target_health": lambda: {"TargetGroupArn": group()},
            "describe_rules": lambda: {"ListenerArn": listener()},
        }

    def spoilt(self, value: Any) -> Any:
        """The same with a fault at a random place."""
        if isinstance(value, dict) and value:
            name = self._chance.choice(list(value))
            if self._chance.random() < 0.2:
                return {key: item for key, item in value.items() if key != name}
            return {**value, name: self.spoilt(value[name])}
        if isinstance(value, list) and value:
            return self.one([self.spoilt(value[0])], value * 7, [])
        return self.one(0, -1, 2**40) if isinstance(value, int) else self.one(*ODD)


def check(tx: Tx) -> None:
    """Whatever was asked for: the records fit together."""
    balancers = {record.arn: record for record in tx.all(LOAD_BALANCER)}
    listeners = {record.arn: record for record in tx.all(LISTENER)}
    led: dict[str, set[str]] = {record.arn: set() for record in tx.all(TARGET_GROUP)}
    ports, priorities = set(), set()
    for listener in listeners.values():
        assert listener.balancer_arn in balancers
        ports.add((listener.balancer_arn, listener.port))
        for group in target_groups(listener.actions):
            led[group].add(listener.balancer_arn)
    for rule in tx.all(LISTENER_RULE):
        priorities.add((rule.listener_arn, rule.priority))
        for group in target_groups(rule.actions):
            led[group].add(listeners[rule.listener_arn].balancer_arn)
    assert len(ports) == len(listeners) and len(priorities) == len(tx.all(LISTENER_RULE))
    assert {record.arn: set(record.balancer_arns) for record in tx.all(TARGET_GROUP)} == led
    assert all(len(users) <= 1 for users in led.values())
    assert all(target.group_arn in led for target in tx.all(TARGET))
    held = {i.id: i.address for i in tx.all(INTERFACE) if i.description.startswith("ELB ")}
    assert held == {zone.interface_id: zone.address for b in balancers.values() for zone in b.zones}


def test_whatever_is_asked_for_the_records_fit_together(door: Door) -> None:
    lb, seed, own = (
        Balancing(door),
        random.SystemRandom().randrange(2**32),
        made("a.com", key=new_key("p256")),
    )
    imported = door.client("acm").import_certificate(Certificate=own.pem, PrivateKey=own.key_pem)
    unchecked = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    client, chance, store = (
        door.client("elbv2", config=unchecked),
        random.Random(seed),
        door.daemon.house.store,
    )
    asking = Asking(lb, imported["CertificateArn"], chance)
    done: dict[str, int] = dict.fromkeys(asking.requests(), 0)
    weights = [WEIGHTS.get(name, 2.0 if "listener" in name or "rule" in name else 1.0) for name in done]
    for number in range(REQUESTS):
        operation = chance.choices(list(done), weights)[0]
        params = asking.requests()[operation]()
        if chance.random() < 0.25:
            params = asking.spoilt(params)
        head = store.head()
        try:
            getattr(client, operation)(**params)
            done[operation] += 1
            asking.look()
        except ClientError as error:
            about = f"seed {seed}, {operation} {params}: {error}"
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] < 500, about
            feed = door.call(store.changes(head))
            assert not {change.kind for change in feed.changes} & OURS, about
        if number % 50 == 49:
            door.call(store.read(check))
    for balancer in client.describe_load_balancers()["LoadBalancers"]:
        client.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
        done["delete_load_balancer"] += 1
    door.call(store.read(check))
    assert all(done.values()), f"seed {seed}: {done}"
