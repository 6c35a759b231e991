"""Attributes of load balancers, target groups and listeners: describe and modify. Called by gateway/dispatch.

What there is and what it may be is in model/balancer_rules_attributes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from neargate.model.balancer import Listener, LoadBalancer, TargetGroup
from neargate.model.balancer_rules_attributes import all_of, changed
from neargate.model.record import Scope
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import names
from neargate.state.catalog_balancers import LISTENER, LOAD_BALANCER, TARGET_GROUP
from neargate.state.store import Kind, Tx

Balancing = LoadBalancer | TargetGroup | Listener
Need = Callable[[Tx, Scope, str], Balancing]
"""Finds a record, or raises that it is not there."""
Given = Sequence[Mapping[str, str]]


def _shown(record: Balancing) -> Result:
    return {"Attributes": [{"Key": name, "Value": value} for name, value in all_of(record).items()]}


async def _describe(call: Call, need: Need, arn: str) -> Result:
    return _shown(await call.store.read(lambda tx: need(tx, call.scope, arn)))


async def _modify(call: Call, kind: Kind[Any], need: Need, arn: str, what: str, given: Given) -> Result:
    def body(tx: Tx) -> Balancing:
        record = need(tx, call.scope, arn)
        tx.put(kind, after := replace(record, attributes=changed(record, what, given)))
        return after

    return _shown(await call.store.write(body))


async def describe_load_balancer_attributes(call: Call, params: Params) -> Result:
    return await _describe(call, names.need_balancer, params["LoadBalancerArn"])


async def modify_load_balancer_attributes(call: Call, params: Params) -> Result:
    arn, given = params["LoadBalancerArn"], params["Attributes"]
    return await _modify(call, LOAD_BALANCER, names.need_balancer, arn, "Load balancer", given)


async def describe_target_group_attributes(call: Call, params: Params) -> Result:
    return await _describe(call, names.need_group, params["TargetGroupArn"])


async def modify_target_group_attributes(call: Call, params: Params) -> Result:
    arn, given = params["TargetGroupArn"], params["Attributes"]
    return await _modify(call, TARGET_GROUP, names.need_group, arn, "Target group", given)


async def describe_listener_attributes(call: Call, params: Params) -> Result:
    return await _describe(call, names.need_listener, params["ListenerArn"])


async def modify_listener_attributes(call: Call, params: Params) -> Result:
    arn, given = params["ListenerArn"], params["Attributes"]
    return await _modify(call, LISTENER, names.need_listener, arn, "Listener", given)
