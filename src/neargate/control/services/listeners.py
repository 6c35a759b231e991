"""Where the listeners of a service lead: which of two target groups gets how much of the traffic.

Called by shifting.py and failure.py; traffic.py writes it into the listeners' records.
"""

from collections.abc import Mapping
from typing import Any

from neargate.control.services.draft import Draft, Weights
from neargate.model.deployments.shift import PRODUCTION, TEST, Fault


def pair(balancer: Mapping[str, Any]) -> tuple[str, str] | None:
    """The two target groups of a load balancer between which traffic can be shifted."""
    second: str = (balancer.get("advancedConfiguration") or {}).get("alternateTargetGroupArn", "")
    return (balancer["targetGroupArn"], second) if second else None


def lead(draft: Draft, member: str, percent: float) -> None:
    """Give the PRIMARY deployment's target groups a percent of a listener's traffic."""
    revision = draft.revisions.get(draft.primary.revision_arn)
    if revision is None:
        return
    balancers = revision.body.get("loadBalancers") or ()
    for balancer, group in zip(balancers, revision.groups, strict=False):
        advanced = balancer.get("advancedConfiguration") or {}
        rule, both = advanced.get(member), pair(balancer)
        if rule and both is not None:
            other = both[0] if group == both[1] else both[1]
            draft.weights.append(Weights(rule, (other, group), percent))


def faults(draft: Draft) -> list[Fault]:
    """Of what was to lead to the PRIMARY deployment: it is gone, or leads elsewhere."""
    revision = draft.revisions.get(draft.primary.revision_arn)
    if revision is None:
        return []
    balancers = revision.body.get("loadBalancers") or ()
    led = [(b, group) for b, group in zip(balancers, revision.groups, strict=False) if pair(b) is not None]
    found = [
        _fault(draft, member, balancer, group) for member in (PRODUCTION, TEST) for balancer, group in led
    ]
    return [fault for fault in found if fault is not None]


def _fault(draft: Draft, member: str, balancer: Mapping[str, Any], group: str) -> Fault | None:
    rule = (balancer.get("advancedConfiguration") or {}).get(member)
    if not rule:
        return None
    groups = draft.snapshot.leads.get(rule)
    if groups is None:
        return Fault(member, f"The {member} {rule} does not exist.")
    if group in groups:
        return None
    said = f"Target group {group} is not associated with the {member} {rule}."
    return Fault(member, said, mended=bool(groups))  # one that forwards nowhere takes no weights
