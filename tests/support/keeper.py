"""A service through boto3 against a daemon with the fake driver: made, watched, changed.

Used by tests/api/test_ecs_service_loop*.py.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from tests.support.door import Door
from tests.support.ecs import container, definition

T = TypeVar("T")
PATIENCE = 60.0


def until(look: Callable[[], T]) -> T:
    """Look again and again until there is something to see."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < deadline, f"still {seen!r} after {PATIENCE} s"
        time.sleep(0.01)
    return seen


class Keeper:
    """Cluster `default`, definition family `web`, and one service at a time, named `web`."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.ecs = door.client("ecs")
        self.ecs.create_cluster(capacityProviders=["FARGATE", "FARGATE_SPOT"])
        subnets = door.client("ec2").describe_subnets()["Subnets"]
        self.subnets = sorted(s["SubnetId"] for s in subnets)
        self.zones = {s["AvailabilityZone"] for s in subnets}
        self.network = {"awsvpcConfiguration": {"subnets": self.subnets}}

    def define(self, image: str = "nginx", **changes: Any) -> str:
        answer = self.ecs.register_task_definition(**definition(container(image=image, **changes)))
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def create(self, definition: str, count: int = 2, **changes: Any) -> dict[str, Any]:
        params = {
            "serviceName": "web",
            "taskDefinition": definition,
            "desiredCount": count,
            "launchType": "FARGATE",
            "networkConfiguration": self.network,
            **changes,
        }
        return dict(self.ecs.create_service(**{k: v for k, v in params.items() if v is not None})["service"])

    def update(self, **changes: Any) -> dict[str, Any]:
        return dict(self.ecs.update_service(service="web", **changes)["service"])

    def see(self) -> dict[str, Any]:
        return dict(self.ecs.describe_services(services=["web"])["services"][0])

    def process(self) -> dict[str, Any]:
        """The newest service deployment."""
        briefs = self.ecs.list_service_deployments(service="web")["serviceDeployments"]
        arn = max(briefs, key=lambda b: b["createdAt"])["serviceDeploymentArn"]
        (found,) = self.ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"]
        return dict(found)

    def tasks(self, status: str = "RUNNING") -> list[dict[str, Any]]:
        arns = self.ecs.list_tasks(serviceName="web", desiredStatus=status)["taskArns"]
        return list(self.ecs.describe_tasks(tasks=arns)["tasks"]) if arns else []

    def running(self) -> list[dict[str, Any]]:
        return [t for t in self.tasks() if t["lastStatus"] == "RUNNING"]

    def messages(self) -> list[str]:
        """Oldest first, without what differs each time."""
        return [e["message"] for e in reversed(self.see()["events"])]

    def steady(self) -> dict[str, Any]:
        """Wait until the service has said that it is steady since its last change."""
        return until(self._steady)

    def _steady(self) -> dict[str, Any]:
        service = self.see()
        (first, *more) = service["deployments"]
        done = (
            not more
            and first["rolloutState"] == "COMPLETED"
            and service["runningCount"] == service["desiredCount"]
            and service["pendingCount"] == 0
            and service["events"]
            and service["events"][0]["message"].endswith("has reached a steady state.")
        )
        return service if done else {}

    def end(self, task: dict[str, Any], code: int = 1) -> None:
        """The task's first container ends by itself."""
        id = task["taskArn"].rpartition("/")[2]

        async def end() -> None:
            sandbox = self.door.daemon.driver.sandboxes[id]  # type: ignore[attr-defined]
            sandbox.end(task["containers"][0]["name"], code)

        self.door.call(end())
