"""Where the listeners of a service lead: which of two target groups gets how much of the traffic.

Called by shifting.py and failure.py; traffic.py writes it into the listeners' records.
"""

from collections.abc import Mapping
from typing import Any

from neargate.control.services.draft import Draft, Weights
from neargate.model.deployments.shift import routes


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


def lost(draft: Draft) -> list[tuple[str, str]]:
    """What was to lead to the PRIMARY deployment, and is gone: member and ARN."""
    revision = draft.revisions.get(draft.primary.revision_arn)
    balancers = revision.body.get("loadBalancers") or () if revision is not None else ()
    return [(member, arn) for member, arn in routes(balancers) if arn in draft.snapshot.lost]
