"""Services for tests: a web server in N tasks behind a load balancer of a real daemon.

`Fleet(daemon, image)` makes the cluster, the balancer and its groups; `fleet.create(...)` a service. Used by
tests/e2e/test_service_*.py, tests/faults and bench/.
"""

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neargate.main import instance_of
from tests.support.images import busybox_image
from tests.support.python_image import python_image
from tests.support.real import RealDaemon, assert_nothing_left, eventually
from tests.support.traffic import Traffic

PROGRAM = Path(__file__).with_name("web_program.py")
PORT = 8080
ROLE = "arn:aws:iam::000000000000:role/execution"


@contextlib.contextmanager
def fleet_of(work: Path, **environment: str) -> Iterator["Fleet"]:
    """On a daemon of its own, of which nothing is left afterwards."""
    with RealDaemon(work / "data", **environment) as daemon:
        yield Fleet(daemon, work)
    assert_nothing_left(work / "data")


class Fleet:
    def __init__(self, daemon: RealDaemon, work: Path) -> None:
        self.daemon = daemon
        self.ecs, self.elb = daemon.client("ecs"), daemon.client("elbv2")
        self.ec2 = daemon.client("ec2")
        self.subnets = [s["SubnetId"] for s in self.ec2.describe_subnets()["Subnets"]]
        self.vpc = self.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        self.image = daemon.push(python_image(work / "web", PROGRAM), "web")
        self.small_image = daemon.push(busybox_image(work / "small"), "small")
        with contextlib.suppress(self.ecs.exceptions.ClientException):
            self.ecs.create_cluster(clusterName="fleet")
        self._numbers = itertools.count(1)

    # -- load balancing ----------------------------------------------------------------------------------

    def balancer(self, name: str) -> str:
        """ARN of an application load balancer."""
        made = self.elb.create_load_balancer(Name=name, Subnets=self.subnets, Type="application")
        arn: str = made["LoadBalancers"][0]["LoadBalancerArn"]
        self.elb.get_waiter("load_balancer_available").wait(LoadBalancerArns=[arn])
        return arn

    def group(self, name: str, **more: Any) -> str:
        """ARN of a target group that checks often and drains for two seconds."""
        settings: dict[str, Any] = {"HealthCheckPath": "/health", "HealthCheckIntervalSeconds": 5}
        settings |= {"HealthCheckTimeoutSeconds": 2, "UnhealthyThresholdCount": 2, **more}
        made = self.elb.create_target_group(
            Name=name, Protocol="HTTP", Port=PORT, VpcId=self.vpc, TargetType="ip", **settings
        )
        arn: str = made["TargetGroups"][0]["TargetGroupArn"]
        delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "2"}
        self.elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[delay])
        return arn

    def listener(self, balancer: str, port: int, group: str) -> str:
        made = self.elb.create_listener(
            LoadBalancerArn=balancer,
            Protocol="HTTP",
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )
        arn: str = made["Listeners"][0]["ListenerArn"]
        return arn

    def rule(self, listener: str, *groups: str) -> str:
        """ARN of a rule for all paths: all of it to the first group, none to the others."""
        weighted = [{"TargetGroupArn": arn, "Weight": int(arn == groups[0])} for arn in groups]
        made = self.elb.create_rule(
            ListenerArn=listener,
            Priority=1,
            Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}],
            Actions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": weighted}}],
        )
        arn: str = made["Rules"][0]["RuleArn"]
        return arn

    def address(self, balancer: str) -> str:
        """One of the balancer's addresses."""
        name = "/".join(balancer.split("/")[-3:])
        found = self.ec2.describe_network_interfaces()["NetworkInterfaces"]
        return str(next(i["PrivateIpAddress"] for i in found if i["Description"] == f"ELB {name}"))

    def traffic(self, balancer: str, port: int = 80, rate: int = 500, seconds: float = 300) -> Traffic:
        return Traffic(f"http://{self.address(balancer)}:{port}/", rate, seconds)

    # -- services ----------------------------------------------------------------------------------------

    def definition(self, version: str = "1", family: str = "web", **more: Any) -> str:
        """A new revision of the web server, which says `version`. An environment of None leaves it out."""
        environment = {"VERSION": version, **more.pop("environment", {})}
        container = {
            "name": "web",
            "image": more.pop("image", self.image),
            "portMappings": [{"containerPort": PORT, "name": "http"}],
            "environment": [{"name": k, "value": v} for k, v in environment.items()],
            "stopTimeout": 5,
            **more.pop("container", {}),
        }
        made = self.ecs.register_task_definition(
            family=family,
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu=more.pop("cpu", "256"),
            memory=more.pop("memory", "512"),
            executionRoleArn=ROLE,
            containerDefinitions=[container],
        )
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def create(self, name: str, definition: str, count: int, group: str = "", **more: Any) -> None:
        balancers = more.pop("loadBalancers", None)
        if balancers is None and group:
            balancers = [{"targetGroupArn": group, "containerName": "web", "containerPort": PORT}]
        self.ecs.create_service(
            cluster="fleet",
            serviceName=name,
            taskDefinition=definition,
            desiredCount=count,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": self.subnets}},
            **({"loadBalancers": balancers} if balancers else {}),
            **more,
        )

    def update(self, name: str, **changes: Any) -> None:
        self.ecs.update_service(cluster="fleet", service=name, **changes)

    def describe(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ecs.describe_services(cluster="fleet", services=[name])["services"][0]
        return found

    def stable(self, name: str, seconds: float = 150, definition: str = "") -> dict[str, Any]:
        """Wait until one deployment is left, complete, with as many tasks as wanted."""

        def settled() -> dict[str, Any] | None:
            service = self.describe(name)
            deployments = service["deployments"]
            done = len(deployments) == 1 and deployments[0]["rolloutState"] == "COMPLETED"
            right = not definition or service["taskDefinition"] == definition
            running = service["runningCount"] == service["desiredCount"] and not service["pendingCount"]
            return service if done and right and running else None

        found: dict[str, Any] = eventually(settled, f"service {name} is stable", seconds)
        return found

    def messages(self, name: str) -> list[str]:
        """The service's events, newest first."""
        return [event["message"] for event in self.describe(name)["events"]]

    def tasks(self, name: str) -> list[str]:
        found: list[str] = self.ecs.list_tasks(cluster="fleet", serviceName=name)["taskArns"]
        return found

    def healthy(self, group: str) -> int:
        targets = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return sum(1 for target in targets if target["TargetHealth"]["State"] == "healthy")

    def serving(self, group: str, count: int, seconds: float = 90) -> None:
        eventually(lambda: self.healthy(group) >= count, f"{count} healthy targets", seconds)

    def kill_task(self, arn: str) -> bool:
        """kill -9 of every process in a task's containers. False if there is none (any more)."""
        killed = False
        name = f"neargate_{instance_of(self.daemon.data_dir)}/{arn.rsplit('/', 1)[1]}"
        for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")):
            for listed in (root / name).glob("*/cgroup.procs"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    for pid in listed.read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
                        killed = True
        return killed

    def remove(self, name: str) -> None:
        self.ecs.delete_service(cluster="fleet", service=name, force=True)

        def gone() -> bool:
            found = self.ecs.describe_services(cluster="fleet", services=[name])["services"]
            return all(service["status"] == "INACTIVE" for service in found)

        eventually(gone, f"service {name} is gone", 90)
