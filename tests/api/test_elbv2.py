"""Load balancers by an unmodified client: birth to death, where they stand, attributes, tags, limits."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from neargate.state.catalog import SECURITY_GROUP
from neargate.state.catalog_balancers import LOAD_BALANCER
from neargate.state.store import Tx
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
    name, _, domain = balancer["DNSName"].partition(".")
    assert name[:4] == "web-" and len(name) == 14 and name[4:].isdigit()
    assert domain == "us-east-1.elb.amazonaws.com"
    lb.client.get_waiter("load_balancer_available").wait(LoadBalancerArns=[arn])
    lb.client.get_waiter("load_balancer_exists").wait(Names=["web"])
    shown = lb.client.describe_load_balancers(Names=["web"])["LoadBalancers"][0]
    assert shown == balancer | {"State": {"Code": "active"}}
    assert [zone["SubnetId"] for zone in shown["AvailabilityZones"]] == lb.subnets
    assert [zone["ZoneName"] for zone in shown["AvailabilityZones"]] == lb.zones
    assert shown["SecurityGroups"] == [lb.default_group] and shown["VpcId"] == lb.vpc
    assert shown["Scheme"] == "internet-facing" and shown["IpAddressType"] == "ipv4"
    held = lb.interfaces(f"ELB {arn.partition(':loadbalancer/')[2]}")
    assert {i["SubnetId"] for i in held} == set(lb.subnets) and len(held) == len(lb.subnets)
    assert {i["RequesterId"] for i in held} == {"amazon-elb"}
    lb.client.delete_load_balancer(LoadBalancerArn=arn)
    lb.client.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[arn])
    assert lb.interfaces("ELB *") == []
    message = refused("LoadBalancerNotFound", lb.client.describe_load_balancers, Names=["web"])
    assert message == "Load balancers '[web]' not found"
    lb.client.delete_load_balancer(LoadBalancerArn=arn)


def test_a_name_makes_one_balancer(lb: Balancing) -> None:
    arn = lb.balancer("web")
    assert lb.balancer("web") == arn
    subnets = {"Name": "web", "Subnets": lb.subnets[:2]}
    message = refused("DuplicateLoadBalancerName", lb.client.create_load_balancer, **subnets)
    assert message == "A load balancer with the same name 'web' exists, but with different settings"
    tagged = {"Name": "web", "Subnets": lb.subnets, "Tags": [{"Key": "a", "Value": "b"}]}
    refused("DuplicateLoadBalancerName", lb.client.create_load_balancer, **tagged)
    assert len(lb.interfaces("ELB *")) == len(lb.subnets)


BAD, WRONG = "ValidationError", "InvalidConfigurationRequest"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"Name": "x" * 33}, BAD, "cannot be longer than '32' characters"),
        ({"Name": "a_b"}, BAD, "can only contain characters that are alphanumeric"),
        ({"Name": "-a"}, BAD, "cannot begin or end with a hyphen"),
        ({"Name": "internal-a"}, BAD, "cannot begin with 'internal-'"),
        ({"Type": "gateway"}, WRONG, "Load balancers with type 'gateway' are not built into neargate."),
        ({"IpAddressType": "dualstack"}, WRONG, "IPv4 only"),
        ({"IpamPools": {"Ipv4IpamPoolId": "ipam-pool-1"}}, WRONG, "IpamPools is not built"),
        ({"SecurityGroups": ["sg-1"]}, "InvalidSecurityGroup", "'sg-1' does not exist"),
        ({"Tags": [{"Key": "a"}, {"Key": "a"}]}, "DuplicateTagKeys", "specified more than once: a"),
        ({"Tags": [{"Key": "aws:a"}]}, BAD, "'aws:a' is not valid"),
        ({"Tags": [{"Key": str(n)} for n in range(51)]}, "TooManyTags", "50 tags at most"),
    ],
)
def test_what_cannot_be_created(lb: Balancing, options: dict[str, Any], code: str, message: str) -> None:
    params = {"Name": "web", "Subnets": lb.subnets, **options}
    assert message in refused(code, lb.client.create_load_balancer, **params)
    assert lb.client.describe_load_balancers()["LoadBalancers"] == []


def test_subnets(lb: Balancing) -> None:
    create = lb.client.create_load_balancer
    one, two, three = lb.subnets
    message = refused("ValidationError", create, Name="a", Subnets=[one])
    assert message == "At least two subnets in two different Availability Zones must be specified"
    refused("ValidationError", create, Name="a")
    refused("ValidationError", create, Name="a", Subnets=[one], SubnetMappings=[{"SubnetId": two}])
    message = refused("SubnetNotFound", create, Name="a", Subnets=[one, "subnet-1"])
    assert message == "The subnet ID 'subnet-1' does not exist"
    twice = [{"SubnetId": one}, {"SubnetId": one}]
    message = refused("InvalidConfigurationRequest", create, Name="a", SubnetMappings=twice)
    assert message == "A load balancer cannot be attached to multiple subnets in the same Availability Zone"
    elastic = [{"SubnetId": one, "AllocationId": "eipalloc-1"}]
    refused("AllocationIdNotFound", create, Name="a", Type="network", SubnetMappings=elastic)
    fixed = [{"SubnetId": one, "PrivateIPv4Address": "10.0.0.9"}]
    refused("InvalidConfigurationRequest", create, Name="a", Type="network", SubnetMappings=fixed)

    arn = lb.balancer("web")
    before = {i["SubnetId"]: i["PrivateIpAddress"] for i in lb.interfaces("ELB *")}
    changed = lb.client.set_subnets(LoadBalancerArn=arn, Subnets=[two, three])
    assert [zone["SubnetId"] for zone in changed["AvailabilityZones"]] == [two, three]
    after = {i["SubnetId"]: i["PrivateIpAddress"] for i in lb.interfaces("ELB *")}
    assert after == {two: before[two], three: before[three]}
    refused("ValidationError", lb.client.set_subnets, LoadBalancerArn=arn, Subnets=[two])
    again = lb.client.set_subnets(LoadBalancerArn=arn, SubnetMappings=[{"SubnetId": s} for s in lb.subnets])
    assert len(again["AvailabilityZones"]) == 3 and again["IpAddressType"] == "ipv4"


def test_an_internal_network_balancer_with_addresses_of_its_own(lb: Balancing) -> None:
    wanted = lb.cidrs[0].replace(".0/20", ".77")
    mapping = [{"SubnetId": lb.subnets[0], "PrivateIPv4Address": wanted}]
    options = {"Type": "network", "Scheme": "internal", "SubnetMappings": mapping}
    balancer = lb.client.create_load_balancer(Name="net", **options)["LoadBalancers"][0]
    assert ":loadbalancer/net/net/" in balancer["LoadBalancerArn"]
    assert balancer["AvailabilityZones"][0]["LoadBalancerAddresses"] == [{"PrivateIPv4Address": wanted}]
    assert "SecurityGroups" not in balancer
    refused("ResourceInUse", lb.client.create_load_balancer, Name="other", **options)
    mapping[0]["PrivateIPv4Address"] = "9.9.9.9"
    refused("InvalidConfigurationRequest", lb.client.create_load_balancer, Name="other", **options)
    mapping[0]["PrivateIPv4Address"] = "nine"
    refused("ValidationError", lb.client.create_load_balancer, Name="other", **options)
    refused(
        "InvalidConfigurationRequest",
        lb.client.set_security_groups,
        LoadBalancerArn=balancer["LoadBalancerArn"],
        SecurityGroups=[lb.default_group],
    )


@pytest.fixture
def other_group(door: Door, lb: Balancing) -> Iterator[str]:
    """A second security group: EC2's operations make none yet."""
    store = door.daemon.house.store

    def make(tx: Tx) -> str:
        default = tx.get(SECURITY_GROUP, lb.default_group)
        assert default is not None
        return tx.insert(SECURITY_GROUP, replace(default, id="sg-0123456789abcdef0", name="other")).id

    id = door.call(store.write(make))
    yield id
    door.call(store.write(lambda tx: tx.delete(SECURITY_GROUP, id)))


