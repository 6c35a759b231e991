"""Rules of listeners: create, describe, modify, delete, reorder. Called by gateway/dispatch.

A listener's default rule is no record: it is made of the listener itself where rules are shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import balancer_rules_actions, balancer_rules_conditions
from neargate.model.balancer import Listener, ListenerRule
from neargate.model.balancer_rules import default_rule_arn
from neargate.model.balancer_rules_actions import target_groups
from neargate.model.balancer_rules_conditions import Condition, old_values
from neargate.model.record import Scope
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import links, names
from neargate.services.elbv2.listeners import need_balancer_of, shown_actions
from neargate.state import listeners
from neargate.state.catalog_balancers import LISTENER_RULE
from neargate.state.store import Tx

MOST: Final = 100


async def create_rule(call: Call, params: Params) -> Result:
    tags, priority = names.read_tags(params.get("Tags")), params["Priority"]
    _check_transforms(params)
    conditions = balancer_rules_conditions.made(params["Conditions"])

    def body(tx: Tx) -> ListenerRule:
        listener = names.need_listener(tx, call.scope, params["ListenerArn"])
        balancer = need_balancer_of(tx, listener)
        if balancer.kind != "application":
            raise names.not_configurable(f"Rules are not supported for {listener.protocol} listeners")
        actions = balancer_rules_actions.made(
            params["Actions"], kind=balancer.kind, protocol=listener.protocol
        )
        others = tx.find(LISTENER_RULE, "listener", listener.arn)
        if any(other.priority == priority for other in others):
            raise _in_use(priority)
        if len(others) >= MOST:
            raise ApiError("TooManyRules", f"A listener can have {MOST} rules at most")
        links.check(tx, balancer, listener.protocol, target_groups(actions))
        rule = ListenerRule(
            account=listener.account,
            region=listener.region,
            arn=f"{listener.arn.replace(':listener/', ':listener-rule/')}/{call.ids.hex(16)}",
            listener_arn=listener.arn,
            priority=priority,
            conditions=conditions,
            actions=actions,
            tags=tags,
            created_at=call.now(),
        )
        tx.insert(LISTENER_RULE, rule)
        links.relink(tx, balancer.arn, target_groups(actions), call.now())
        return rule

    return {"Rules": [_shown(await call.store.write(body))]}


def _check_transforms(params: Params) -> None:
    if params.get("Transforms"):
        raise names.unbuilt("Transforms of requests are")


def _in_use(priority: int) -> ApiError:
    return ApiError("PriorityInUse", f"Priority '{priority}' is currently in use")


def _shown(rule: ListenerRule) -> dict[str, Any]:
    return {
        "RuleArn": rule.arn,
        "Priority": str(rule.priority),
        "Conditions": [_shown_condition(condition) for condition in rule.conditions],
        "Actions": shown_actions(rule.actions),
        "IsDefault": False,
        "Transforms": [],
    }


def _shown_condition(condition: Condition) -> dict[str, Any]:
    values = old_values(condition)
    return {**condition, **({"Values": values} if values else {})}


def _default(listener: Listener) -> dict[str, Any]:
    return {
        "RuleArn": default_rule_arn(listener.arn),
        "Priority": "default",
        "Conditions": [],
        "Actions": shown_actions(listener.actions),
        "IsDefault": True,
        "Transforms": [],
    }


def listener_with_default(tx: Tx, scope: Scope, arn: str) -> Listener | None:
    """The listener whose default rule this is, if it is one. Raise ValidationError."""
    return listeners.with_default(tx, names.check_arn(scope, "listener-rule", arn))


async def describe_rules(call: Call, params: Params) -> Result:
    listener_arn, arns = params.get("ListenerArn"), params.get("RuleArns")
    if not listener_arn and not arns:
        raise names.invalid("You must specify either listener rule ARNs or a listener ARN")
    if listener_arn and arns:
        raise names.invalid("Listener rule ARNs and a listener ARN cannot be specified at the same time")

    def body(tx: Tx) -> list[Listener | ListenerRule]:
        if arns:
            return [
                listener_with_default(tx, call.scope, arn) or names.need_rule(tx, call.scope, arn)
                for arn in dict.fromkeys(arns)
            ]
        listener = names.need_listener(tx, call.scope, listener_arn or "")
        return [*tx.find(LISTENER_RULE, "listener", listener.arn), listener]

    found = await call.store.read(body)
    return names.page(
        params,
        "Rules",
        found,
        _place,
        lambda rule: _shown(rule) if isinstance(rule, ListenerRule) else _default(rule),
    )


def _place(rule: Listener | ListenerRule) -> str:
    """In the order in which rules are tried; the default rule is the last."""
    if isinstance(rule, Listener):
        return f"~{rule.arn}"
    return f"{rule.priority:05d}{rule.arn}"


async def modify_rule(call: Call, params: Params) -> Result:
    _check_transforms(params)
    given_conditions, given_actions = params.get("Conditions"), params.get("Actions")
    if given_conditions is None and given_actions is None and not params.get("ResetTransforms"):
        raise names.invalid("Either conditions or actions must be specified")
    conditions = None if given_conditions is None else balancer_rules_conditions.made(given_conditions)

    def body(tx: Tx) -> ListenerRule:
        rule = _need_own(tx, call.scope, params["RuleArn"], "modified")
        listener = names.need_listener(tx, call.scope, rule.listener_arn)
        balancer = need_balancer_of(tx, listener)
        new = rule if conditions is None else replace(rule, conditions=conditions)
        if given_actions is not None:
            actions = balancer_rules_actions.made(
                given_actions, kind=balancer.kind, protocol=listener.protocol
            )
            links.check(tx, balancer, listener.protocol, target_groups(actions))
            new = replace(new, actions=actions)
        tx.put(LISTENER_RULE, new)
        links.relink(tx, balancer.arn, target_groups((*rule.actions, *new.actions)), call.now())
        return new

    return {"Rules": [_shown(await call.store.write(body))]}


def _need_own(tx: Tx, scope: Scope, arn: str, done: str) -> ListenerRule:
    """A rule that is not a default one. done -- what cannot be done with those."""
    if listener_with_default(tx, scope, arn) is not None:
        raise ApiError("OperationNotPermitted", f"Default rule '{arn}' cannot be {done}")
    return names.need_rule(tx, scope, arn)


async def delete_rule(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        rule = _need_own(tx, call.scope, params["RuleArn"], "deleted")
        listener = names.need_listener(tx, call.scope, rule.listener_arn)
        tx.delete(LISTENER_RULE, rule.arn)
        links.relink(tx, listener.balancer_arn, target_groups(rule.actions), call.now())

    await call.store.write(body)
    return {}


async def set_rule_priorities(call: Call, params: Params) -> Result:
    wanted = _read_priorities(params["RulePriorities"])

    def body(tx: Tx) -> list[ListenerRule]:
        rules = [_need_own(tx, call.scope, arn, "reordered") for arn in wanted]
        if len({rule.listener_arn for rule in rules}) > 1:
            raise names.invalid("The rules must belong to the same listener")
        for other in tx.find(LISTENER_RULE, "listener", rules[0].listener_arn):
            if other.arn not in wanted and other.priority in wanted.values():
                raise _in_use(other.priority)
        return [tx.put(LISTENER_RULE, replace(rule, priority=wanted[rule.arn])) for rule in rules]

    return {"Rules": [_shown(rule) for rule in await call.store.write(body)]}


def _read_priorities(given: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for pair in given:
        arn, priority = pair.get("RuleArn"), pair.get("Priority")
        if not arn or priority is None:
            raise names.invalid("A rule ARN and a priority must be specified in each rule priority")
        if arn in wanted:
            raise names.invalid(f"Rule '{arn}' was provided multiple times")
        if priority in wanted.values():
            raise names.invalid(f"Priority '{priority}' was provided multiple times")
        wanted[arn] = priority
    if not wanted:
        raise names.invalid("At least one rule priority must be specified")
    return wanted
