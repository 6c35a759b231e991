"""What tests of load balancing need of a door: subnets, and the usual balancer, group and listener."""

import ipaddress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.door import Door


def refused(code: str, operation: Any, **params: Any) -> str:
    """The message of the error that the operation must answer."""
    with pytest.raises(ClientError) as caught:
        operation(**params)
    error = caught.value.response["Error"]
    assert error["Code"] == code, caught.value
    return str(error["Message"])


class Balancing:
    def __init__(self, door: Door) -> None:
        self.door = door
        self.client = door.client("elbv2")
        self._ec2 = door.client("ec2")
        shown = self._ec2.describe_subnets()["Subnets"]
        self.subnets: list[str] = [subnet["SubnetId"] for subnet in shown]
        self.zones: list[str] = [subnet["AvailabilityZone"] for subnet in shown]
        self.cidrs: list[str] = [subnet["CidrBlock"] for subnet in shown]
        self.vpc: str = shown[0]["VpcId"]
        groups = self._ec2.describe_security_groups()["SecurityGroups"]
        self.default_group: str = groups[0]["GroupId"]

    def interfaces(self, description: str) -> list[dict[str, Any]]:
        filters = [{"Name": "description", "Values": [description]}]
        found: list[dict[str, Any]] = self._ec2.describe_network_interfaces(Filters=filters)[
            "NetworkInterfaces"
        ]
        return found

    def balancer(self, name: str = "web", **options: Any) -> str:
        made = self.client.create_load_balancer(Name=name, Subnets=self.subnets, **options)
        return str(made["LoadBalancers"][0]["LoadBalancerArn"])

    def group(self, name: str = "api", **options: Any) -> str:
        usual = {"Protocol": "HTTP", "Port": 80, "VpcId": self.vpc, "TargetType": "ip"}
        made = self.client.create_target_group(Name=name, **{**usual, **options})
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    def listener(self, balancer: str, group: str, port: int = 80, protocol: str = "HTTP", **more: Any) -> str:
        made = self.client.create_listener(
            LoadBalancerArn=balancer,
            Protocol=protocol,
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
            **more,
        )
        return str(made["Listeners"][0]["ListenerArn"])

    def health(self, group: str, **options: Any) -> dict[str, tuple[str, str]]:
        """State and reason of each target, by `address:port`."""
        answer = self.client.describe_target_health(TargetGroupArn=group, **options)
        return {
            f"{item['Target']['Id']}:{item['Target']['Port']}": (
                item["TargetHealth"]["State"],
                item["TargetHealth"].get("Reason", ""),
            )
            for item in answer["TargetHealthDescriptions"]
        }

    def rule(self, listener: str, priority: int, path: str = "/a/*", **options: Any) -> str:
        usual = {
            "Conditions": [{"Field": "path-pattern", "Values": [path]}],
            "Actions": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
        }
        made = self.client.create_rule(ListenerArn=listener, Priority=priority, **{**usual, **options})
        return str(made["Rules"][0]["RuleArn"])

    def balancers_of(self, group: str) -> list[str]:
        """ARNs of the balancers that the group is said to be used by, as asked for from both ends."""
        (shown,) = self.client.describe_target_groups(TargetGroupArns=[group])["TargetGroups"]
        arns: list[str] = shown["LoadBalancerArns"]
        for arn in arns:
            listed = self.client.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]
            assert group in [item["TargetGroupArn"] for item in listed]
        return arns

    def address(self, subnet: int) -> str:
        """An address of a subnet that nothing holds: near its end."""
        return str(ipaddress.IPv4Network(self.cidrs[subnet])[-9])