def test_security_groups(lb: Balancing, other_group: str) -> None:
    arn, change = lb.balancer("web"), lb.client.set_security_groups
    assert change(LoadBalancerArn=arn, SecurityGroups=[other_group])["SecurityGroupIds"] == [other_group]
    assert all(i["Groups"][0]["GroupId"] == other_group for i in lb.interfaces("ELB *"))
    refused("InvalidSecurityGroup", change, LoadBalancerArn=arn, SecurityGroups=["sg-1"])
    refused("ValidationError", change, LoadBalancerArn=arn, SecurityGroups=[])
    net = lb.balancer("net", Type="network", SecurityGroups=[other_group])
    enforce = "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"
    answer = change(LoadBalancerArn=net, SecurityGroups=[other_group], **{enforce: "off"})
    assert answer[enforce] == "off"
    assert lb.client.describe_load_balancers(Names=["net"])["LoadBalancers"][0][enforce] == "off"


def test_address_types(lb: Balancing) -> None:
    arn = lb.balancer("web")
    assert lb.client.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4")["IpAddressType"] == "ipv4"
    refused(
        "InvalidConfigurationRequest",
        lb.client.set_ip_address_type,
        LoadBalancerArn=arn,
        IpAddressType="dualstack",
    )


def test_describing_by_arn_by_name_and_by_page(lb: Balancing) -> None:
    arns = {lb.balancer(f"b{n}") for n in range(5)}
    describe = lb.client.describe_load_balancers
    pages = list(
        lb.client.get_paginator("describe_load_balancers").paginate(PaginationConfig={"PageSize": 2})
    )
    assert [len(page["LoadBalancers"]) for page in pages] == [2, 2, 1]
    assert {b["LoadBalancerArn"] for page in pages for b in page["LoadBalancers"]} == arns
    one = sorted(arns)[0]
    assert [b["LoadBalancerArn"] for b in describe(LoadBalancerArns=[one])["LoadBalancers"]] == [one]
    refused("ValidationError", describe, LoadBalancerArns=[one], Names=["b1"])
    refused("ValidationError", describe, Marker="%%%")
    refused("LoadBalancerNotFound", describe, LoadBalancerArns=[one[:-16] + "0" * 16])
    message = refused("ValidationError", describe, LoadBalancerArns=["b1"])
    assert message == "'b1' is not a valid load balancer ARN"
    refused("ValidationError", describe, LoadBalancerArns=[one.replace("us-east-1", "eu-west-1")])


