"""neargate's own endpoints below /_neargate/: what runs here, and forgetting everything (test suites).

Mounted by main into the gateway, which lets only the root credential through; the CLI calls them.
"""

import asyncio
import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from neargate import __version__, state
from neargate.kit.errors import ApiError
from neargate.model import lifecycle
from neargate.model.record import Record
from neargate.services.call import House
from neargate.state import catalog, metrics
from neargate.state.catalog_events import EVENT_DELIVERY, EVENT_RULE, EVENT_SCHEDULE
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Kind, Tx

# What a reset keeps: the machine and its network are not the user's doing.
_KEPT = frozenset({catalog.NODE.name, catalog.VPC.name, catalog.SUBNET.name, catalog.SECURITY_GROUP.name})
_RESET_SECONDS = 60.0


async def status(house: House) -> dict[str, Any]:
    """Counts for `neargate status`."""

    def body(tx: Tx) -> dict[str, Any]:
        open_tasks = tx.find(catalog.TASK, "open", "yes")
        by_status: dict[str, int] = {}
        for task in open_tasks:
            by_status[task.last_status] = by_status.get(task.last_status, 0) + 1
        nodes = tx.all(catalog.NODE)
        return {
            "version": __version__,
            "account": house.settings.account_id,
            "region": house.settings.region,
            "vpc_cidr": house.settings.vpc_cidr,
            "isolation": ", ".join(sorted({tier for node in nodes for tier in node.tiers})),
            "clusters": sum(1 for c in tx.all(catalog.CLUSTER) if c.status == "ACTIVE"),
            "running_tasks": by_status.get("RUNNING", 0),
            "other_open_tasks": len(open_tasks) - by_status.get("RUNNING", 0),
            "nodes": [node.id for node in nodes],
            "adopted_sandboxes": sum(node.adopted_sandboxes for node in nodes),
            "adopted_at": max((node.adopted_at for node in nodes), default=0.0),
        }

    return await house.store.read(body)


async def stop_everything(house: House, reason: str, within: float) -> None:
    """Ask every task to stop; wait until the node has let go of all. Raise TimeoutError after `within` s."""
    now = house.clock.now()

    def ask(tx: Tx) -> None:
        for task in tx.find(catalog.TASK, "open", "yes"):
            # Nothing waits for its targets to let go of it.
            stopped = replace(lifecycle.request_stop(task, "UserInitiated", reason, now), draining=False)
            if stopped != task:
                tx.put(catalog.TASK, stopped)

    await house.store.write(ask)
    async with asyncio.timeout(within):
        head = 0
        while await house.store.read(lambda tx: tx.count(catalog.TASK, "open", "yes")):
            head = await house.store.wait(max(head, house.store.head()))


async def reset(house: House) -> dict[str, Any]:
    """Stop every task, then forget every record that a user made, logs included."""
    if not house.settings.ephemeral:
        raise ApiError(
            "AccessDeniedException",
            "reset is only for a daemon started with --ephemeral (NEARGATE_EPHEMERAL=1)",
            status=403,
        )
    await house.store.write(_forget_starters)
    await stop_everything(house, "neargate reset", _RESET_SECONDS)
    file_systems = await house.store.read(lambda tx: [fs.id for fs in tx.all(catalog.EFS_FILE_SYSTEM)])
    await house.store.write(_forget)
    for id in file_systems:
        house.file_trees.discard(id)
    await house.logs.write(_forget_logs)
    await house.metrics.write(metrics.forget_all)
    await house.objects.sweep(house.store, house.clock.now())
    return {"state": "reset"}


def _forget_starters(tx: Tx) -> None:
    """First of all, so that nothing starts tasks anew: no service, no rule, no schedule."""
    kinds: tuple[Kind[Any], ...] = (SERVICE, EVENT_RULE, EVENT_SCHEDULE, EVENT_DELIVERY)
    for kind in kinds:
        for record in tx.all(kind):
            tx.delete(kind, kind.id(record))


def _kinds() -> Iterable[Kind[Record]]:
    """Of catalog.py and of every catalog_<area>.py beside it."""
    for info in pkgutil.iter_modules(state.__path__):
        if info.name.startswith("catalog"):
            module = importlib.import_module(f"{state.__name__}.{info.name}")
            yield from (kind for kind in vars(module).values() if isinstance(kind, Kind))


def _forget(tx: Tx) -> None:
    for kind in _kinds():
        for record in tx.all(kind):
            if kind.name not in _KEPT:
                tx.delete(kind, kind.id(record))
            elif getattr(record, "tags", None):
                tx.put(kind, replace(record, tags={}))


def _forget_logs(tx: Tx) -> None:
    _forget(tx)
    for table in ("log_event", "log_stream", "log_cursor", "log_garbage"):
        tx.execute(f"DELETE FROM {table}")
