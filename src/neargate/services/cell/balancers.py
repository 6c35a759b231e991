"""Load balancing as a node's data plane sees it: node/balancer/base.BalancerCell, on the store.

Built by main and handed to node/balancer. The view is kept up to date from the change feed; the store stays
the truth, a view can be thrown away at any moment.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from msgspec.structs import replace

from neargate.kit.errors import ApiError, CellError
from neargate.model import certificate as certificates
from neargate.model.balancer import Certificate, Target, target_id
from neargate.model.balancing import EMPTY, KeyPair, View
from neargate.model.bucket import Described, Object
from neargate.model.metric import Point
from neargate.model.record import Scope
from neargate.model.sealed import SealError
from neargate.services.call import House
from neargate.state import metrics, objects
from neargate.state.catalog_balancers import (
    CERTIFICATE,
    LISTENER,
    LISTENER_RULE,
    LOAD_BALANCER,
    TARGET,
    TARGET_GROUP,
)
from neargate.state.catalog_discovery import CONNECT_ENDPOINT
from neargate.state.store import Kind, StoreError, Tx

log = logging.getLogger(__name__)
_KINDS: dict[str, tuple[str, Kind[Any]]] = {
    kind.name: (field, kind)
    for field, kind in (
        ("balancers", LOAD_BALANCER),
        ("listeners", LISTENER),
        ("rules", LISTENER_RULE),
        ("groups", TARGET_GROUP),
        ("targets", TARGET),
        ("certificates", CERTIFICATE),
        ("connect", CONNECT_ENDPOINT),
    )
}


class Verdict(Protocol):
    """model/target_health.Verdict."""

    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def description(self) -> str: ...


class Judged(Protocol):
    """node/balancer/base.Judged, by shape: services do not import the node."""

    @property
    def target(self) -> Target: ...
    @property
    def verdict(self) -> Verdict: ...


class Balancers:
    def __init__(self, house: House) -> None:
        self._house = house
        self._following = asyncio.Lock()
        self._cursor = -1
        self._known: dict[str, dict[str, Any]] = {field: {} for field, _ in _KINDS.values()}
        self._view = EMPTY
        self._pairs: dict[str, tuple[Certificate, KeyPair]] = {}

    async def balancing(self, after: int) -> tuple[int, View]:
        """See node/balancer/base. A cursor other than the one given last gets the view at once."""
        async with self._following:
            with _cell_errors():
                try:
                    if self._cursor < 0:
                        await self._read_all()
                    elif after == self._cursor:
                        while not await self._follow():
                            continue
                except BaseException:
                    self._cursor = -1  # half brought up to date: the next call reads everything anew
                    raise
            return self._cursor, self._view

    async def report_targets(self, judged: Sequence[Judged]) -> None:
        now = self._house.clock.now()

        def body(tx: Tx) -> None:
            for each in judged:
                seen, verdict = each.target, each.verdict
                if tx.get(TARGET, _id(seen)) != seen:
                    continue  # drained, deregistered or registered anew meanwhile: the next check sees it
                moved = replace(
                    seen,
                    state=verdict.state,
                    reason=verdict.reason,
                    description=verdict.description,
                    changed_at=now,
                )
                tx.put(TARGET, moved)

        with _cell_errors():
            await self._house.store.write(body)

    async def forget_targets(self, drained: Sequence[Target]) -> None:
        def body(tx: Tx) -> None:
            for seen in drained:
                found = tx.get(TARGET, _id(seen))
                if found is not None and found.state == "draining":
                    tx.delete(TARGET, _id(seen))

        with _cell_errors():
            await self._house.store.write(body)

    async def report_balancers(self, reasons: Mapping[str, str]) -> None:
        """See node/balancer/base: what listens goes on, so the balancer is impaired, not failed."""

        def body(tx: Tx) -> None:
            for arn, reason in reasons.items():
                balancer = tx.get(LOAD_BALANCER, arn)
                if balancer is not None and balancer.state_reason != reason:
                    state = "active_impaired" if reason else "active"
                    tx.put(LOAD_BALANCER, replace(balancer, state=state, state_reason=reason))

        with _cell_errors():
            await self._house.store.write(body)

    async def wake(self, group_arn: str) -> None:
        """A request waits: control/autoscaling_zero hears of it."""
        now = self._house.clock.now()

        def body(tx: Tx) -> None:
            if group := tx.get(TARGET_GROUP, group_arn):
                tx.put(TARGET_GROUP, replace(group, woken_at=now))

        with _cell_errors():
            await self._house.store.write(body)

    async def put_traffic(self, points: Sequence[Point], asked: Sequence[str]) -> None:
        """See node/balancer/base: to the metrics, and to who scales to zero."""
        now = self._house.clock.now()

        def body(tx: Tx) -> None:
            for arn in asked:
                if group := tx.get(TARGET_GROUP, arn):
                    tx.put(TARGET_GROUP, replace(group, last_request_at=now))

        with _cell_errors():
            if points:
                await self._house.metrics.write(lambda tx: metrics.put(tx, points))
            if asked:
                await self._house.store.write(body)

    async def put_access_log(
        self, balancer_arn: str, key: str, data: bytes, attributes: str = "access_logs"
    ) -> None:
        """See node/balancer/base. Raise CellError if there is no such bucket."""
        house = self._house

        def record(tx: Tx) -> Object:
            balancer = tx.get(LOAD_BALANCER, balancer_arn)
            if balancer is None:
                raise CellError(f"no load balancer {balancer_arn}")
            scope = Scope(balancer.account, balancer.region)
            bucket = objects.need_bucket(tx, scope, balancer.attributes.get(f"{attributes}.s3.bucket", ""))
            return Object(
                account=scope.account,
                region=scope.region,
                bucket=bucket.name,
                key=key,
                file=house.ids.hex(32),
                size=len(data),
                etag=hashlib.md5(data, usedforsecurity=False).hexdigest(),
                modified_at=house.clock.now(),
                described=Described(headers={"ContentType": "application/x-gzip"}),
            )

        with _cell_errors():
            made = await house.store.read(record)
            await house.objects.write(made.file, data)
            gone = await house.store.write(lambda tx: objects.put(tx, made))
            await house.objects.delete(gone)

    # -- the view --------------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        head = self._house.store.head()
        found = await self._house.store.scan(
            lambda tx: [(field, kind.id, tx.all(kind)) for field, kind in _KINDS.values()]
        )
        before = self._known
        self._known = {
            field: {id(record): self._kept(before[field].get(id(record)), record) for record in records}
            for field, id, records in found
        }
        self._publish()
        self._cursor = max(1, head)

    async def _follow(self) -> bool:
        """Wait for news and take it in; True if the view is another than before."""
        store = self._house.store
        await store.wait(self._cursor)
        feed = await store.changes(self._cursor)
        if feed.gap:
            await self._read_all()
            return True
        touched = {(change.kind, change.id): None for change in feed.changes if change.kind in _KINDS}
        if touched:
            found = await store.read(lambda tx: [tx.get(_KINDS[kind][1], id) for kind, id in touched])
            for (kind, id), record in zip(touched, found, strict=True):
                self._note(_KINDS[kind][0], id, record)
            self._publish()
        self._cursor = feed.head
        return bool(touched)

    def _note(self, field: str, id: str, record: Any) -> None:
        if record is None:
            self._known[field].pop(id, None)
        else:
            self._known[field][id] = self._kept(self._known[field].get(id), record)

    @staticmethod
    def _kept(before: Any, record: Any) -> Any:
        """The object of before, if nothing about it changed: whoever made something of it need not again."""
        return before if before == record else record

    def _publish(self) -> None:
        known = {field: dict(records) for field, records in self._known.items()}
        known["certificates"] = self._opened(known["certificates"])
        self._view = View(**known)

    def _opened(self, records: dict[str, Certificate]) -> dict[str, KeyPair]:
        """Those whose key this daemon can open, each opened once."""
        before, self._pairs = self._pairs, {}
        for arn, record in records.items():
            kept = before.get(arn)
            if kept is None or kept[0] is not record:
                try:
                    kept = (record, self._open(record))
                except SealError as error:
                    log.error("a certificate cannot be used: %s", error, extra={"certificate": arn})
                    continue
            self._pairs[arn] = kept
        return {arn: pair for arn, (_, pair) in self._pairs.items()}

    def _open(self, record: Certificate) -> KeyPair:
        key = certificates.unseal(self._house.signing_key, record).decode()
        chain = "\n".join(part.strip() for part in (record.certificate, record.chain) if part) + "\n"
        return KeyPair(chain, key)


def _id(target: Target) -> str:
    return target_id(target.group_arn, target.address, target.port)


@contextmanager
def _cell_errors() -> Iterator[None]:
    try:
        yield
    except (ApiError, StoreError) as error:
        raise CellError(str(error)) from error
