"""Prices: the table of AWS, the arithmetic, and what a settings file may change."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.model.pricing import Cost, Prices, PricingError, amount, cost, prices_from
from neargate.model.task import Usage


def usage(seconds: int = 3600, **fields: Any) -> Usage:
    values: dict[str, Any] = {
        "account": "0",
        "region": "us-east-1",
        "task_arn": "arn:t",
        "cluster": "arn:c",
        "family": "f",
        "revision": 1,
        "capacity_provider": "FARGATE",
        "architecture": "x86_64",
        "cpu_units": 1024,
        "memory_mib": 1024,
        "ephemeral_gib": 20,
        "started_at": 0.0,
        "stopped_at": float(seconds),
        "seconds": seconds,
    }
    return Usage(**{**values, **fields})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Cost(Decimal("0.04048"), Decimal("0.004445"), Decimal(0))),
        ({"architecture": "ARM64"}, Cost(Decimal("0.03238"), Decimal("0.00356"), Decimal(0))),
        ({"cpu_units": 256, "memory_mib": 512}, Cost(Decimal("0.01012"), Decimal("0.0022225"), Decimal(0))),
        ({"ephemeral_gib": 120}, Cost(Decimal("0.04048"), Decimal("0.004445"), Decimal("0.0111"))),
        ({"capacity_provider": "FARGATE_SPOT"}, Cost(Decimal("0.012144"), Decimal("0.0013335"), Decimal(0))),
    ],
)
def test_an_hour(fields: dict[str, Any], expected: Cost) -> None:
    assert cost(usage(**fields), Prices()) == expected


def test_a_minute_of_the_smallest_task() -> None:
    price = cost(usage(60, cpu_units=256, memory_mib=512), Prices())
    assert round(price.total, 12) == Decimal("0.000205708333")


@given(st.integers(0, 10**6), st.sampled_from([256, 512, 1024, 16384]), st.integers(20, 200))
@settings(max_examples=50, deadline=None)
def test_cost_grows_with_what_is_used(seconds: int, cpu: int, gib: int) -> None:
    one = cost(usage(seconds, cpu_units=cpu, ephemeral_gib=gib), Prices())
    more = cost(usage(seconds + 1, cpu_units=cpu, ephemeral_gib=gib), Prices())
    assert Decimal(0) <= one.total < more.total
    used = amount(usage(seconds, cpu_units=cpu, ephemeral_gib=gib))
    assert used.vcpu_seconds * 1024 == seconds * cpu
    assert used.storage_gib_seconds == seconds * (gib - 20)


def test_a_file_changes_what_it_names_and_nothing_else() -> None:
    prices = prices_from({"FARGATE": {"ARM64": {"vcpu_hour": "1.5"}}, "storage_gib_hour": 0.25})
    assert prices.rates["FARGATE", "ARM64"].vcpu_hour == Decimal("1.5")
    assert prices.rates["FARGATE", "ARM64"].gib_hour == Decimal("0.00356")
    assert prices.storage_gib_hour == Decimal("0.25")
    assert prices.rates["FARGATE", "X86_64"] == Prices().rates["FARGATE", "X86_64"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be a JSON object"),
        ({"fargate": {}}, "unknown entry 'fargate'"),
        ({"FARGATE": []}, "FARGATE must be an object"),
        ({"FARGATE": {"MIPS": {}}}, "unknown entry 'FARGATE.MIPS'"),
        ({"FARGATE": {"ARM64": 3}}, "FARGATE.ARM64 must be an object"),
        ({"FARGATE": {"ARM64": {"cpu": 3}}}, "FARGATE.ARM64.cpu"),
        ({"storage_gib_hour": "dear"}, "storage_gib_hour is 'dear': it must be a number"),
        ({"storage_gib_hour": -1}, "0 or more"),
        ({"storage_gib_hour": "NaN"}, "0 or more"),
        ({"storage_gib_hour": True}, "must be a number"),
    ],
)
def test_a_bad_file_is_refused_by_name(document: Any, message: str) -> None:
    with pytest.raises(PricingError, match=message):
        prices_from(document)
