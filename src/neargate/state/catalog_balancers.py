"""Kinds of the records of load balancing; like catalog.py, which has those of tasks."""

from neargate.model.balancer import (
    Certificate,
    Listener,
    ListenerRule,
    LoadBalancer,
    Target,
    TargetGroup,
    target_id,
)
from neargate.state.store import Kind

LOAD_BALANCER = Kind(
    "load-balancer",
    LoadBalancer,
    lambda r: r.arn,
    {"name": lambda r: f"{r.account}/{r.region}/{r.name}"},
)
LISTENER = Kind("listener", Listener, lambda r: r.arn, {"balancer": lambda r: r.balancer_arn})
LISTENER_RULE = Kind("listener-rule", ListenerRule, lambda r: r.arn, {"listener": lambda r: r.listener_arn})
TARGET_GROUP = Kind(
    "target-group", TargetGroup, lambda r: r.arn, {"name": lambda r: f"{r.account}/{r.region}/{r.name}"}
)
TARGET = Kind(
    "target",
    Target,
    lambda r: target_id(r.group_arn, r.address, r.port),
    {
        "group": lambda r: r.group_arn,
        "task": lambda r: r.task_arn or None,
        "draining": lambda r: "yes" if r.state == "draining" else None,
    },
)
CERTIFICATE = Kind("certificate", Certificate, lambda r: r.arn)
