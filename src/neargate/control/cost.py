"""What tasks cost, by cluster, family or task: the answer of GET /_neargate/cost and of `neargate cost`.

Mounted by main into gateway/internal. Tasks that still run are counted up to now, without the minimum that
only a finished task is charged.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol

from msgspec.structs import replace

from neargate.control.metering import usage_of
from neargate.kit.clock import Clock
from neargate.kit.errors import ApiError
from neargate.kit.settings import Settings, SettingsError
from neargate.model.pricing import Amount, Cost, Prices, PricingError, amount, prices_from
from neargate.model.pricing import cost as price_of
from neargate.model.task import Usage
from neargate.state.catalog import TASK, USAGE
from neargate.state.store import Store, Tx

GroupBy = Literal["cluster", "family", "task"]
_CENTS = Decimal("0.00000001")


class Books(Protocol):
    @property
    def settings(self) -> Settings: ...
    @property
    def store(self) -> Store: ...
    @property
    def clock(self) -> Clock: ...


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    tasks: int
    seconds: int
    amount: Amount
    cost: Cost


def load_prices(settings: Settings) -> Prices:
    """The price table; raise SettingsError on a file that cannot be used."""
    if not settings.pricing_file:
        return Prices()
    where = f"NEARGATE_PRICING_FILE {settings.pricing_file}"
    try:
        return prices_from(json.loads(Path(settings.pricing_file).read_text(), parse_float=str))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, PricingError) as error:
        raise SettingsError(f"{where}: {error}") from None


async def cost(house: Books, query: Mapping[str, str]) -> dict[str, Any]:
    """Answer `?by=cluster|family|task`: rows with what was used and its price, dearest first."""
    by = query.get("by", "task")
    if by not in ("cluster", "family", "task"):
        raise ApiError("InvalidParameterValue", f"by is {by!r}: it must be cluster, family or task")
    try:
        prices = load_prices(house.settings)
    except SettingsError as error:
        raise ApiError("InvalidConfiguration", str(error)) from None
    rows = await cost_report(house.store, prices, house.clock.now(), by)  # type: ignore[arg-type]
    total = sum((row.cost for row in rows), Cost())
    return {"by": by, "rows": [_shown(row) for row in rows], "total_usd": _usd(total.total)}


async def cost_report(store: Store, prices: Prices, now: float, group_by: GroupBy = "task") -> list[Row]:
    """All usage records and the open tasks, summed up by group; dearest first."""
    usages = await store.scan(lambda tx: _usages(tx, now))
    rows: dict[str, Row] = {}
    for usage in usages:
        name = _name(usage, group_by)
        row = rows.get(name) or Row(name, 0, 0, Amount(), Cost())
        rows[name] = Row(
            name,
            row.tasks + 1,
            row.seconds + usage.seconds,
            row.amount + amount(usage),
            row.cost + price_of(usage, prices),
        )
    return sorted(rows.values(), key=lambda row: (-row.cost.total, row.name))


def _usages(tx: Tx, now: float) -> list[Usage]:
    usages = tx.all(USAGE)
    for task in tx.find(TASK, "open", "yes"):
        if task.pull_started_at is not None:
            end = task.stopped_at if task.stopped_at is not None else max(now, task.pull_started_at)
            seconds = math.ceil(end - task.pull_started_at)
            usages.append(replace(usage_of(replace(task, stopped_at=end)), seconds=seconds))
    return usages


def _name(usage: Usage, group_by: GroupBy) -> str:
    if group_by == "family":
        return usage.family
    arn = usage.cluster if group_by == "cluster" else usage.task_arn
    return arn.rsplit("/", 1)[-1]


def _shown(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "tasks": row.tasks,
        "seconds": row.seconds,
        "vcpu_seconds": float(row.amount.vcpu_seconds),
        "gib_seconds": float(row.amount.gib_seconds),
        "storage_gib_seconds": float(row.amount.storage_gib_seconds),
        "vcpu_usd": _usd(row.cost.vcpu),
        "memory_usd": _usd(row.cost.memory),
        "storage_usd": _usd(row.cost.storage),
        "usd": _usd(row.cost.total),
    }


def _usd(value: Decimal) -> str:
    """Dollars to eight places: a minute of the smallest task is 0.00020583."""
    return f"{value.quantize(_CENTS):f}"
