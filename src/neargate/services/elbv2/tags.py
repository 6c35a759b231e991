"""Tags of load balancers, target groups, listeners and rules. Called by gateway/dispatch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from neargate.model.record import Scope
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import names
from neargate.services.elbv2.rules import listener_with_default
from neargate.state.catalog_balancers import LISTENER, LISTENER_RULE, LOAD_BALANCER, TARGET_GROUP
from neargate.state.store import Kind, Tx

_MOST: Final = 20
"""How many things can be asked for at once."""
Tags = Mapping[str, str]


async def add_tags(call: Call, params: Params) -> Result:
    given = params["Tags"]
    await _change(call, params["ResourceArns"], lambda old: names.read_tags(given, old))
    return {}


async def remove_tags(call: Call, params: Params) -> Result:
    keys = params["TagKeys"]
    await _change(call, params["ResourceArns"], lambda old: {k: v for k, v in old.items() if k not in keys})
    return {}


async def _change(call: Call, arns: Sequence[str], change: Callable[[Tags], Tags]) -> None:
    def body(tx: Tx) -> None:
        for arn in dict.fromkeys(arns):
            kind, record, member = _find(tx, call.scope, arn)
            tx.put(kind, replace(record, **{member: change(getattr(record, member))}))

    _check_count(arns)
    await call.store.write(body)


async def describe_tags(call: Call, params: Params) -> Result:
    arns = params["ResourceArns"]

    def body(tx: Tx) -> list[dict[str, object]]:
        described: list[dict[str, object]] = []
        for arn in dict.fromkeys(arns):
            _, record, member = _find(tx, call.scope, arn)
            described.append({"ResourceArn": arn, "Tags": names.tag_list(getattr(record, member))})
        return described

    _check_count(arns)
    return {"TagDescriptions": await call.store.read(body)}


def _check_count(arns: Sequence[str]) -> None:
    if not 1 <= len(arns) <= _MOST:
        raise names.invalid(f"From 1 to {_MOST} resource ARNs can be specified")


def _find(tx: Tx, scope: Scope, arn: str) -> tuple[Kind[Any], Any, str]:
    """A thing by its ARN, and the member that has its tags: those of a default rule are its listener's."""
    kind = names.kind_of(arn)
    if kind == "loadbalancer":
        return LOAD_BALANCER, names.need_balancer(tx, scope, arn), "tags"
    if kind == "targetgroup":
        return TARGET_GROUP, names.need_group(tx, scope, arn), "tags"
    if kind == "listener":
        return LISTENER, names.need_listener(tx, scope, arn), "tags"
    if kind == "listener-rule":
        listener = listener_with_default(tx, scope, arn)
        if listener is not None:
            return LISTENER, listener, "rule_tags"
        return LISTENER_RULE, names.need_rule(tx, scope, arn), "tags"
    raise names.invalid(f"'{arn}' is not a valid ARN")
