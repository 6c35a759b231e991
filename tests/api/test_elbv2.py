"""Load balancing by an unmodified client: balancers, target groups, listeners, rules and targets."""

from typing import Any

import pytest

from tests.support.balancing import Balancing, refused
from tests.support.door import Door


@pytest.fixture
def lb(door: Door) -> Balancing:
    return Balancing(door)


def test_a_balancer_from_birth_to_death(lb: Balancing) -> None:
    made = lb.client.create_load_balancer(Name="web", Subnets=lb.subnets, Tags=[{"Key": "a", "Value": "b"}])
    balancer = made["LoadBalancers"][0]
    arn = balancer["LoadBalancerArn"]
    assert balancer["State"] == {"Code": "provisioning"}
    assert arn.startswith("arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/")
    assert balancer["DNSName"].startswith("web-") and balancer["DNSName"].endswith(
        ".us-east-1.elb.amazonaws.com"
    )
    lb.client.get_waiter("load_balancer_available").wait(LoadBalancerArns=[arn])
    lb.client.get_waiter("load_balancer_exists").wait(Names=["web"])
    shown = lb.client.describe_load_balancers(Names=["web"])["LoadBalancers"][0]
    assert shown == balancer | {"State": {"Code": "active"}}
    assert [zone["SubnetId"] for zone in shown["AvailabilityZones"]] == lb.subnets
    assert shown["SecurityGroups"] == [lb.default_group] and shown["VpcId"] == lb.vpc
    held = lb.interfaces(f"ELB {arn.partition(':loadbalancer/')[2]}")
    assert len(held) == len(lb.subnets) and {i["SubnetId"] for i in held} == set(lb.subnets)
    lb.client.delete_load_balancer(LoadBalancerArn=arn)
    lb.client.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[arn])
    assert lb.interfaces("ELB *") == []
    refused("LoadBalancerNotFound", lb.client.describe_load_balancers, Names=["web"])
    lb.client.delete_load_balancer(LoadBalancerArn=arn)


def test_from_a_request_to_a_target(lb: Balancing) -> None:
    balancer, group = lb.balancer("web"), lb.group("api")
    listener = lb.client.create_listener(
        LoadBalancerArn=balancer,
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )["Listeners"][0]
    forward: dict[str, Any] = listener["DefaultActions"][0]["ForwardConfig"]
    assert forward["TargetGroups"] == [{"TargetGroupArn": group, "Weight": 1}]
    rule = lb.client.create_rule(
        ListenerArn=listener["ListenerArn"],
        Priority=10,
        Conditions=[{"Field": "path-pattern", "Values": ["/static/*"]}],
        Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
    )["Rules"][0]
    rules = lb.client.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
    assert [shown["Priority"] for shown in rules] == ["10", "default"] and rules[0] == rule
    lb.client.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.9.8.7", "AvailabilityZone": "all"}])
    health = lb.health(group)
    assert health["10.9.8.7:80"] == ("initial", "Elb.RegistrationInProgress")
