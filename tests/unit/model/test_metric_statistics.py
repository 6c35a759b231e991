"""Summaries and statistics, against plain code over all the values."""

import math
import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from neargate.model.metric import BINS, EXACT, Summary, merged, statistic_set, summary
from neargate.model.metric_statistics import percentile_of, statistic

VALUES = st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 2)), min_size=1, max_size=40)
MANY = st.lists(st.floats(0.001, 1e9), min_size=100, max_size=400)
PERCENT = st.floats(0, 100).map(lambda p: round(p, 1))


def value(given_summary: Summary, name: str) -> float | None:
    found = statistic(name)
    assert found is not None, name
    return found(given_summary)


def reference(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    rank = percent / 100 * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


@given(VALUES, PERCENT)
def test_few_values_are_exact(values: list[float], percent: float) -> None:
    assume(len(set(values)) <= EXACT)
    total = summary(values)
    assert value(total, "SampleCount") == len(values)
    assert value(total, "Sum") == pytest.approx(math.fsum(values), abs=1e-6)
    assert value(total, "Average") == pytest.approx(statistics.fmean(values), abs=1e-6)
    assert (value(total, "Minimum"), value(total, "Maximum")) == (min(values), max(values))
    assert value(total, f"p{percent}") == pytest.approx(reference(values, percent), abs=1e-6)


@given(MANY, PERCENT)
def test_percentiles_of_many_values_are_within_a_bin(values: list[float], percent: float) -> None:
    total = summary(values)
    assert total.pairs is not None
    assert len(total.pairs) <= BINS
    found = value(total, f"p{percent}")
    assert found is not None
    ordered = sorted(values)
    rank = percent / 100 * (len(ordered) - 1)
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    # Bins may have grown to hold so wide a range: 1 % each, doubled until BINS are enough.
    width = 0.01
    while math.log(1e12) / math.log1p(width) > BINS:
        width *= 2
    assert low * (1 - width) <= found <= high * (1 + width)


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_merging_is_summing_up_all_at_once(parts: list[list[float]]) -> None:
    everything = [v for part in parts for v in part]
    assume(len(set(everything)) <= EXACT)
    whole = summary(everything)
    together = merged(summary(part) for part in parts)
    one_by_one = summary(parts[0])
    for part in parts[1:]:
        one_by_one = one_by_one.merged(summary(part))
    for found in (together, one_by_one):
        assert found is not None
        assert found.pairs == whole.pairs
        assert (found.count, found.minimum, found.maximum) == (whole.count, whole.minimum, whole.maximum)
        assert found.sum == pytest.approx(whole.sum, abs=1e-6)


@given(MANY)
def test_binning_twice_is_binning_once(values: list[float]) -> None:
    once = summary(values)
    assert once.pairs is not None
    again = summary([v for v, _ in once.pairs], [c for _, c in once.pairs])
    assert again.count == once.count
    assert again.pairs is not None
    assert [c for _, c in again.pairs] == [c for _, c in once.pairs]
    assert [v for v, _ in again.pairs] == pytest.approx([v for v, _ in once.pairs], rel=1e-9)


@given(VALUES, PERCENT)
def test_counts_are_repetitions(values: list[float], percent: float) -> None:
    counts = [1.0 + i % 3 for i in range(len(values))]
    repeated = [v for v, c in zip(values, counts, strict=True) for _ in range(int(c))]
    counted, spelled = summary(values, counts), summary(repeated)
    assert counted.pairs == spelled.pairs
    assert value(counted, f"p{percent}") == value(spelled, f"p{percent}")


@given(VALUES, st.integers(0, 50), st.integers(51, 100))
def test_trimmed_winsorized_and_counted(values: list[float], low: int, high: int) -> None:
    total = summary(values)
    first, last = len(values) * low / 100, len(values) * high / 100
    weights = [max(0.0, min(i + 1, last) - max(i, first)) for i in range(len(values))]
    ordered = sorted(values)
    inside = math.fsum(weights)
    total_inside = math.fsum(v * w for v, w in zip(ordered, weights, strict=True))
    bounds = f"({low}%:{high}%)"
    assert value(total, f"TC{bounds}") == pytest.approx(inside)
    assert value(total, f"TS{bounds}") == pytest.approx(total_inside, abs=1e-3)
    if inside > 0:
        assert value(total, f"TM{bounds}") == pytest.approx(total_inside / inside, abs=1e-3)
    bottom, top = reference(values, low), reference(values, high)
    held = [min(max(v, bottom), top) for v in values]
    assert value(total, f"WM{bounds}") == pytest.approx(statistics.fmean(held), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PR(2:3)", 50.0),
        ("PR(:2)", 50.0),
        ("PR(3:)", 50.0),
        ("TM(2:4)", 3.0),
        ("TC(2:)", 3.0),
        ("TS(:2)", 3.0),
        ("WM(2:3)", 2.5),
        ("tm50", 1.5),
        ("tc50", 2.0),
        ("ts50", 3.0),
        ("IQM", 2.5),
        ("p0", 1.0),
        ("p100", 4.0),
        ("p50", 2.5),
    ],
)
def test_named_statistics(name: str, expected: float) -> None:
    assert value(summary([1.0, 2.0, 3.0, 4.0]), name) == pytest.approx(expected)


@pytest.mark.parametrize(
    "name",
    ["", "average", "p", "p101", "p-1", "pp5", "TM(:)", "PR(10%:20%)", "TM(10%:5)", "TM(90%:10%)", "tm"],
)
def test_what_is_no_statistic(name: str) -> None:
    assert statistic(name) is None


@given(st.text(max_size=20))
def test_no_name_crashes(name: str) -> None:
    found = statistic(name)
    assert found is None or callable(found)


def test_a_statistic_set_has_percentiles_only_if_it_is_of_one_value() -> None:
    several, one, same = statistic_set(3, 6, 1, 3), statistic_set(1, 2, 2, 2), statistic_set(4, 8, 2, 2)
    assert value(several, "p50") is None
    assert value(several, "TM(10%:90%)") is None
    assert value(several, "Average") == 2.0
    assert value(one, "p99") == 2.0
    assert value(same, "p10") == 2.0
    assert value(several.merged(one), "p50") is None


def test_negative_values_and_zero_have_bins_too() -> None:
    values = [float(v) for v in range(-200, 201)]
    total = summary(values)
    assert total.pairs is not None
    assert value(total, "p50") == pytest.approx(0.0, abs=1.0)
    assert value(total, "p0") == pytest.approx(-200, rel=0.006)
    assert value(total, "p100") == pytest.approx(200, rel=0.006)


def test_percentile_names() -> None:
    assert (percentile_of("p99.9"), percentile_of("tm99"), percentile_of("p200")) == (99.9, None, None)
