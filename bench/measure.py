"""Small tools of the benchmarks: medians, percentiles, a table, a row of results as JSON.

Used by every module of bench/.
"""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number beside the number asked for. `limit` reads "<= 60" or ">= 25"."""

    name: str
    value: float
    unit: str
    limit: str = ""
    note: str = ""

    @property
    def reached(self) -> bool | None:
        if not self.limit:
            return None
        sign, _, bound = self.limit.partition(" ")
        return self.value <= float(bound) if sign == "<=" else self.value >= float(bound)


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def percentile(samples: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest sample that `share` (0 to 1) of all do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print a table for people."""
    print(f"\n{title}")
    for figure in figures:
        verdict = {True: "reached", False: "NOT reached", None: ""}[figure.reached]
        asked = f"asked {figure.limit}" if figure.limit else ""
        print(
            f"  {figure.name:<58} {figure.value:>10.2f} {figure.unit:<9} {asked:<14} {verdict:<12}"
            f" {figure.note}"
        )


def as_json(title: str, figures: Sequence[Figure]) -> str:
    rows: list[dict[str, Any]] = [
        {
            "name": f.name,
            "value": f.value,
            "unit": f.unit,
            "limit": f.limit,
            "reached": f.reached,
            "note": f.note,
        }
        for f in figures
    ]
    return json.dumps({"title": title, "figures": rows})
