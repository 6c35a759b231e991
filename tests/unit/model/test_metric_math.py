"""Metric maths: what expressions mean, that no text crashes the reader, and that numbers are Python's."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.alarm import DataQuery, MetricStat
from neargate.model.metric import metric
from neargate.model.metric_functions import FUNCTIONS
from neargate.model.metric_math import MOST_DEEP, MathError, parse
from neargate.model.metric_queries import check, run
from neargate.model.metric_search import Search
from neargate.model.metric_search import parse as parse_search
from neargate.model.metric_values import Series
from neargate.model.record import Scope

START, END = 1_800_000_000, 1_800_000_300


@dataclass
class Given:
    """Series by the name of their metric: values by minute, None where there is none."""

    series: dict[str, list[float | None]]
    start: int = START
    end: int = END
    searched: list[tuple[Search, str, int]] = field(default_factory=list)

    def read(self, stat: MetricStat) -> Series:
        values = self.series[stat.name]
        points = {START + 60 * i: v for i, v in enumerate(values) if v is not None}
        return Series(points, stat.period, stat.name)

    def search(self, search: Search, stat: str, period: int) -> list[Series]:
        self.searched.append((search, stat, period))
        return [
            self.read(MetricStat(namespace="N", name=name, stat=stat, period=period)) for name in self.series
        ]


def of(expression: str, period: int | None = None, **series: list[float | None]) -> list[list[float | None]]:
    """What an expression over the series m1, m2 … gives, minute by minute."""
    queries = [
        DataQuery(id=name, metric=MetricStat(namespace="N", name=name, stat="Sum", period=60), returned=False)
        for name in series
    ]
    queries.append(DataQuery(id="e", expression=expression, period=period))
    check(queries)
    source = Given(series)
    return [[one.points.get(START + 60 * i) for i in range(5)] for one in run(queries, source)["e"]]


A: list[float | None] = [1.0, 2.0, None, 4.0, 5.0]
B: list[float | None] = [10.0, 0.0, 30.0, 40.0, None]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m1 + m2", [11.0, 2.0, None, 44.0, None]),
        ("m1 / m2", [0.1, None, None, 0.1, None]),
        ("m1 * 2 - 1", [1.0, 3.0, None, 7.0, 9.0]),
        ("-m1 ^ 2", [-1.0, -4.0, None, -16.0, -25.0]),
        ("2 ^ 3 ^ 2 + 0 * m1", [512.0, 512.0, None, 512.0, 512.0]),
        ("(m1 + 1) * 2", [4.0, 6.0, None, 10.0, 12.0]),
        ("m1 > 2", [0.0, 0.0, None, 1.0, 1.0]),
        ("m1 >= 2 AND m1 < 5", [0.0, 1.0, None, 1.0, 0.0]),
        ("m1 == 1 || m1 == 5", [1.0, 0.0, None, 0.0, 1.0]),
        ("m1 != 1 && 1", [0.0, 1.0, None, 1.0, 1.0]),
        ("SUM([m1, m2])", [11.0, 2.0, 30.0, 44.0, 5.0]),
        ("SUM(METRICS())", [11.0, 2.0, 30.0, 44.0, 5.0]),
        ("AVG(METRICS('m'))", [5.5, 1.0, 30.0, 22.0, 5.0]),
        ("MIN([m1, m2])", [1.0, 0.0, 30.0, 4.0, 5.0]),
        ("MAX([m1, m2])", [10.0, 2.0, 30.0, 40.0, 5.0]),
        ("STDDEV([m1, m2])", [4.5, 1.0, 0.0, 18.0, 0.0]),
        ("m1 - AVG(m1)", [-2.0, -1.0, None, 1.0, 2.0]),
        ("m1 * 0 + MAX(m1) + MIN(m1) + SUM(m1)", [18.0, 18.0, None, 18.0, 18.0]),
        ("FILL(m1, 0)", [1.0, 2.0, 0.0, 4.0, 5.0]),
        ("FILL(m1, REPEAT)", [1.0, 2.0, 2.0, 4.0, 5.0]),
        ("FILL(m1, LINEAR)", [1.0, 2.0, 3.0, 4.0, 5.0]),
        ("FILL(m1, m2)", [1.0, 2.0, 30.0, 4.0, 5.0]),
        ("IF(m1 > 2, m1, 0)", [0.0, 0.0, None, 4.0, 5.0]),
        ("IF(m1 > 2, m2)", [None, None, None, 40.0, None]),
        ("IF(1, m1, m2)", A),
        ("RATE(m1)", [None, 1 / 60, None, 2 / 120, 1 / 60]),
        ("DIFF(m1)", [None, 1.0, None, 2.0, 1.0]),
        ("DIFF_TIME(m1)", [None, 60.0, None, 120.0, 60.0]),
        ("RUNNING_SUM(m1)", [1.0, 3.0, None, 7.0, 12.0]),
        ("ABS(-m1)", A),
        ("CEIL(m1 / 2)", [1.0, 1.0, None, 2.0, 3.0]),
        ("FLOOR(m1 / 2)", [0.0, 1.0, None, 2.0, 2.0]),
        ("LOG10(m2 * 10)", [2.0, None, math.log10(300), math.log10(400), None]),
        ("PERIOD(m1) * m1 / m1", [60.0, 60.0, None, 60.0, 60.0]),
        ("TIME_SERIES(7)", [7.0] * 5),
        ("FIRST([m1, m2])", A),
        ("LAST([m1, m2])", B),
        ("TIME_SERIES(METRIC_COUNT(METRICS()))", [2.0] * 5),
        ("TIME_SERIES(DATAPOINT_COUNT(m1))", [4.0] * 5),
        ("HOUR(m1)", [8.0, 8.0, None, 8.0, 8.0]),
        ("DAY(m1)", [5.0, 5.0, None, 5.0, 5.0]),
        ('sum(METRICS("m1"))', A),
    ],
)
def test_one_series(expression: str, expected: list[float | None]) -> None:
    (found,) = of(expression, period=60, m1=A, m2=B)
    assert found == [None if v is None else pytest.approx(v) for v in expected]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("METRICS()", [A, B]),
        ("METRICS('2')", [B]),
        ("[m1, m2] * 2", [[2.0, 4.0, None, 8.0, 10.0], [20.0, 0.0, 60.0, 80.0, None]]),
        ("[m1, m2] - m1", [[0.0, 0.0, None, 0.0, 0.0], [9.0, -2.0, None, 36.0, None]]),
        ("SORT(METRICS(), SUM, DESC)", [B, A]),
        ("SORT(METRICS(), AVG, ASC, 1)", [A]),
        ("SLICE(METRICS(), 1)", [B]),
        ("REMOVE_EMPTY([m1, m2 / 0])", [A]),
        ("SEARCH('{N} m', 'Average', 60)", [A, B]),
        ("DIFF([m1, m1])", [[None, 1.0, None, 2.0, 1.0]] * 2),
    ],
)
def test_several_series(expression: str, expected: list[list[float | None]]) -> None:
    assert of(expression, m1=A, m2=B) == expected


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "ends too early"),
        ("m1 +", "ends too early"),
        ("m1 m2", "Unexpected 'm2'"),
        ("(m1", r"'\)' expected, not 'the end'"),
        ("m1 $ 2", r"Unexpected '\$'"),
        ("m3 + 1", "Undefined variable 'm3'"),
        ("e + 1", "Circular reference"),
        ("NOPE(m1)", "The function NOPE is not built"),
        ("1 + 1", "must give a time series"),
        ("SUM(m1)", "must give a time series"),
        ("[m1] + [m2]", "Unsupported operand"),
        ("'a' + m1", "Unsupported operand"),
        ("FILL(m1)", "FILL takes 2 argument"),
        ("FILL(m1, NONSENSE)", "FILL fills with"),
        ("SORT(m1, SUM, UP)", "SORT takes"),
        ("TIME_SERIES(1/0)", "not a number"),
        ("1e999 * m1", "too large"),
        ("(" * 200 + "m1" + ")" * 200, "nested too deeply"),
        ("+".join(["m1"] * 600), "more than 250 operators"),
        ("IF(m1 > [m1], 1, 2)", "condition of IF"),
    ],
)
def test_what_an_expression_must_not_be(expression: str, problem: str) -> None:
    with pytest.raises(MathError, match=problem):
        of(expression, m1=A, m2=B)


def test_circles_over_several_queries_are_found() -> None:
    queries = [DataQuery(id=f"e{i}", expression=f"e{(i + 1) % 5} + 1") for i in range(5)]
    with pytest.raises(MathError, match="Circular"):
        check(queries)
    deep = [DataQuery(id=f"e{i}", expression=f"e{i + 1}") for i in range(MOST_DEEP + 5)]
    deep.append(DataQuery(id=f"e{MOST_DEEP + 5}", expression="TIME_SERIES(1)"))
    with pytest.raises(MathError, match="too deeply"):
        check(deep)
    ladder = [DataQuery(id=f"e{i}", expression=f"e{i + 1} + e{i + 2}") for i in range(40)]
    ends = [DataQuery(id=f"e{i}", expression="TIME_SERIES(1)") for i in (40, 41)]
    check([*ladder, *ends])


def test_a_request_gives_no_more_points_than_can_be_held() -> None:
    queries = [DataQuery(id=f"e{i}", expression="TIME_SERIES(1)", period=1) for i in range(10)]
    wide = Given({}, end=START + 100_000)
    assert sum(len(series[0].points) for series in run(queries[:5], wide).values()) == 500_000
    with pytest.raises(MathError, match="more than 500000 data points"):
        run(queries, wide)


def test_alarms_do_not_search() -> None:
    query = DataQuery(id="e", expression="SUM(SEARCH('{N} m', 'Sum', 60))")
    check([query])
    with pytest.raises(MathError, match="SEARCH is not supported"):
        check([query], alarm=True)


PIECES = st.sampled_from(
    [*"+-*/^()[],<>=!&|'\" \t", "==", "m1", "m2", "1", "2.5", "1e3", "REPEAT", "AND", "OR", "é", *FUNCTIONS]
)


@given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=40).map("".join)))
def test_no_text_crashes_the_reader_or_the_evaluation(text: str) -> None:
    try:
        found = of(text, period=60, m1=A, m2=B)
    except MathError:
        return
    assert all(v is None or math.isfinite(v) for one in found for v in one)


@given(st.text(max_size=100))
def test_no_text_crashes_the_search(text: str) -> None:
    try:
        found = parse_search(text)
    except MathError:
        return
    assert found.matches(metric(Scope("0", "r"), "N", "m", {"a": "b"})) in (True, False)


NUMBERS = st.recursive(
    st.integers(0, 9).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda p: f"{p[0]} {p[1]} {p[2]}"),
        inner.map(lambda v: f"(-{v})"),
    ),
    max_leaves=12,
)


@given(NUMBERS)
def test_arithmetic_is_pythons(text: str) -> None:
    try:
        expected = float(eval(text))
    except ZeroDivisionError:
        with pytest.raises(MathError):
            of(f"TIME_SERIES({text})", period=60)
        return
    assert of(f"TIME_SERIES({text})", period=60) == [[pytest.approx(expected)] * 5]


def test_a_name_is_not_a_number_or_a_text() -> None:
    assert parse("m1") != parse("'m1'")


CPU = metric(Scope("0", "r"), "AWS/ECS", "CPUUtilization", {"ClusterName": "prod", "ServiceName": "web"})
MEMORY = metric(Scope("0", "r"), "AWS/ECS", "MemoryUtilization", {"ClusterName": "prod"})


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("", {"CPU", "MEMORY"}),
        ("{AWS/ECS}", {"MEMORY", "CPU"} - {"CPU", "MEMORY"}),
        ("{AWS/ECS,ClusterName}", {"MEMORY"}),
        ("{AWS/ECS, ServiceName, ClusterName} cpu", {"CPU"}),
        ('{"AWS/ECS",ClusterName} MetricName="MemoryUtilization"', {"MEMORY"}),
        ("utilization", {"CPU", "MEMORY"}),
        ("utilization web", {"CPU"}),
        ("web OR MetricName=memory", {"CPU", "MEMORY"}),
        ("utilization NOT web", {"MEMORY"}),
        ("utilization AND (web OR nothing)", {"CPU"}),
        ('"prod"', {"CPU", "MEMORY"}),
        ('"pro"', set()),
        ('ServiceName="web"', {"CPU"}),
        ("ServiceName=we", {"CPU"}),
        ('Namespace="AWS/ECS" MetricName="CPUUtilization"', {"CPU"}),
        ("{Other,ClusterName} cpu", set()),
    ],
)
def test_what_a_search_means(expression: str, found: set[str]) -> None:
    search = parse_search(expression)
    assert {name for name, it in (("CPU", CPU), ("MEMORY", MEMORY)) if search.matches(it)} == found


@pytest.mark.parametrize("expression", ["(", ")", "a )", "AND", "OR a", "NOT", '"open', "{}", "a = ="])
def test_searches_that_cannot_be_read(expression: str) -> None:
    with pytest.raises(MathError, match="SEARCH"):
        parse_search(expression)


@pytest.mark.parametrize(
    "expressions",
    [
        ["[" + ",".join(["m1"] * 600) + "]", *("[" + ",".join([f"e{i}"] * 600) + "]" for i in range(2))],
        ["[" + ",".join(["TIME_SERIES(1)"] * 130) + "]"],
        ["+".join(["TIME_SERIES(1)"] * 130)],
        ["SLICE(FILL([" + ",".join(["m1"] * 120) + "], 0), 0, 1)"],
    ],
    ids=["arrays of arrays", "many", "sum", "filled"],
)
def test_short_expressions_that_ask_for_too_much_are_refused_before_they_get_it(
    expressions: list[str],
) -> None:
    stat = MetricStat(namespace="N", name="m1", stat="Sum", period=60)
    queries = [DataQuery(id="m1", metric=stat, returned=False)]
    queries += [DataQuery(id=f"e{i}", expression=text, period=60) for i, text in enumerate(expressions)]
    check(queries)
    with pytest.raises(MathError, match="takes more than"):
        run(queries, Given({"m1": []}, end=START + 60 * 100_000))
