"""model/metric_queries.Source on the store of metrics, for one transaction and one stretch of time.

Made by services/cloudwatch (GetMetricData) and control/alarms.
"""

from neargate.model.alarm import MetricStat
from neargate.model.metric import Metric, Query
from neargate.model.metric_math import MathError
from neargate.model.metric_search import Search
from neargate.model.metric_statistics import statistic
from neargate.model.metric_values import Series
from neargate.model.record import Scope
from neargate.state import metrics
from neargate.state.store import Tx

MOST_FOUND = 100
"""Series that one SEARCH gives."""


class StoredSource:
    def __init__(self, tx: Tx, scope: Scope, start: int, end: int) -> None:
        self._tx = tx
        self._scope = scope
        self.start = start
        self.end = end

    def read(self, stat: MetricStat) -> Series:
        owner = Metric(
            self._scope.account,
            self._scope.region,
            stat.namespace,
            stat.name,
            tuple(sorted(stat.dimensions)),
        )
        return self._series(owner, stat.stat, stat.period, stat.unit, stat.name)

    def search(self, search: Search, stat: str, period: int) -> list[Series]:
        if statistic(stat) is None:
            raise MathError(f"SEARCH: there is no statistic {stat}")
        if period < 1:
            raise MathError("SEARCH: the period must be at least 1 second")
        found: list[Series] = []
        for it in metrics.listed(self._tx, self._scope, namespace=search.namespace, since=self.start):
            if search.matches(it.metric):
                label = " ".join(value for _, value in it.metric.dimensions) or it.metric.name
                found.append(self._series(it.metric, stat, period, None, label))
            if len(found) == MOST_FOUND:
                break
        return found

    def _series(self, owner: Metric, stat: str, period: int, unit: str | None, label: str) -> Series:
        value_of = statistic(stat)
        if value_of is None:
            raise MathError(f"There is no statistic {stat}")
        points: dict[int, float] = {}
        for bucket in metrics.read(self._tx, Query(owner, self.start, self.end, period, unit)):
            value = value_of(bucket.summary)
            if value is not None:
                points[bucket.at] = value
        properties = {
            "MetricName": owner.name,
            "Namespace": owner.namespace,
            "Stat": stat,
            "Period": str(period),
            **{f"Dim.{name}": value for name, value in owner.dimensions},
        }
        return Series(points, period, label, properties)