def test_attributes(lb: Balancing) -> None:
    arn = lb.balancer("web")

    def attributes() -> dict[str, str]:
        answer = lb.client.describe_load_balancer_attributes(LoadBalancerArn=arn)
        return {item["Key"]: item["Value"] for item in answer["Attributes"]}

    assert attributes()["idle_timeout.timeout_seconds"] == "60"
    modify = lb.client.modify_load_balancer_attributes
    given = [
        {"Key": "idle_timeout.timeout_seconds", "Value": "5"},
        {"Key": "routing.http2.enabled", "Value": "false"},
    ]
    answer = modify(LoadBalancerArn=arn, Attributes=given)
    assert given[0] in answer["Attributes"] and given[1] in answer["Attributes"]
    assert attributes()["idle_timeout.timeout_seconds"] == "5"
    bad = [
        {"Key": "routing.http2.enabled", "Value": "true"},
        {"Key": "idle_timeout.timeout_seconds", "Value": "0"},
    ]
    refused("ValidationError", modify, LoadBalancerArn=arn, Attributes=bad)
    assert attributes()["routing.http2.enabled"] == "false"
    protect = {"Key": "deletion_protection.enabled", "Value": "true"}
    modify(LoadBalancerArn=arn, Attributes=[protect])
    message = refused("OperationNotPermitted", lb.client.delete_load_balancer, LoadBalancerArn=arn)
    assert message == f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
    modify(LoadBalancerArn=arn, Attributes=[protect | {"Value": "false"}])
    lb.client.delete_load_balancer(LoadBalancerArn=arn)
    refused("LoadBalancerNotFound", lb.client.describe_load_balancer_attributes, LoadBalancerArn=arn)


