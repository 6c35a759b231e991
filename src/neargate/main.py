"""The composition root: the only module that knows everyone. It builds the store, the services, the loops,
the node and the door, ties them together and stops them in reverse order.

Run as `python -m neargate.main` by `neargate up`; tests call `running(settings)` in a loop of their own.
The whole start, in order: lock -> store -> house -> network -> node -> tasks' endpoint -> loops -> door.
"""

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvloop

from neargate import __version__
from neargate.control import bootstrap
from neargate.control import cost as control_cost
from neargate.control import spot as control_spot
from neargate.control.events import Events
from neargate.control.loops import Loops
from neargate.control.schedules import Schedules
from neargate.gateway import credentials, server
from neargate.gateway.app import App
from neargate.gateway.exec import Sessions
from neargate.gateway.internal import Handler
from neargate.gateway.inward import Inward
from neargate.gateway.registry import RegistryApp
from neargate.gateway.task_door import TaskDoor
from neargate.kit.clock import SystemClock
from neargate.kit.errors import ApiError
from neargate.kit.ids import SystemIds
from neargate.kit.instance import instance_of as instance_of
from neargate.kit.settings import Settings, SettingsError
from neargate.kit.telemetry import configure_logging
from neargate.model import endpoints
from neargate.model.record import Scope
from neargate.node.agent import Agent
from neargate.node.balancer import leftovers as balancer_leftovers
from neargate.node.balancer.base import BalancerCell
from neargate.node.balancer.control import Balancing, FakeBalancing
from neargate.node.cell import Cell
from neargate.node.drivers.base import Driver, DriverUnavailable
from neargate.node.images import Images
from neargate.node.logs import LogShipper
from neargate.node.metadata import Endpoint
from neargate.node.network import endpoint as task_endpoint
from neargate.node.network.nft import FirewallError
from neargate.node.resolver.keeper import Keeper
from neargate.node.sampler import Sampler
from neargate.node.select import node_parts
from neargate.oci.content import ContentStore
from neargate.oci.errors import ImageError
from neargate.services import admin, cloudwatch, s3
from neargate.services.call import House
from neargate.services.cell.balancers import Balancers
from neargate.services.cell.endpoints import Protection
from neargate.services.cell.execs import Nodes
from neargate.services.cell.local import LocalCell
from neargate.services.cell.metrics import Samples
from neargate.services.ecr import collect_forever
from neargate.services.ecs import protection
from neargate.services.ecs.run import run_task
from neargate.services.efs import sweep_forever
from neargate.services.logs import expire_forever
from neargate.state.catalog import NODE
from neargate.state.sqlite import SqliteStore
from neargate.state.store import StoreError
from neargate.wire.http import Request

log = logging.getLogger(__name__)
_TEARDOWN_SECONDS = 150.0
_LOOK_SECONDS = 5.0
"""How often a daemon looks whether its data directory is still there."""
_KEPT_SETTINGS = ("account_id", "region", "vpc_cidr", "isolation")
"""What `neargate down` must know of the daemon whose tasks it ends; told in daemon.json."""


