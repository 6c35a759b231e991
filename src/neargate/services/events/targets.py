"""Targets of rules: put, remove, list. Called by gateway/dispatch; control/events sends to them."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from neargate.model import event_input
from neargate.model.event import MAX_AGE_SECONDS, MAX_ATTEMPTS, Target
from neargate.model.event_target import Sort, TargetError, sort_of
from neargate.services.call import Call, Params, Result
from neargate.services.events import names
from neargate.state.catalog_events import EVENT_API_DESTINATION, EVENT_RULE
from neargate.state.store import Tx

_MAX_TARGETS = 5
_INPUTS = ("Input", "InputPath", "InputTransformer")


async def put_targets(call: Call, params: Params) -> Result:
    given = params["Targets"]
    targets = [_target(call, item) for item in given]

    def body(tx: Tx) -> None:
        rule = names.need_rule(tx, call, params["Rule"], params.get("EventBusName"))
        for target in targets:
            _check_there(tx, target)
        kept = {target.id: target for target in (*rule.targets, *targets)}
        if len(kept) > _MAX_TARGETS:
            raise names.too_many()
        tx.put(EVENT_RULE, replace(rule, targets=tuple(kept.values())))

    await call.store.write(body)
    return {"FailedEntryCount": 0, "FailedEntries": []}


def _target(call: Call, given: Mapping[str, Any]) -> Target:
    """A target as it was given, checked."""
    id, arn = given["Id"], given["Arn"]
    try:
        sort = sort_of(arn, call.scope)
    except TargetError as error:
        raise names.invalid(f"Parameter {arn[:300]} is not valid. Reason: {error}") from None
    if sum(1 for name in _INPUTS if given.get(name) is not None) > 1:
        raise names.invalid(
            f"Only one of Input, InputPath, or InputTransformer must be provided for target {id}."
        )
    _check_parameters(sort, given)
    transformer = given.get("InputTransformer") or {}
    retry = given.get("RetryPolicy") or {}
    target = Target(
        id=id,
        arn=arn,
        role_arn=given.get("RoleArn") or "",
        input=given.get("Input"),
        input_path=given.get("InputPath") or None,
        input_paths=transformer.get("InputPathsMap") or {},
        input_template=transformer.get("InputTemplate"),
        ecs=given.get("EcsParameters") or {},
        http=given.get("HttpParameters") or {},
        message_group=(given.get("SqsParameters") or {}).get("MessageGroupId") or "",
        dead_letter_arn=(given.get("DeadLetterConfig") or {}).get("Arn") or "",
        max_age=retry.get("MaximumEventAgeInSeconds", MAX_AGE_SECONDS),
        max_attempts=retry.get("MaximumRetryAttempts", MAX_ATTEMPTS),
        given=dict(given),
    )
    try:
        event_input.check(target)
    except event_input.InputError as error:
        raise names.invalid(f"{error} for target {id}.") from None
    return target


def _check_parameters(sort: Sort, given: Mapping[str, Any]) -> None:
    id, arn = given["Id"], given["Arn"]
    if sort == "ecs":
        if not given.get("RoleArn"):
            raise names.invalid(f"RoleArn is required for target {arn}.")
        if not given.get("EcsParameters"):
            raise names.invalid(f"Parameter(s) EcsParameters must be specified for target: {id}.")
        count = given["EcsParameters"].get("TaskCount", 1)
        if count > 10:
            raise names.invalid(f"TaskCount {count} of target {id} is not valid: it can be 10 at most.")
    if (
        sort == "sqs"
        and arn.endswith(".fifo")
        and not (given.get("SqsParameters") or {}).get("MessageGroupId")
    ):
        raise names.invalid(f"Parameter(s) SqsParameters must be specified for target: {id}.")


def _check_there(tx: Tx, target: Target) -> None:
    if ":api-destination/" in target.arn and tx.get(EVENT_API_DESTINATION, target.arn) is None:
        raise names.missing(f"An api-destination '{target.arn}' does not exist.")


async def remove_targets(call: Call, params: Params) -> Result:
    """Ids that the rule has not are as well removed."""

    def body(tx: Tx) -> None:
        rule = names.need_rule(tx, call, params["Rule"], params.get("EventBusName"))
        kept = tuple(target for target in rule.targets if target.id not in params["Ids"])
        tx.put(EVENT_RULE, replace(rule, targets=kept))

    await call.store.write(body)
    return {"FailedEntryCount": 0, "FailedEntries": []}


async def list_targets_by_rule(call: Call, params: Params) -> Result:
    rule = await call.store.read(
        lambda tx: names.need_rule(tx, call, params["Rule"], params.get("EventBusName"))
    )
    given = {target.id: target.given for target in rule.targets}
    rows = [replace(rule, name=id) for id in given]
    return names.page(rows, lambda row: row.name, params, lambda row: given[row.name], "Targets")
