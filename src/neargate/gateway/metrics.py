"""The door's own metrics, shown by /_neargate/metrics in Prometheus's text form.

Fed by app.py; other rooms may register theirs in `registry`.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("service", "operation", "status")
        self._requests = Counter(
            "neargate_requests", "AWS API requests answered.", labels, registry=self.registry
        )
        self._seconds = Histogram(
            "neargate_request_seconds",
            "Time from a request read to its answer ready.",
            ("service", "operation"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        # Looking labels up costs more than counting: the children are kept. Names come from the models, so
        # there are only so many.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, service: str, operation: str, status: int, seconds: float) -> None:
        key = service, operation, status
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = (
                self._requests.labels(service, operation, str(status)),
                self._seconds.labels(service, operation),
            )
        children[0].inc()
        children[1].observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
