"""requiresAttributes: what AWS derives of a task definition for its container instances. Pure.

Called by definition. On Fargate nothing depends on it; clients show it.
Source: answers of RegisterTaskDefinition pasted in public; agent capabilities of amazon-ecs-agent.
"""

import re
from typing import Any

Json = dict[str, Any]
_COM = "com.amazonaws.ecs.capability."
_ECS = "ecs.capability."
_ECR = re.compile(r"\d{12}\.dkr\.ecr\.")


def required_attributes(body: Json) -> list[str]:
    found: set[str] = {_api("1.18")}
    role = body.get("executionRoleArn")
    if body.get("taskRoleArn"):
        found.add(f"{_COM}task-iam-role")
    if body.get("networkMode") == "awsvpc":
        found.add(f"{_ECS}task-eni")
    if body.get("pidMode") or body.get("ipcMode"):
        found.add(f"{_ECS}pid-ipc-namespace-sharing")
    for container in body["containerDefinitions"]:
        found |= _of_container(container, bool(role))
    if any("efsVolumeConfiguration" in volume for volume in body["volumes"]):
        found |= {f"{_ECS}efsAuth", _api("1.25")}
    return sorted(found)


def _api(version: str) -> str:
    return f"{_COM}docker-remote-api.{version}"


def _of_container(container: Json, role: bool) -> set[str]:
    found: set[str] = set()
    log = container.get("logConfiguration")
    if log is not None:
        found |= {f"{_COM}logging-driver.{log['logDriver']}", _api("1.19")}
        if log["logDriver"] == "awslogs" and role:
            found.add(f"{_ECS}execution-role-awslogs")
        if log["logDriver"] == "awslogs" and "awslogs-create-group" in log.get("options", {}):
            found.add(f"{_ECS}logging-driver.awslogs.log-driver-create-group")
    if _ECR.match(container["image"]):
        found |= {f"{_COM}ecr-auth", _api("1.17")}
        if role:
            found.add(f"{_ECS}execution-role-ecr-pull")
    if "healthCheck" in container:
        found |= {f"{_ECS}container-health-check", _api("1.24")}
    if "dependsOn" in container:
        found.add(f"{_ECS}container-ordering")
    if "firelensConfiguration" in container:
        found.add(f"{_ECS}firelens.{container['firelensConfiguration']['type']}")
    if container.get("environmentFiles"):
        found.add(f"{_ECS}env-files.s3")
    if container.get("repositoryCredentials"):
        found.add(f"{_ECS}private-registry-authentication.secretsmanager")
    for secret in container.get("secrets", ()):
        store = "asm" if ":secretsmanager:" in secret["valueFrom"] else "ssm"
        found.add(f"{_ECS}secrets.{store}.environment-variables")
    return found
