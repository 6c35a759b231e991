"""ListMetrics. Called by gateway/dispatch."""

from collections.abc import Iterator, Sequence
from typing import Any

from neargate.model.metric import Listed, Metric
from neargate.services.call import Call, Params, Result
from neargate.services.cloudwatch.names import invalid, shown_dimensions, text, token, untoken
from neargate.state import metrics
from neargate.state.store import Tx

_PAGE = 500
_SHOWN, _RECENT = 14 * 86_400, 3 * 3600
"""Seconds without a point after which a metric is listed no more; after which it is not recently active."""


async def list_metrics(call: Call, params: Params) -> Result:
    filters = [(f.get("Name", ""), f.get("Value")) for f in params.get("Dimensions") or ()]
    for place, (name, value) in enumerate(filters, 1):
        text(name + (value or ""), f"Dimensions.member.{place}")
    namespace, name = params.get("Namespace"), params.get("MetricName")
    for value, parameter in ((namespace, "Namespace"), (name, "MetricName")):
        text(value or "", parameter)
    owner = params.get("OwningAccount")
    if owner is not None and owner != call.scope.account:
        raise invalid(f"The account {owner} is not linked.")
    since = int(call.now()) - (_RECENT if params.get("RecentlyActive") else _SHOWN)
    after = untoken(params.get("NextToken"), int) or 0

    def body(tx: Tx) -> list[Listed]:
        found = metrics.listed(tx, call.scope, namespace=namespace, name=name, since=since, after=after)
        return list(_first(found, filters))

    found = await call.metrics.scan(body)
    shown = found[:_PAGE]
    answer: Result = {"Metrics": [_shown(it.metric) for it in shown]}
    if params.get("IncludeLinkedAccounts"):
        answer["OwningAccounts"] = [call.scope.account] * len(shown)
    return {**answer, "NextToken": token(shown[-1].series)} if len(found) > _PAGE else answer


def _first(found: Iterator[Listed], filters: Sequence[tuple[str, str | None]]) -> Iterator[Listed]:
    """A page of those that have the dimensions, and one more if there is."""
    count = 0
    for it in found:
        known = dict(it.metric.dimensions)
        if all(name in known and value in (None, known[name]) for name, value in filters):
            yield it
            count += 1
        if count > _PAGE:
            return


def _shown(metric: Metric) -> dict[str, Any]:
    return {
        "Namespace": metric.namespace,
        "MetricName": metric.name,
        "Dimensions": shown_dimensions(metric.dimensions),
    }
