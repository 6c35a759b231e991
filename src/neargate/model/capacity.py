"""Capacity provider strategies: their rules, and which provider each of a number of tasks gets. Pure.

Called by services/ecs (clusters and RunTask). AWS documents base and weight, not the rounding: each task goes
to the provider that is furthest behind its share, the first named winning a tie.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from neargate.kit.errors import ApiError

ON_DEMAND: Final = "FARGATE"
SPOT: Final = "FARGATE_SPOT"
PROVIDERS: Final = (ON_DEMAND, SPOT)
FALLBACK_TAG: Final = "neargate:spot-fallback"
"""Ours: with the value `on-demand`, on a cluster, a service or a task, Spot without room is no end."""
_MAX_ITEMS: Final = 20
_MAX_BASE: Final = 100_000
_MAX_WEIGHT: Final = 1000
Strategy = Sequence[Mapping[str, Any]]


def check_providers(names: Sequence[str]) -> tuple[str, ...]:
    """The names once each. Raises InvalidParameterException for one that does not exist."""
    for name in names:
        if name not in PROVIDERS:
            raise _invalid(f"The specified capacity provider '{name[:300]}' was not found.")
    return tuple(dict.fromkeys(names))


def check_strategy(strategy: Strategy, associated: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """The strategy with base and weight spelt out; `associated` are the cluster's providers.

    Raises InvalidParameterException with AWS's message.
    """
    if len(strategy) > _MAX_ITEMS:
        raise _invalid(
            f"A capacity provider strategy can contain a maximum of {_MAX_ITEMS} capacity providers"
        )
    items = tuple(_item(item) for item in strategy)
    names = [item["capacityProvider"] for item in items]
    if any(name not in associated for name in names):
        raise _invalid(
            "The specified capacity provider strategy cannot contain a capacity provider that is not"
            " associated with the cluster"
        )
    if len(set(names)) != len(names):
        raise _invalid("A capacity provider can only be specified once in a capacity provider strategy")
    if sum(1 for item in items if item["base"]) > 1:
        raise _invalid(
            "There are multiple capacity providers in the specified capacity provider strategy with a base"
            " value defined"
        )
    if items and not any(item["weight"] for item in items):
        raise _invalid(
            "There are no capacity providers in the capacity provider strategy with a weight value greater"
            " than zero"
        )
    return items


def _item(given: Mapping[str, Any]) -> dict[str, Any]:
    item = {
        "capacityProvider": given["capacityProvider"],
        "weight": given.get("weight", 0),
        "base": given.get("base", 0),
    }
    for name, limit in (("base", _MAX_BASE), ("weight", _MAX_WEIGHT)):
        if not 0 <= item[name] <= limit:
            raise _invalid(f"The {name} of a capacity provider must be between 0 and {limit}")
    return item


def spread(strategy: Strategy, count: int, held: Mapping[str, int] | None = None) -> list[str]:
    """The provider of each of `count` new tasks, in order; `held` are tasks that each has already.

    The base is filled first, unless its provider has weight 0: such a provider places nothing.
    """
    have = {item["capacityProvider"]: (held or {}).get(item["capacityProvider"], 0) for item in strategy}
    weights = {item["capacityProvider"]: item["weight"] for item in strategy if item["weight"] > 0}
    bases = {item["capacityProvider"]: item["base"] for item in strategy if item["weight"] > 0}
    total = sum(weights.values())
    chosen: list[str] = []
    for _ in range(count if total else 0):
        name = next((n for n in weights if have[n] < bases[n]), None)
        if name is None:
            above = {n: have[n] - bases[n] for n in weights}
            due = sum(above.values()) + 1
            name = max(weights, key=lambda n: due * weights[n] - above[n] * total)
        have[name] += 1
        chosen.append(name)
    return chosen


def falls_back(*tags: Mapping[str, str]) -> bool:
    """Whether a Spot task that finds no room is to run on demand; tags -- of its cluster, service, its own.

    The narrowest that says anything has the last word.
    """
    said = [of[FALLBACK_TAG] for of in tags if FALLBACK_TAG in of]
    return bool(said) and said[-1] == "on-demand"


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)
