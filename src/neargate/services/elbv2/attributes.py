"""Attributes of load balancers, target groups and listeners: describe and modify. Called by gateway/dispatch.

What there is and what it may be is in model/balancer_rules_attributes.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from neargate.model.balancer_rules_attributes import all_of, changed
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import names
from neargate.state.catalog_balancers import LISTENER, LOAD_BALANCER, TARGET_GROUP
from neargate.state.store import Tx


def _shown(values: Mapping[str, str]) -> Result:
    return {"Attributes": [{"Key": name, "Value": value} for name, value in values.items()]}


async def describe_load_balancer_attributes(call: Call, params: Params) -> Result:
    arn = params["LoadBalancerArn"]
    return _shown(all_of(await call.store.read(lambda tx: names.need_balancer(tx, call.scope, arn))))


async def modify_load_balancer_attributes(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Any:
        balancer = names.need_balancer(tx, call.scope, params["LoadBalancerArn"])
        attributes = changed(balancer, "Load balancer", params["Attributes"])
        return tx.put(LOAD_BALANCER, replace(balancer, attributes=attributes))

    return _shown(all_of(await call.store.write(body)))


async def describe_target_group_attributes(call: Call, params: Params) -> Result:
    arn = params["TargetGroupArn"]
    return _shown(all_of(await call.store.read(lambda tx: names.need_group(tx, call.scope, arn))))


async def modify_target_group_attributes(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Any:
        group = names.need_group(tx, call.scope, params["TargetGroupArn"])
        attributes = changed(group, "Target group", params["Attributes"])
        return tx.put(TARGET_GROUP, replace(group, attributes=attributes))

    return _shown(all_of(await call.store.write(body)))


async def describe_listener_attributes(call: Call, params: Params) -> Result:
    arn = params["ListenerArn"]
    return _shown(all_of(await call.store.read(lambda tx: names.need_listener(tx, call.scope, arn))))


async def modify_listener_attributes(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Any:
        listener = names.need_listener(tx, call.scope, params["ListenerArn"])
        attributes = changed(listener, "Listener", params["Attributes"])
        return tx.put(LISTENER, replace(listener, attributes=attributes))

    return _shown(all_of(await call.store.write(body)))
