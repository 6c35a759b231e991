"""M out of N and missing data: AWS's own tables, and what holds of any alarm."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.alarm import ALARM, INSUFFICIENT_DATA, OK, Alarm
from neargate.model.alarm_evaluation import (
    COMPARISONS,
    EXTRA,
    TREATMENTS,
    Datum,
    Verdict,
    decide,
    interval_of,
    judge,
    window,
)

KEEP = None
# Oldest first; 0: not breaching, X: breaching, -: missing. The states are those of TREATMENTS, in that order.
THREE_OF_THREE = [
    ("0 - X - X", OK, OK, OK, OK),
    ("- - - - 0", OK, OK, OK, OK),
    ("- - - - -", INSUFFICIENT_DATA, KEEP, ALARM, OK),
    ("0 X X - X", ALARM, ALARM, ALARM, ALARM),
    ("- - X - -", ALARM, KEEP, ALARM, OK),
    # The text below the tables: too young to turn, as the next data point may not breach.
    ("- - - - X", KEEP, KEEP, ALARM, OK),
    ("- - - X -", KEEP, KEEP, ALARM, OK),
    ("- - - X 0", OK, OK, OK, OK),
    ("- - X - 0", OK, OK, OK, OK),
]
TWO_OF_THREE = [
    ("0 - X - X", ALARM, ALARM, ALARM, ALARM),
    ("0 0 X 0 X", ALARM, ALARM, ALARM, ALARM),
    ("0 - X - -", OK, OK, ALARM, OK),
    ("- - - - 0", OK, OK, ALARM, OK),
    ("- - - X -", ALARM, KEEP, ALARM, OK),
]


def marks(text: str) -> list[bool | None]:
    return [{"0": False, "X": True, "-": None}[mark] for mark in text.split()]


@pytest.mark.parametrize(
    ("m", "text", "treat", "state"),
    [
        (m, text, treat, state)
        for m, table in ((3, THREE_OF_THREE), (2, TWO_OF_THREE))
        for text, *states in table
        for treat, state in zip(TREATMENTS, states, strict=True)
    ],
)
def test_awss_tables_of_missing_data(m: int, text: str, treat: str, state: str | None) -> None:
    assert decide(marks(text), 3, m, treat).state == state


RANGES = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.integers(1, n),
        st.lists(st.sampled_from((True, False, None)), min_size=n + EXTRA, max_size=n + EXTRA),
    )
)


@given(RANGES, st.sampled_from(TREATMENTS))
def test_enough_real_data_decides_alone(given_range: tuple[int, int, list[bool | None]], treat: str) -> None:
    n, m, breaching = given_range
    real = [state for state in breaching if state is not None]
    decision = decide(breaching, n, m, treat)
    if len(real) >= n:
        assert decision.state == (ALARM if sum(real[-n:]) >= m else OK)
        assert decision.filled == 0
    else:
        assert decision.filled == n - len(real)
        assert len(decision.used) == len(real)


@given(RANGES, st.sampled_from(TREATMENTS))
def test_more_breaching_data_never_ends_an_alarm(
    given_range: tuple[int, int, list[bool | None]], treat: str
) -> None:
    n, m, breaching = given_range
    worse = [True if state is False else state for state in breaching]
    if decide(breaching, n, m, treat).state == ALARM:
        assert decide(worse, n, m, treat).state == ALARM


@given(RANGES)
def test_treatments_are_ordered_by_how_much_they_alarm(
    given_range: tuple[int, int, list[bool | None]],
) -> None:
    n, m, breaching = given_range
    if decide(breaching, n, m, "notBreaching").state == ALARM:
        assert all(decide(breaching, n, m, treat).state == ALARM for treat in TREATMENTS)
    if decide(breaching, n, m, "breaching").state == OK:
        assert all(decide(breaching, n, m, treat).state == OK for treat in TREATMENTS)


@given(RANGES)
def test_insufficient_data_is_only_where_all_is_missing(
    given_range: tuple[int, int, list[bool | None]],
) -> None:
    n, m, breaching = given_range
    missing = all(state is None for state in breaching)
    assert (decide(breaching, n, m, "missing").state == INSUFFICIENT_DATA) == missing


def alarm(**fields: object) -> Alarm:
    values: dict[str, object] = {
        "arn": "arn:a",
        "name": "a",
        "namespace": "N",
        "metric_name": "m",
        "statistic": "Average",
        "comparison": "GreaterThanThreshold",
        "threshold": 10.0,
        **fields,
    }
    return Alarm(account="0", region="r", **values)  # type: ignore[arg-type]


def verdict(given_alarm: Alarm, *values: float | None, samples: float = 1.0) -> Verdict | None:
    data = [Datum(1_800_000_000 + 60 * i, v, samples) for i, v in enumerate(values)]
    return judge(given_alarm, data, 1_800_000_600.0)


def test_reasons_are_in_awss_words() -> None:
    one = verdict(alarm(), None, None, 25.0)
    assert one is not None
    assert one.reason == (
        "Threshold Crossed: 1 out of the last 1 datapoints [25.0 (15/01/27 08:02:00)] was greater than the"
        " threshold (10.0) (minimum 1 datapoint for OK -> ALARM transition)."
    )
    fine = verdict(alarm(evaluation_periods=3, datapoints_to_alarm=2), 1.0, 2.0, 20.0, 3.0, 4.0)
    assert fine is not None
    assert fine.reason == (
        "Threshold Crossed: 2 out of the last 3 datapoints [4.0 (15/01/27 08:04:00), 3.0 (15/01/27 08:03:00)]"
        " were not greater than the threshold (10.0) (minimum 2 datapoints for ALARM -> OK transition)."
    )
    unknown = verdict(alarm(evaluation_periods=2), None, None, None, None)
    assert unknown is not None
    assert (unknown.state, unknown.reason) == (
        INSUFFICIENT_DATA,
        "Insufficient Data: 2 datapoints were unknown.",
    )
    filled = verdict(alarm(treat_missing="notBreaching"), None, None, None)
    assert filled is not None
    assert filled.reason == (
        "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as"
        " [NonBreaching]."
    )


def test_reason_data_tell_what_was_evaluated() -> None:
    told = verdict(alarm(unit="Percent"), 1.0, 2.0, 25.0, samples=3.0)
    assert told is not None
    assert told.data["recentDatapoints"] == [25.0]
    assert told.data["unit"] == "Percent"
    assert told.data["evaluatedDatapoints"] == [
        {"timestamp": "2027-01-15T08:02:00.000+0000", "sampleCount": 3.0, "value": 25.0}
    ]


def test_however_long_an_alarm_looks_back_its_reason_stays_within_awss_bounds() -> None:
    told = verdict(alarm(evaluation_periods=1440), *(1234567.0123456789 + at for at in range(1440)))
    assert told is not None
    assert len(told.reason) <= 1023 and "1440 out of the last 1440 datapoints [1236006.01234" in told.reason
    assert len(json.dumps(told.data)) <= 4000 and told.data["recentDatapoints"][-1] > 1236006


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [
        ("GreaterThanThreshold", OK, OK, ALARM),
        ("GreaterThanOrEqualToThreshold", OK, ALARM, ALARM),
        ("LessThanThreshold", ALARM, OK, OK),
        ("LessThanOrEqualToThreshold", ALARM, ALARM, OK),
    ],
)
def test_comparisons(comparison: str, below: str, equal: str, above: str) -> None:
    assert comparison in COMPARISONS
    states = []
    for value in (9.0, 10.0, 11.0):
        found = verdict(alarm(comparison=comparison), value, value, value)
        assert found is not None
        states.append(found.state)
    assert states == [below, equal, above]


@pytest.mark.parametrize(
    ("statistic", "low", "samples", "state"),
    [
        ("p99", "ignore", 999.0, None),
        ("p99", "ignore", 1001.0, ALARM),
        ("p10", "ignore", 99.0, None),
        ("p10", "ignore", 101.0, ALARM),
        ("p99", "evaluate", 1.0, ALARM),
        ("p99", None, 1.0, ALARM),
        ("Average", "ignore", 1.0, ALARM),
    ],
)
def test_percentiles_of_too_few_samples(
    statistic: str, low: str | None, samples: float, state: str | None
) -> None:
    found = verdict(alarm(statistic=statistic, low_samples=low), 20.0, 20.0, 20.0, samples=samples)
    assert (found and found.state) == state


def test_an_alarm_is_evaluated_each_minute_or_each_shorter_period() -> None:
    assert [interval_of(alarm(period=p)) for p in (10, 20, 30, 60, 300)] == [10, 20, 30, 60, 60]
    assert window(alarm(period=300, evaluation_periods=2), 6000) == (6000 - 4 * 300, 6000)
