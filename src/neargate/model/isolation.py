"""Which isolation tier a task gets: the rule of demands. Pure.

Called by services/ecs at RunTask and, through Task.isolation_demand, by control/placement. A tag of the
cluster, of the task definition or of RunTask demands a tier; of several demands the strongest counts, so that
nobody weakens what another one asked for. What no node offers is never placed.
"""

from collections.abc import Mapping

TAG = "neargate.isolation"
TIERS = ("process", "gvisor", "microvm")
"""From weak to strong."""


def demanded(*tags: Mapping[str, str]) -> str:
    """The strongest tier that any of the tag sets demands; empty if none does. A name that is none of the
    tiers counts as the strongest: it cannot be met, and the caller is told.
    """
    wishes = [given[TAG] for given in tags if given.get(TAG)]
    return max(wishes, key=_strength, default="")


def _strength(tier: str) -> int:
    return TIERS.index(tier) if tier in TIERS else len(TIERS)
