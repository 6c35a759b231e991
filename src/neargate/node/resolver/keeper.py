"""The daemon's side of the resolver: its zone file, its process, the way there, and /etc/hosts.

Made by main. Names come from the cell by long poll; whatever is written here counts at once. The process
outlives the daemon (companion.py) and is found again by the next one; `removed` is for `neargate down`.
"""

import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import neargate
from neargate.kit.clock import Clock
from neargate.kit.errors import CellError
from neargate.model import addresses, zones
from neargate.model.zones import Document, Host
from neargate.node.companion import Companion
from neargate.node.network.nft import FirewallError
from neargate.node.resolver import etc_hosts, way
from neargate.node.resolver.book import FILE, PORT_FILE

log = logging.getLogger(__name__)
_READY_SECONDS = 5.0
_LOOK_SECONDS = 0.01
_RETRY_SECONDS = 0.5


class NamesCell(Protocol):
    """The part of the cell that this needs; see node/cell.py."""

    async def names(self, after: int) -> tuple[int, Document]:
        """What tasks and this machine's programs can look up.

        Long poll: returns (cursor, document) once it is another than the one of cursor `after` (0: at once).
        Raise CellError.
        """
        ...


class Keeper:
    def __init__(self, directory: Path, instance: str, vpc_cidr: str, run_dir: Path, *, hosts: bool) -> None:
        """directory -- the resolver's own. hosts -- this machine's /etc/hosts is kept, too."""
        self._directory = directory
        self._instance = instance
        self._vpc_cidr = vpc_cidr
        self._run_dir = run_dir
        self._hosts = hosts
        self._companion = Companion("resolver", directory, version=f"{neargate.__version__} {vpc_cidr}")
        self._written, self._tried = asyncio.Event(), asyncio.Event()
        self._answers = False
        self._named: Sequence[Host] | None = None
        """What /etc/hosts was last given."""

    def servers(self) -> tuple[str, ...]:
        """What tasks are to ask; empty where there is no resolver.

        No others beside it: musl asks all at once, and takes the first one's word that a name is not there.
        """
        return (addresses.resolver(self._vpc_cidr),) if self._answers else ()

    async def run(self, cell: NamesCell, clock: Clock) -> None:
        """Keep names answered, and as the cell says, until cancelled; answered they are then, too."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o755)  # the process is nobody's: it reads the file by this directory alone
        try:
            await way.open_address(self._vpc_cidr)
        except OSError as error:
            log.error("the resolver has no address: %s", error)
            self._written.set()
            self._tried.set()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(cell, clock), name="names")
            group.create_task(self._companion.run(self._command(), self._begun), name="resolver")

    async def ready(self) -> None:
        """Return once names are answered. A resolver that does not start is no reason for tasks not to."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._written.wait()
                await self._tried.wait()
        except TimeoutError:
            pass
        if not self._answers:
            log.error("there is no resolver: tasks ask this machine's own, and find none of our names")

    def _command(self) -> list[str]:
        return [
            sys.executable, "-m", "neargate.node.resolver",
            "--address", addresses.resolver(self._vpc_cidr), "--clients", self._vpc_cidr,
            "--directory", str(self._directory), "--first-port", str(way.first_port(self._instance)),
        ]  # fmt: skip

    async def _begun(self, adopted: bool) -> None:
        """Lead tasks to its port, as soon as it has told which that is."""
        while (port := self._port()) is None:
            if self._companion.pid is None:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        try:
            await way.lead(self._instance, self._vpc_cidr, port)
        except FirewallError as error:
            log.error("tasks cannot be led to the resolver: %s", error)
        else:
            self._answers = True
        self._tried.set()

    def _port(self) -> int | None:
        try:
            pid, port = (self._directory / PORT_FILE).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(port) if int(pid) == self._companion.pid else None

    # -- names -----------------------------------------------------------------------------------------

    async def _follow(self, cell: NamesCell, clock: Clock) -> None:
        cursor = 0
        while True:
            try:
                cursor, document = await cell.names(cursor)
                self._write(document)
                if self._hosts:
                    await asyncio.to_thread(self._name, document.machine)
            except Exception as error:
                if isinstance(error, CellError | OSError):
                    log.error("names are not brought up to date: %s", error)
                else:
                    log.exception("names cannot be brought up to date")
                cursor = 0
                await clock.sleep(_RETRY_SECONDS)

    def _write(self, document: Document) -> None:
        draft = self._directory / f"{FILE}.new"
        draft.write_bytes(zones.encode(document))
        draft.chmod(0o644)
        draft.replace(self._directory / FILE)
        self._written.set()

    def _name(self, hosts: Sequence[Host]) -> None:
        if hosts == self._named:
            return
        self._named = hosts
        try:
            etc_hosts.write(self._instance, hosts, self._run_dir)
        except OSError as error:
            log.error("this machine's programs do not find load balancers by name: %s", error)

    async def removed(self) -> None:
        """End it, and take away all that was made for it."""
        await self._companion.stop()
        await way.remove(self._instance, self._vpc_cidr)
        try:
            await asyncio.to_thread(etc_hosts.write, self._instance, (), self._run_dir)
        except OSError as error:
            log.error("names are left in %s: %s", etc_hosts.FILE, error)