class StartError(Exception):
    """The daemon cannot start, or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon, as `running` yields it."""

    house: House
    driver: Driver
    credential: credentials.RootCredential


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """One daemon per data directory: the lock ends with the process, however it ends."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(f"another daemon runs on {data_dir}: choose another --data-dir") from None
        yield


@asynccontextmanager
async def _house(settings: Settings) -> AsyncIterator[House]:
    """The truth and what operations work with; no node, no door yet."""
    ids = SystemIds()
    async with (
        SqliteStore(settings.data_dir / "truth.db") as store,
        SqliteStore(settings.data_dir / "logs.db") as logs,
        SqliteStore(settings.data_dir / "metrics.db") as metrics,
    ):
        scope = Scope(settings.account_id, settings.region)
        await bootstrap.ensure_default_network(store, scope, settings, ids)
        yield House(
            settings=settings,
            store=store,
            logs=logs,
            metrics=metrics,
            blobs=ContentStore(settings.data_dir / "oci"),
            clock=SystemClock(),
            ids=ids,
            signing_key=credentials.load_or_create_key(settings.data_dir),
            endpoint=server.endpoint(settings),
        )


@asynccontextmanager
async def _node(
    settings: Settings, house: House, nodes: Nodes, door: Callable[[Images], App] | None = None
) -> AsyncIterator[tuple[Driver, App | None]]:
    """The agent of this machine and the control loops, until the block ends. `door` makes what tasks find of
    the door; without it their endpoints are not served. nodes -- where the agent says that it runs commands
    at terminals.
    """
    operations = Protection(protection.get_task_protection, protection.update_task_protection)
    opened_at = house.clock.now()
    names = _names(settings)
    cell = LocalCell(house, operations, nodes, names.servers)
    seen_by_node: Cell = cell  # the one place where the two sides' types are held against each other
    node_id, real = await _node_id(house), settings.isolation != "fake"
    async with AsyncExitStack() as stack:
        driver, images = await node_parts(settings, house.blobs, seen_by_node, house.endpoint)
        await stack.enter_async_context(driver)
        shipper = await stack.enter_async_context(LogShipper(seen_by_node, house.clock))
        agent = Agent(
            cell=seen_by_node,
            driver=driver,
            images=images,
            logs=shipper,
            directory=settings.data_dir / "sandboxes",
            node_id=node_id,
            clock=house.clock,
        )
        app = door(images) if door is not None else None
        listeners = []
        if app is not None and real:
            listeners = await stack.enter_async_context(_task_listeners(settings))
        group = await stack.enter_async_context(_cancelled_at_exit())
        if app is not None and listeners:
            endpoint = Endpoint(agent, seen_by_node, house.clock)
            both: tuple[server.Answers, ...] = (endpoint, TaskDoor(app, endpoint.is_task))
            for answers, listener in zip(both, listeners, strict=True):
                group.create_task(_serve_tasks(agent, answers, settings, listener), name="task-endpoint")
        if app is not None and real:
            group.create_task(names.run(cell, house.clock), name="names")
            await names.ready()
        group.create_task(agent.run(), name="agent")
        chores = _chores(house, opened_at)
        if app is not None:  # whoever tears down starts nothing
            group.create_task(_balancing(settings, house), name="balancing")
            sampler = Sampler(agent, Samples(house), node_id, house.clock)
            group.create_task(sampler.run(), name="sampler")
            run = Inward(house, "ecs", "RunTask", run_task, _root(settings))
            chores |= {"events": Events(house, run).run, "schedules": Schedules(house).run}
        group.create_task(Loops(house, chores, services=app is not None).run(), name="loops")
        yield driver, app


def _chores(house: House, opened_at: float) -> dict[str, Callable[[], Awaitable[None]]]:
    """What services have to do for ever beside the loops: forget what is old, sweep up. By name."""
    return {
        "log-expiry": lambda: expire_forever(house),
        "metric-expiry": lambda: cloudwatch.expire_forever(house),
        "registry-collect": lambda: collect_forever(house),
        "efs-sweep": lambda: sweep_forever(house),
        "object-sweep": lambda: s3.sweep(house, opened_at),
    }


async def _balancing(settings: Settings, house: House) -> None:
    """The data plane of load balancing; without real tasks only the states of its targets."""
    cell: BalancerCell = Balancers(house)
    if settings.isolation == "fake":
        await FakeBalancing(cell, house.clock).run()
    await Balancing(cell, settings, house.clock).run()


def _root(settings: Settings) -> str:
    return f"arn:aws:iam::{settings.account_id}:root"


def _names(settings: Settings) -> Keeper:
    """The resolver of tasks."""
    instance, directory = instance_of(settings.data_dir), settings.data_dir / "resolver"
    hosts = settings.host_names
    return Keeper(directory, instance, settings.vpc_cidr, settings.run_dir, hosts=hosts)


async def _node_id(house: House) -> str:
    """The machine's name at its first start: its tasks are kept by it, whatever the machine is called now."""
    known = await house.store.read(lambda tx: tx.all(NODE))
    return known[0].id if known else socket.gethostname()


@asynccontextmanager
async def _task_listeners(settings: Settings) -> AsyncIterator[list[socket.socket]]:
    """What tasks reach at 169.254.170.2: the metadata port, and the door's."""
    instance, ports = instance_of(settings.data_dir), (endpoints.METADATA_PORT, endpoints.API_PORT)
    async with AsyncExitStack() as stack:
        try:
            opening = task_endpoint.opened(instance, settings.vpc_cidr, ports)
            listeners = await stack.enter_async_context(opening)
        except (FirewallError, OSError) as error:
            raise StartError(f"tasks' endpoint at {endpoints.ADDRESS} cannot be opened: {error}") from error
        yield listeners


async def _serve_tasks(
    agent: Agent, answers: server.Answers, settings: Settings, listener: socket.socket
) -> None:
    """From the moment that all tasks are known: until then connections wait."""
    await agent.adopted.wait()
    await server.serve_tasks(answers, settings, listener)


