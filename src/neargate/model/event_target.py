"""Which targets events can be sent to, told by their ARNs; and what ECS is asked for. Pure.

Called by services/events and services/scheduler, which word refusals themselves, and by
control/event_targets.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from neargate.model.event import Target
from neargate.model.record import Scope

Sort = Literal["ecs", "sqs", "logs", "http", "bus"]
_ARN = re.compile(r"arn:aws[a-z-]*:([a-z0-9-]+):([a-z0-9-]*):([0-9]*):(.+)")
_RESOURCES: tuple[tuple[str, str, Sort], ...] = (
    ("ecs", r"cluster/[A-Za-z0-9_-]{1,255}", "ecs"),
    ("sqs", r"[A-Za-z0-9_-]{1,80}(\.fifo)?", "sqs"),
    ("logs", r"log-group:[A-Za-z0-9_/.#-]{1,512}(:\*)?", "logs"),
    ("events", r"api-destination/[A-Za-z0-9_.-]+/[A-Za-z0-9-]+", "http"),
    ("events", r"event-bus/[A-Za-z0-9_./-]+", "bus"),
)
_OVERRIDES = ("containerOverrides", "cpu", "memory", "ephemeralStorage", "taskRoleArn", "executionRoleArn")
STARTED_BY_LENGTH = 36
SUPPORTED = "ECS clusters, SQS queues, CloudWatch log groups, API destinations and event buses"


class TargetError(ValueError):
    """The ARN names nothing that an event can be sent to from here; the message says why."""


def sort_of(arn: str, scope: Scope) -> Sort:
    match = _ARN.fullmatch(arn)
    if match is None:
        raise TargetError("Provided Arn is not in correct format.")
    service, region, account, resource = match.groups()
    for name, pattern, sort in _RESOURCES:
        if service == name and re.fullmatch(pattern, resource):
            if (region, account) != (scope.region, scope.account):
                raise TargetError("Targets of other accounts and regions are not built into neargate.")
            return sort
    raise TargetError(f"neargate sends events to {SUPPORTED}; not to {service}.")


def log_group_of(arn: str) -> str:
    return arn.split(":log-group:", 1)[1].removesuffix(":*")


def bus_of(arn: str) -> str:
    return arn.split(":event-bus/", 1)[1]


def _started_by(origin: str) -> str:
    """As AWS names a rule or a schedule, whose ARN this is, in the tasks that it starts."""
    kind = "chronos-schedule" if ":schedule/" in origin else "events-rule"
    return f"{kind}/{origin.rpartition('/')[2]}"[:STARTED_BY_LENGTH]


def run_task_request(target: Target, text: str, origin: str, token: str, count: int) -> dict[str, Any]:
    """RunTask's parameters. text -- what the target is sent: overrides, where it is a JSON object of them.
    origin -- ARN of the rule or schedule."""
    ecs = target.ecs
    request: dict[str, Any] = {
        "cluster": target.arn,
        "taskDefinition": ecs["TaskDefinitionArn"],
        "count": count,
        "clientToken": token,
        "startedBy": _started_by(origin),
    }
    plain = {
        "LaunchType": "launchType",
        "PlatformVersion": "platformVersion",
        "Group": "group",
        "EnableECSManagedTags": "enableECSManagedTags",
        "EnableExecuteCommand": "enableExecuteCommand",
        "PropagateTags": "propagateTags",
        "ReferenceId": "referenceId",
        "PlacementConstraints": "placementConstraints",
        "PlacementStrategy": "placementStrategy",
    }
    request |= {ours: ecs[theirs] for theirs, ours in plain.items() if ecs.get(theirs) is not None}
    if strategy := ecs.get("CapacityProviderStrategy"):
        request["capacityProviderStrategy"] = strategy
    if network := (ecs.get("NetworkConfiguration") or {}).get("awsvpcConfiguration"):
        known = {name[0].lower() + name[1:]: value for name, value in network.items()}
        request["networkConfiguration"] = {"awsvpcConfiguration": known}
    if tags := ecs.get("Tags"):
        request["tags"] = [_tag(tag) for tag in tags]
    if overrides := _overrides(text):
        request["overrides"] = overrides
    return request


def _tag(tag: Mapping[str, Any]) -> dict[str, Any]:
    """EventBridge says Key and Value; its scheduler says key and value, in a map."""
    return {"key": tag.get("Key", tag.get("key")), "value": tag.get("Value", tag.get("value"))}


def _overrides(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {name: value[name] for name in _OVERRIDES if name in value}
