"""Which load balancers lead to which target groups: kept in the groups with each write of a listener or rule.

Called by load_balancers, listeners and rules, inside their own transaction.
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.balancer import Listener, LoadBalancer, TargetGroup
from neargate.model.balancer_rules_actions import target_groups
from neargate.model.balancer_rules_health import APPLICATION
from neargate.services.elbv2 import names
from neargate.services.elbv2.targets import registering
from neargate.state.catalog_balancers import LISTENER, LISTENER_RULE, TARGET, TARGET_GROUP
from neargate.state.store import Tx

MOST: Final = 100
_FITTING: Final = {
    "HTTP": APPLICATION,
    "HTTPS": APPLICATION,
    "TCP": ("TCP", "TCP_UDP"),
    "TLS": ("TCP", "TLS"),
    "UDP": ("UDP", "TCP_UDP"),
    "TCP_UDP": ("TCP_UDP",),
}
"""Protocols of target groups that a listener's protocol may lead to."""


def check(tx: Tx, balancer: LoadBalancer, protocol: str, groups: Iterable[str]) -> None:
    """Whether a listener with this protocol may forward to these groups.

    Raise TargetGroupNotFound, IncompatibleProtocols, InvalidLoadBalancerAction, InvalidConfigurationRequest,
    TargetGroupAssociationLimit.
    """
    scope = names.scope_of(balancer)
    for arn in groups:
        group = names.need_group(tx, scope, arn)
        _check_fit(protocol, group)
        if group.vpc_id != balancer.vpc_id:
            raise names.not_configurable(
                f"The target group '{arn}' is in the VPC '{group.vpc_id}', the load balancer in"
                f" '{balancer.vpc_id}'"
            )
        if set(group.balancer_arns) - {balancer.arn}:
            raise ApiError(
                "TargetGroupAssociationLimit",
                f"The following target groups cannot be associated with more than one load balancer: {arn}",
            )


def _check_fit(protocol: str, group: TargetGroup) -> None:
    if group.protocol not in _FITTING[protocol]:
        raise ApiError(
            "IncompatibleProtocols",
            f"Listener protocol '{protocol}' is not supported with a target group with the protocol"
            f" '{group.protocol}'",
        )
    if protocol == "HTTP" and group.protocol_version != "HTTP1":
        raise ApiError(
            "InvalidLoadBalancerAction",
            f"Listener protocol '{protocol}' is not supported with a target group with the protocol-version"
            f" '{group.protocol_version}'",
        )


def relink(tx: Tx, balancer_arn: str, groups: Iterable[str], now: float) -> None:
    """Bring up to date whether a balancer leads to these groups, after its listeners or rules were written.

    Raise TooManyUniqueTargetGroupsPerLoadBalancer.
    """
    led: set[str] = set()
    for listener in tx.find(LISTENER, "balancer", balancer_arn):
        led.update(groups_of(tx, listener))
    if len(led) > MOST:
        raise ApiError(
            "TooManyUniqueTargetGroupsPerLoadBalancer",
            f"A load balancer can lead to {MOST} target groups at most",
        )
    for arn in dict.fromkeys(groups):
        group = tx.get(TARGET_GROUP, arn)
        if group is None:
            continue
        if arn not in led:
            unlink(tx, group, balancer_arn, now)
        elif balancer_arn not in group.balancer_arns:
            tx.put(TARGET_GROUP, replace(group, balancer_arns=(*group.balancer_arns, balancer_arn)))


def groups_of(tx: Tx, listener: Listener) -> set[str]:
    """The groups that a listener's default actions and rules forward to."""
    found = set(target_groups(listener.actions))
    for rule in tx.find(LISTENER_RULE, "listener", listener.arn):
        found.update(target_groups(rule.actions))
    return found


def unlink(tx: Tx, group: TargetGroup, balancer_arn: str, now: float) -> None:
    """A group that no balancer leads to is not checked: what is known of its targets is worth nothing."""
    if balancer_arn not in group.balancer_arns:
        return
    left = tuple(arn for arn in group.balancer_arns if arn != balancer_arn)
    tx.put(TARGET_GROUP, replace(group, balancer_arns=left))
    for target in () if left else tx.find(TARGET, "group", group.arn):
        if target.state != "draining":
            tx.put(TARGET, registering(target, now))


def forget_listener(tx: Tx, listener: Listener) -> None:
    """Delete a listener and its rules; the caller mends the links."""
    for rule in tx.find(LISTENER_RULE, "listener", listener.arn):
        tx.delete(LISTENER_RULE, rule.arn)
    tx.delete(LISTENER, listener.arn)
