"""The names that tasks can look up, kept ready for the node's resolver: brought up to date from the feed.

Called by local.py. The store stays the truth, this can be thrown away at any moment. Names go to all tasks:
those of another VPC's namespace too.
"""

from collections.abc import Sequence

from neargate.model import endpoints, zones
from neargate.model.discovery import Instance
from neargate.model.zones import Document, Host, RecordSet, Zone
from neargate.services.call import House
from neargate.state.catalog_balancers import LOAD_BALANCER
from neargate.state.catalog_discovery import DISCOVERY_SERVICE, INSTANCE, NAMESPACE
from neargate.state.store import Change, Tx

_WATCHED = frozenset(kind.name for kind in (NAMESPACE, DISCOVERY_SERVICE, INSTANCE, LOAD_BALANCER))


class Names:
    def __init__(self, house: House) -> None:
        self._house = house
        self._zones: tuple[Zone, ...] = ()
        self._balancers: dict[str, tuple[str, ...]] = {}
        self._sets: dict[str, list[RecordSet]] = {}
        """By service."""
        self._discovery = False
        self.cursor = -1
        """Head of the feed that the document stands for; -1 before the first read."""

    async def after(self, cursor: int) -> tuple[int, Document]:
        """The document, at once if `cursor` is another than the last one's, else when it has changed."""
        if self.cursor < 0 or cursor != self.cursor:
            await self._read_all()
        else:
            before = self.document()
            while not await self._follow() or self.document() == before:
                pass
        return self.cursor, self.document()

    def document(self) -> Document:
        settings = self._house.settings
        balancers = tuple(Host(name, found) for name, found in sorted(self._balancers.items()) if found)
        machine, tasks = balancers, balancers
        if self._discovery:
            doors = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1"}
            if settings.host != "0.0.0.0" and zones.is_address(settings.host):
                doors[settings.host] = settings.host
            machine += zones.data_hosts(*doors.items())
            tasks += zones.data_hosts((endpoints.ADDRESS, endpoints.ADDRESS))
        return Document(
            zones=self._zones,
            sets=zones.merged(one for sets in self._sets.values() for one in sets),
            hosts=tasks,
            machine=machine,
            domain=zones.private_domain(settings.region),
            range=settings.vpc_cidr,
        )

    async def _read_all(self) -> None:
        head = self._house.store.head()
        self.cursor = -1  # until all of it is there
        await self._house.store.read(self._take_all)
        self.cursor = max(1, head)

    def _take_all(self, tx: Tx) -> None:
        self._take_frame(tx)
        self._sets = {}
        for service in tx.all(DISCOVERY_SERVICE):
            self._take_service(tx, service.id)

    def _take_frame(self, tx: Tx) -> None:
        """What is few: namespaces and balancers."""
        namespaces = tx.all(NAMESPACE)
        found: dict[str, int] = {}
        for zone in (zone for namespace in namespaces if (zone := zones.zone_of(namespace))):
            found[zone.name] = min(zone.ttl, found.get(zone.name, zone.ttl))
        self._zones = tuple(Zone(name, ttl) for name, ttl in sorted(found.items()))
        self._discovery = bool(namespaces)
        self._balancers = {
            balancer.dns_name.lower(): tuple(zone.address for zone in balancer.zones if zone.address)
            for balancer in tx.all(LOAD_BALANCER)
        }

    def _take_service(self, tx: Tx, id: str) -> None:
        service = tx.get(DISCOVERY_SERVICE, id)
        namespace = tx.get(NAMESPACE, service.namespace_id) if service is not None else None
        if service is None or namespace is None:
            self._sets.pop(id, None)
            return
        instances: Sequence[Instance] = tx.find(INSTANCE, "service", id)
        self._sets[id] = zones.sets_of(namespace, service, instances, self._alias)

    def _alias(self, name: str) -> Sequence[str]:
        lower = name.lower().removesuffix(".")
        return self._balancers.get(lower) or self._balancers.get(lower.removeprefix("dualstack."), ())

    async def _follow(self) -> bool:
        """Wait for news and take it in; False if it was of something else."""
        await self._house.store.wait(self.cursor)
        feed = await self._house.store.changes(self.cursor)
        changes = [change for change in feed.changes if change.kind in _WATCHED]
        if feed.gap:
            await self._read_all()
            return True
        if changes:
            await self._house.store.read(lambda tx: self._take(tx, changes))
        self.cursor = feed.head
        return bool(changes)

    def _take(self, tx: Tx, changes: Sequence[Change]) -> None:
        kinds = {change.kind for change in changes}
        if LOAD_BALANCER.name in kinds:  # an alias may lead there
            return self._take_all(tx)
        if NAMESPACE.name in kinds:
            self._take_frame(tx)
        touched = {
            change.id.partition("/")[0]
            for change in changes
            if change.kind in (DISCOVERY_SERVICE.name, INSTANCE.name)
        }
        for id in sorted(touched):
            self._take_service(tx, id)
