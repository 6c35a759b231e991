"""Weights of a listener's or a rule's forward action: how traffic goes from one target group to another.

Called by apply.py; the data plane follows the records.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from neargate.control.services.draft import Weights
from neargate.model.balancer import ListenerRule
from neargate.model.deployments.shift import weights_of
from neargate.state.catalog_balancers import LISTENER, LISTENER_RULE, TARGET_GROUP
from neargate.state.listeners import routing
from neargate.state.store import Tx


def shift(tx: Tx, weights: Weights) -> None:
    """Write the weights into the rule, or the listener, if it is still there."""
    record = routing(tx, weights.rule_arn)
    listener = tx.get(LISTENER, record.listener_arn) if isinstance(record, ListenerRule) else record
    if record is None or listener is None:
        return
    actions = tuple(_shifted(action, weights) for action in record.actions)
    if isinstance(record, ListenerRule):
        tx.put(LISTENER_RULE, replace(record, actions=actions))
    else:
        tx.put(LISTENER, replace(record, actions=actions))
    for arn in weights.groups:
        group = tx.get(TARGET_GROUP, arn)
        if group is not None and listener.balancer_arn not in group.balancer_arns:
            tx.put(TARGET_GROUP, replace(group, balancer_arns=(*group.balancer_arns, listener.balancer_arn)))


def _shifted(action: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """A forward action with the two groups at their weights; whatever else it has stays."""
    if action.get("Type") != "forward":
        return dict(action)
    forward = action.get("ForwardConfig") or {}
    others = [g for g in forward.get("TargetGroups", ()) if g["TargetGroupArn"] not in weights.groups]
    both = [
        {"TargetGroupArn": arn, "Weight": weight}
        for arn, weight in zip(weights.groups, weights_of(weights.percent), strict=True)
    ]
    made = {**action, "ForwardConfig": {**forward, "TargetGroups": [*both, *others]}}
    made.pop("TargetGroupArn", None)  # shown of a lone group only
    return made