@asynccontextmanager
async def _cancelled_at_exit() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose tasks end with the block instead of keeping it open. A lone error comes out bare."""

    class _Done(Exception):
        pass

    try:
        async with asyncio.TaskGroup() as group:
            yield group
            raise _Done
    except BaseExceptionGroup as errors:
        _, rest = errors.split(_Done)
        if rest is not None:
            raise (rest.exceptions[0] if len(rest.exceptions) == 1 else rest) from None


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Daemon]:
    """A whole daemon, door open, until the block ends; its tasks run on after that."""
    server.check_exposure(settings)
    with _locked(settings.data_dir):
        credential = credentials.load_or_create(settings, SystemIds())
        settings = server.with_port(settings)
        async with _house(settings) as house:
            async with _cancelled_at_exit() as group:
                opened, nodes = asyncio.Event(), Nodes()

                def door(images: Images) -> App:
                    return App(house, credential, RegistryApp(house), _internal(house, images))

                async with (
                    _node(settings, house, nodes, door) as (driver, app),
                    _exec(house, nodes) as sessions,
                ):
                    assert app is not None
                    serving = server.serve(app, settings, ready=lambda _: opened.set(), sockets=sessions)
                    group.create_task(serving, name="door")
                    await opened.wait()
                    _announce(house, driver)
                    yield Daemon(house, driver, credential)


@asynccontextmanager
async def _exec(house: House, nodes: Nodes) -> AsyncIterator[Sessions]:
    """Sessions of ECS Exec. They end before the node does, while their clients can still be told."""
    sessions = Sessions(house, nodes)
    await sessions.end_earlier()
    async with _cancelled_at_exit() as group:
        group.create_task(sessions.run(), name="exec")
        yield sessions


def _internal(house: House, images: Images) -> dict[str, Handler]:
    """What /_neargate/<name> answers; the CLI is who asks."""

    async def status(request: Request) -> dict[str, Any]:
        return await admin.status(house)

    async def cost(request: Request) -> dict[str, Any]:
        return await control_cost.cost(house, dict(parse_qsl(request.query)))

    async def reset(request: Request) -> dict[str, Any]:
        return await admin.reset(house)

    async def pull(request: Request) -> dict[str, Any]:
        name = dict(parse_qsl(request.query)).get("image", "")
        try:
            image = await images.fetch(name, settings.account_id, settings.region)
        except ImageError as error:
            raise ApiError("CannotPullContainerError", error.reason) from None
        return {"image": name, "digest": image.digest, "size": image.size}

    async def pulls(request: Request) -> list[dict[str, Any]]:
        return [{"image": name, "done": done, "total": total} for name, (done, total) in images.pulls.items()]

    async def spot_interrupt(request: Request) -> dict[str, Any]:
        return await control_spot.interrupt_some(house, dict(parse_qsl(request.query)))

    settings = house.settings
    return {
        "spot-interrupt": spot_interrupt,
        "status": status,
        "cost": cost,
        "reset": reset,
        "pull": pull,
        "pulls": pulls,
    }


def _announce(house: House, driver: Driver) -> None:
    """Write daemon.json, by which the CLI finds this daemon."""
    settings = house.settings
    document = {
        "pid": os.getpid(),
        "started_ticks": int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]),
        "endpoint": house.endpoint,
        "region": settings.region,
        "account": settings.account_id,
        "version": __version__,
        "isolation": driver.name,
        "ephemeral": settings.ephemeral,
        "settings": {name: str(getattr(settings, name)) for name in _KEPT_SETTINGS},
    }
    draft = settings.data_dir / "daemon.json.new"
    draft.write_text(json.dumps(document))
    draft.replace(settings.data_dir / "daemon.json")


async def _kept(data_dir: Path, stopping: asyncio.Event) -> bool:
    """Wait until the daemon is to stop. False: its directory is gone, or another's. What it acknowledged from
    then on would be lost, and nobody found it any more to end it."""
    lock = data_dir / "lock"
    own = lock.stat()
    while not stopping.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await stopping.wait()
        try:
            if not os.path.samestat(own, lock.stat()):
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


async def _serve(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    async with running(settings) as daemon:
        log.info(
            "the door is open", extra={"endpoint": daemon.house.endpoint, "isolation": daemon.driver.name}
        )
        kept = await _kept(settings.data_dir, stopping)
        log.info("stopping; tasks run on")
    if not kept:
        raise StartError(f"{settings.data_dir} is gone: `neargate down` removes what tasks have left")


async def _teardown(settings: Settings) -> None:
    """Stop every task and remove all that any daemon of this data directory made on the machine."""
    with _locked(settings.data_dir):
        async with _house(settings) as house, _node(settings, house, Nodes()) as (driver, _):
            await admin.stop_everything(house, "neargate down", _TEARDOWN_SECONDS)
            await driver.sweep(())
            await balancer_leftovers.remove(settings)
            await driver.teardown()
            task_endpoint.remove(settings.vpc_cidr)
        if settings.isolation != "fake":
            await _names(settings).removed()
        (settings.data_dir / "daemon.json").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="neargate.main", description="The daemon; `neargate up` starts it.")
    parser.add_argument("--teardown", action="store_true", help="stop every task, clean up and leave")
    arguments = parser.parse_args()
    try:
        settings = Settings.load()
        configure_logging(settings.log_level)
        log.info("starting the daemon")
        uvloop.run(_teardown(settings) if arguments.teardown else _serve(settings))
    except (StartError, SettingsError, DriverUnavailable, StoreError) as error:
        log.critical(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
