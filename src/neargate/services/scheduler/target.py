"""A schedule's target, checked: RunTask, a queue, or an event bus. Called by schedules.py."""

from collections.abc import Mapping
from typing import Any

from neargate.model.event import MAX_AGE_SECONDS, MAX_ATTEMPTS, Target
from neargate.model.event_target import TargetError, sort_of
from neargate.services.call import Call
from neargate.services.scheduler import names

_UNIVERSAL = "arn:aws:scheduler:::aws-sdk:"
_SORTS = ("ecs", "sqs", "bus")
_PARAMETERS = {"ecs": "EcsParameters", "bus": "EventBridgeParameters"}


def read_target(call: Call, given: Mapping[str, Any]) -> Target:
    arn = given["Arn"]
    if arn.startswith(_UNIVERSAL):
        raise names.invalid("Universal targets are not built into neargate: name a cluster, queue or bus.")
    try:
        sort = sort_of(arn, call.scope)
    except TargetError as error:
        raise names.invalid(str(error)) from None
    if sort not in _SORTS:
        raise names.invalid("Schedules start tasks of ECS clusters, or send to SQS queues and event buses.")
    for kind, member in _PARAMETERS.items():
        if (kind == sort) != bool(given.get(member)):
            told = "is required for" if kind == sort else "is not valid for"
            raise names.invalid(f"{member} {told} target {arn[:300]}.")
    group = (given.get("SqsParameters") or {}).get("MessageGroupId") or ""
    if arn.endswith(".fifo") and not group:
        raise names.invalid("SqsParameters with a MessageGroupId is required for FIFO queues.")
    retry = given.get("RetryPolicy") or {}
    return Target(
        id="target",
        arn=arn,
        role_arn=given["RoleArn"],
        input=given.get("Input"),
        ecs=given.get("EcsParameters") or {},
        event_bridge=dict(given.get("EventBridgeParameters") or {}),
        message_group=group,
        dead_letter_arn=(given.get("DeadLetterConfig") or {}).get("Arn") or "",
        max_age=retry.get("MaximumEventAgeInSeconds", MAX_AGE_SECONDS),
        max_attempts=retry.get("MaximumRetryAttempts", MAX_ATTEMPTS),
        given=dict(given),
    )
