"""Capacity provider strategies: rules and arithmetic."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.kit.errors import ApiError
from neargate.model.capacity import PROVIDERS, check_providers, check_strategy, spread


def item(name: str, weight: int = 0, base: int = 0) -> dict[str, Any]:
    return {"capacityProvider": name, "weight": weight, "base": base}


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ([item("FARGATE", 1, 1), item("FARGATE_SPOT", 1, 1)],
         "There are multiple capacity providers in the specified capacity provider strategy with a base value"
         " defined"),
        ([item("FARGATE", 0, 1)],
         "There are no capacity providers in the capacity provider strategy with a weight value greater than"
         " zero"),
        ([item("other", 1)],
         "The specified capacity provider strategy cannot contain a capacity provider that is not"
         " associated with"
         " the cluster"),
        ([item("FARGATE", 1), item("FARGATE", 1)],
         "A capacity provider can only be specified once in a capacity provider strategy"),
        ([item("FARGATE", 1)] * 21,
         "A capacity provider strategy can contain a maximum of 20 capacity providers"),
        ([item("FARGATE", 1, 100_001)], "The base of a capacity provider must be between 0 and 100000"),
        ([item("FARGATE", 1001)], "The weight of a capacity provider must be between 0 and 1000"),
    ],
)  # fmt: skip
def test_strategies_that_are_refused(strategy: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_strategy(strategy, PROVIDERS)
    assert (caught.value.code, caught.value.message) == ("InvalidParameterException", message)


def test_weight_and_base_default_to_zero() -> None:
    (found,) = check_strategy([{"capacityProvider": "FARGATE", "weight": 1}], PROVIDERS)
    assert found == item("FARGATE", 1)
    assert check_strategy([], ()) == ()


def test_providers_exist_or_not() -> None:
    assert check_providers(["FARGATE", "FARGATE", "FARGATE_SPOT"]) == PROVIDERS
    with pytest.raises(ApiError, match="The specified capacity provider 'mine' was not found"):
        check_providers(["mine"])


@pytest.mark.parametrize(
    ("strategy", "count", "expected"),
    [
        ([item("FARGATE", 1, 2), item("FARGATE_SPOT", 3)], 10, {"FARGATE": 4, "FARGATE_SPOT": 6}),
        ([item("FARGATE", 1, 1), item("FARGATE_SPOT", 4)], 6, {"FARGATE": 2, "FARGATE_SPOT": 4}),
        ([item("FARGATE", 1), item("FARGATE_SPOT", 1)], 3, {"FARGATE": 2, "FARGATE_SPOT": 1}),
        ([item("FARGATE", 0, 5), item("FARGATE_SPOT", 1)], 3, {"FARGATE_SPOT": 3}),
        ([item("FARGATE", 0, 5)], 3, {}),
    ],
)
def test_examples(strategy: list[dict[str, Any]], count: int, expected: dict[str, int]) -> None:
    assert Counter(spread(strategy, count)) == expected


weights = st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any)


@given(weights, st.integers(0, 20), st.integers(0, 60))
def test_base_first_and_then_never_more_than_one_task_off_the_share(
    given_weights: list[int], base: int, count: int
) -> None:
    strategy = [item(f"p{i}", weight, base if i == 0 else 0) for i, weight in enumerate(given_weights)]
    chosen = spread(strategy, count)
    placed = Counter(chosen)
    assert len(chosen) == count
    assert not any(placed[f"p{i}"] for i, weight in enumerate(given_weights) if weight == 0)
    base = base if given_weights[0] else 0
    assert chosen[:base] == ["p0"] * min(base, count)
    rest = max(0, count - base)
    for i, weight in enumerate(given_weights):
        above = placed[f"p{i}"] - (min(base, count) if i == 0 else 0)
        assert abs(above - rest * weight / sum(given_weights)) < len(given_weights)
    if len(given_weights) == 2:
        above = placed["p1"]
        assert abs(above - rest * given_weights[1] / sum(given_weights)) < 1


@given(weights, st.integers(1, 30), st.integers(0, 30))
def test_tasks_asked_for_one_by_one_are_spread_like_those_asked_for_at_once(
    given_weights: list[int], count: int, base: int
) -> None:
    strategy = [item(f"p{i}", weight, base if i == 0 else 0) for i, weight in enumerate(given_weights)]
    held: Counter[str] = Counter()
    one_by_one = []
    for _ in range(count):
        (name,) = spread(strategy, 1, held)
        held[name] += 1
        one_by_one.append(name)
    assert one_by_one == spread(strategy, count)
