"""The queries of a GetMetricData request or of an alarm: checked, and evaluated on what a Source reads. Pure.

Called by services/cloudwatch and control/alarms, each with a state/metric_source.Source.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from neargate.model.alarm import DataQuery, MetricStat
from neargate.model.metric_functions import FUNCTIONS
from neargate.model.metric_math import MOST_DEEP, MathError, Node, calls, names, parse
from neargate.model.metric_search import Search
from neargate.model.metric_search import parse as parse_search
from neargate.model.metric_values import Series, Value, evaluate, kind_of

DEFAULT_PERIOD = 300
MOST_POINTS = 500_000
"""In all that the queries of one request give, shown or not."""
MOST_WORK = 5_000_000
"""Points made or looked at on the way there: expressions are short, what they ask for need not be."""


class Source(Protocol):
    """Where metrics are read, of one stretch of time."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...

    def read(self, stat: MetricStat) -> Series: ...

    def search(self, search: Search, stat: str, period: int) -> list[Series]: ...


class QueryError(MathError):
    def __init__(self, id: str, problem: str) -> None:
        super().__init__(f"Error in expression '{id}' [{problem}]")


def check(queries: Sequence[DataQuery], *, alarm: bool = False) -> None:
    """Raise MathError where an expression cannot be read, or names what is not there or itself."""
    trees = {q.id: _tree(q) for q in queries if q.metric is None}
    known = {q.id for q in queries}
    for id, tree in trees.items():
        unknown = sorted(name for name in names(tree) if not name[0].isupper() and name not in known)
        if unknown:
            raise QueryError(id, f"Undefined variable '{unknown[0]}'")
        missing = sorted(calls(tree) - FUNCTIONS.keys())
        if missing:
            raise QueryError(id, f"The function {missing[0]} is not built")
        if alarm and "SEARCH" in calls(tree):
            raise QueryError(id, "SEARCH is not supported in alarms")
    done: set[str] = set()
    for id in trees:
        _check_circle(id, trees, (), done)


def _tree(query: DataQuery) -> Node:
    try:
        return parse(query.expression)
    except MathError as problem:
        raise QueryError(query.id, str(problem)) from None


def _check_circle(id: str, trees: Mapping[str, Node], above: tuple[str, ...], done: set[str]) -> None:
    if id in above:
        raise QueryError(id, "Circular reference")
    if len(above) > MOST_DEEP:
        raise QueryError(id, "Expressions refer to each other too deeply")
    if id in done or id not in trees:
        return
    for name in sorted(names(trees[id])):
        _check_circle(name, trees, (*above, id), done)
    done.add(id)


def run(queries: Sequence[DataQuery], source: Source) -> dict[str, list[Series]]:
    """What each query that is `returned` gives. Raises MathError; the queries have been checked."""
    evaluation = _Evaluation(queries, source)
    return {q.id: evaluation.result(q) for q in queries if q.returned}


class _Evaluation:
    def __init__(self, queries: Sequence[DataQuery], source: Source) -> None:
        self._queries = {q.id: q for q in queries}
        self._source = source
        self._values: dict[str, Value] = {}
        self._points = 0
        self._work = 0

    def result(self, query: DataQuery) -> list[Series]:
        value = self.value(query.id)
        if isinstance(value, Series):
            return [value]
        if isinstance(value, list):
            return value
        raise QueryError(
            query.id, f"The expression must give a time series or an array of them, not a {kind_of(value)}"
        )

    def value(self, id: str) -> Value:
        """Each query is evaluated once."""
        if id not in self._values:
            value = self._evaluated(self._queries[id])
            series = value if isinstance(value, list) else [value] if isinstance(value, Series) else []
            self._points += sum(len(one.points) for one in series)
            if self._points > MOST_POINTS:
                raise QueryError(id, f"The request gives more than {MOST_POINTS} data points")
            self._values[id] = value
        return self._values[id]

    def spend(self, points: int) -> None:
        self._work += points
        if self._work > MOST_WORK:
            raise MathError(f"The request takes more than {MOST_WORK} data points to answer")

    def _evaluated(self, query: DataQuery) -> Value:
        if query.metric is not None:
            return self._source.read(query.metric)
        tree = _tree(query)
        try:
            return evaluate(tree, _Context(self, query, self._period(query, tree)), FUNCTIONS)
        except QueryError:
            raise
        except MathError as problem:
            raise QueryError(query.id, str(problem)) from None

    def _period(self, query: DataQuery, tree: Node) -> int:
        if query.period is not None:
            return query.period
        used = self._stats(names(tree)) or [q.metric for q in self._queries.values() if q.metric is not None]
        return max((stat.period for stat in used), default=DEFAULT_PERIOD)

    def _stats(self, ids: Iterable[str]) -> list[MetricStat]:
        found = (self._queries.get(id) for id in ids)
        return [query.metric for query in found if query is not None and query.metric is not None]

    @property
    def source(self) -> Source:
        return self._source

    def metrics(self, part: str) -> list[Series]:
        found = (self.value(q.id) for q in self._queries.values() if q.metric is not None and part in q.id)
        return [value for value in found if isinstance(value, Series)]


class _Context:
    """See metric_values.Context."""

    def __init__(self, evaluation: _Evaluation, query: DataQuery, period: int) -> None:
        self._evaluation = evaluation
        self._query = query
        self.period = period

    @property
    def start(self) -> int:
        return self._evaluation.source.start

    @property
    def end(self) -> int:
        return self._evaluation.source.end

    def value(self, id: str) -> Value:
        return self._evaluation.value(id)

    def metrics(self, part: str) -> list[Series]:
        return self._evaluation.metrics(part)

    def spend(self, points: int) -> None:
        self._evaluation.spend(points)

    def search(self, expression: str, stat: str, period: int | None) -> list[Series]:
        seconds = period or self._query.period or DEFAULT_PERIOD
        return self._evaluation.source.search(parse_search(expression), stat, seconds)
