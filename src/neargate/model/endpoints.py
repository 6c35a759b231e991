"""What a task is told of the endpoints at 169.254.170.2: environment variables, ids in their paths. Pure.

Called by services/cell once a task's sandbox is assembled; node/metadata.py serves the paths named here.
"""

import hashlib
import hmac
import uuid
from collections.abc import Mapping

import msgspec

from neargate.model.sandbox import ContainerSpec, Facts, SandboxSpec
from neargate.model.session import Session
from neargate.model.task import Task, TaskDefinition

ADDRESS = "169.254.170.2"
METADATA_PORT, API_PORT = 80, 4566
API_URL = f"http://{ADDRESS}:{API_PORT}"
_EXECUTION_ENVIRONMENT = "AWS_ECS_FARGATE"


def role_arn(task: Task, definition: TaskDefinition) -> str:
    """The task's own role; RunTask's wins. Empty if it has none."""
    return str(task.overrides.get("taskRoleArn") or definition.body.get("taskRoleArn") or "")


def execution_role_arn(task: Task, definition: TaskDefinition) -> str:
    """The role by which ECS gets what the task needs to start; RunTask's wins. Empty if it has none."""
    return str(task.overrides.get("executionRoleArn") or definition.body.get("executionRoleArn") or "")


def in_name_of(task: Task, role: str) -> Session:
    """Who acts with a role in the task's name, inside of the daemon: without keys of its own."""
    return Session(access_key_id="", account=task.account, expires_at=0.0, role_arn=role, name=task.id)


def credentials_id(key: bytes, task_id: str) -> str:
    """A UUID that nobody guesses who has not the key, and that is the same after a restart."""
    digest = hmac.digest(key, f"credentials of task {task_id}".encode(), hashlib.sha256)
    return str(uuid.UUID(bytes=digest[:16], version=4))


def equipped(
    spec: SandboxSpec,
    task: Task,
    definition: TaskDefinition,
    *,
    zone_id: str,
    key: bytes,
    api: bool,
) -> SandboxSpec:
    """The sandbox with all that its endpoints need. `api` -- its SDKs are pointed to the door."""
    body = definition.body
    has_role = bool(role_arn(task, definition))
    facts = Facts(
        launch_type=task.launch_type,
        service=task.group.removeprefix("service:") if task.group.startswith("service:") else "",
        zone=task.availability_zone,
        zone_id=zone_id,
        fault_injection=bool(body.get("enableFaultInjection", False)),
        credentials_id=credentials_id(key, task.id) if has_role else "",
    )
    arns = {container.name: container.arn for container in task.containers}
    containers = tuple(
        msgspec.structs.replace(
            container,
            arn=arns.get(container.name, ""),
            environment=tuple(_environment(container, facts, task.region, api=api).items()),
        )
        for container in spec.containers
    )
    return msgspec.structs.replace(spec, containers=containers, facts=facts)


def _environment(container: ContainerSpec, facts: Facts, region: str, *, api: bool) -> Mapping[str, str]:
    """What a definition may say otherwise stands before its own variables, what it may not behind them."""
    presets = {"AWS_DEFAULT_REGION": region, "AWS_REGION": region}
    if api:
        presets["AWS_ENDPOINT_URL"] = API_URL
    fixed = {
        "AWS_EXECUTION_ENV": _EXECUTION_ENVIRONMENT,
        "ECS_CONTAINER_METADATA_URI_V4": f"http://{ADDRESS}/v4/{container.runtime_id}",
        "ECS_AGENT_URI": f"http://{ADDRESS}/api/{container.runtime_id}",
    }
    if facts.credentials_id:
        fixed["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = f"/v2/credentials/{facts.credentials_id}"
    return {**presets, **dict(container.environment), **fixed}