def test_tags_of_everything(lb: Balancing) -> None:
    balancer, group = lb.balancer("web"), lb.group("api", Tags=[{"Key": "made", "Value": "so"}])
    listener = lb.listener(balancer, group)
    rule = lb.rule(listener, 1)
    default = lb.client.describe_rules(ListenerArn=listener)["Rules"][-1]["RuleArn"]
    arns = [balancer, group, listener, rule, default]
    lb.client.add_tags(ResourceArns=arns, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    lb.client.remove_tags(ResourceArns=arns, TagKeys=["b", "nothing"])
    described = lb.client.describe_tags(ResourceArns=arns)["TagDescriptions"]
    assert [item["ResourceArn"] for item in described] == arns
    tags = [{tag["Key"]: tag["Value"] for tag in item["Tags"]} for item in described]
    assert tags == [{"a": "1"}, {"made": "so", "a": "1"}, {"a": "1"}, {"a": "1"}, {"a": "1"}]
    gone = balancer[:-16] + "0" * 16
    refused("LoadBalancerNotFound", lb.client.add_tags, ResourceArns=[group, gone], Tags=[{"Key": "c"}])
    assert "c" not in str(lb.client.describe_tags(ResourceArns=[group])["TagDescriptions"][0]["Tags"])
    refused("ValidationError", lb.client.describe_tags, ResourceArns=["arn:aws:ecs:x"])
    refused("ValidationError", lb.client.describe_tags, ResourceArns=[])


def test_a_balancer_whose_data_plane_failed_is_shown_so(lb: Balancing) -> None:
    arn = lb.balancer("web")

    async def fail() -> None:
        store = lb.door.daemon.house.store
        await store.write(
            lambda tx: tx.put(LOAD_BALANCER, replace(tx.get(LOAD_BALANCER, arn), state="failed"))
        )

    lb.door.call(fail())
    assert lb.client.describe_load_balancers(Names=["web"])["LoadBalancers"][0]["State"] == {"Code": "failed"}


def test_policies_and_limits(lb: Balancing) -> None:
    policies = lb.client.describe_ssl_policies()["SslPolicies"]
    assert "ELBSecurityPolicy-2016-08" in {policy["Name"] for policy in policies}
    name = "ELBSecurityPolicy-TLS13-1-2-2021-06"
    (one,) = lb.client.describe_ssl_policies(Names=[name])["SslPolicies"]
    assert one["SslProtocols"] == ["TLSv1.2", "TLSv1.3"] and one["Ciphers"][0]["Priority"] == 1
    refused("SSLPolicyNotFound", lb.client.describe_ssl_policies, Names=["none"])
    limits = {limit["Name"]: limit["Max"] for limit in lb.client.describe_account_limits()["Limits"]}
    assert limits["application-load-balancers"] == "50" and limits["target-groups"] == "3000"
    assert len(lb.client.describe_account_limits(PageSize=3)["Limits"]) == 3


def test_no_capacity_is_reserved(lb: Balancing) -> None:
    answer = lb.client.describe_capacity_reservation(LoadBalancerArn=lb.balancer())
    assert "MinimumLoadBalancerCapacity" not in answer and answer["CapacityReservationState"] == []


def test_what_is_not_built_says_so(lb: Balancing) -> None:
    assert "is not built" in refused("NotImplemented", lb.client.describe_trust_stores)
