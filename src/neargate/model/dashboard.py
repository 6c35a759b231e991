"""What a dashboard's body must be: widgets of known types, at places of the grid. Pure.

Called by services/cloudwatch. Findings are errors (the body is refused) or warnings (it is kept).
"""

from dataclasses import dataclass
from typing import Any

_COLUMNS, _TALLEST, _MOST_WIDGETS = 24, 1000, 500
_TYPES = ("metric", "text", "log", "alarm", "explorer", "custom")
_NEEDED = {
    "text": ("markdown",),
    "log": ("query", "region"),
    "alarm": ("alarms",),
    "custom": ("endpoint",),
}
_PLACES = (("x", 0, _COLUMNS - 1), ("y", 0, 2**31), ("width", 1, _COLUMNS), ("height", 1, _TALLEST))


@dataclass(frozen=True, slots=True)
class Finding:
    path: str
    """Like a JSON pointer; empty: the whole body."""
    message: str


def findings(document: Any) -> tuple[list[Finding], list[Finding]]:
    """Errors and warnings. document -- the body as JSON reads it; None where it is none."""
    if not isinstance(document, dict):
        return [Finding("", "The field DashboardBody must be a valid JSON object")], []
    widgets = document.get("widgets")
    if not isinstance(widgets, list):
        what = "Should have property widgets" if widgets is None else "Should be array"
        return [Finding("/widgets", what)], []
    if len(widgets) > _MOST_WIDGETS:
        return [Finding("/widgets", f"Should have at most {_MOST_WIDGETS} items")], []
    errors: list[Finding] = []
    warnings: list[Finding] = []
    for place, widget in enumerate(widgets):
        path = f"/widgets/{place}"
        if isinstance(widget, dict):
            errors += _widget(widget, path)
            warnings += _unknown(widget, path)
        else:
            errors.append(Finding(path, "Should be object"))
    return errors, warnings


def _widget(widget: dict[str, Any], path: str) -> list[Finding]:
    found = [
        Finding(f"{path}/{name}", f"Should be a whole number from {low} to {high}")
        for name, low, high in _PLACES
        if name in widget and not _whole(widget[name], low, high)
    ]
    kind = widget.get("type")
    if kind not in _TYPES:
        told = "Should have property type" if kind is None else f"Should be one of {', '.join(_TYPES)}"
        return [*found, Finding(f"{path}/type", told)]
    properties = widget.get("properties")
    if not isinstance(properties, dict):
        return [*found, Finding(f"{path}/properties", "Should be object")]
    found += [
        Finding(f"{path}/properties", f"Should have property {name}")
        for name in _NEEDED.get(kind, ())
        if name not in properties
    ]
    return found + (_metric(properties, f"{path}/properties") if kind == "metric" else [])


def _metric(properties: dict[str, Any], path: str) -> list[Finding]:
    metrics = properties.get("metrics")
    if metrics is None:
        alarms = (
            (properties.get("annotations") or {}) if isinstance(properties.get("annotations"), dict) else {}
        )
        if alarms.get("alarms"):
            return []
        return [Finding(path, "Should have property metrics or annotations.alarms")]
    if not isinstance(metrics, list):
        return [Finding(f"{path}/metrics", "Should be array")]
    return [
        Finding(f"{path}/metrics/{place}", "Should be array, of a namespace, a metric and its dimensions")
        for place, row in enumerate(metrics)
        if not isinstance(row, list) or not row
    ]


def _unknown(widget: dict[str, Any], path: str) -> list[Finding]:
    known = {"type", "x", "y", "width", "height", "properties"}
    return [Finding(f"{path}/{name}", "Unknown property") for name in sorted(widget.keys() - known)]


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
