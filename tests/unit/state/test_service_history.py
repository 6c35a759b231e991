"""What is kept beside a service: its newest events, whoever tells them, and nothing once it is forgotten."""

from pathlib import Path

from neargate.kit.ids import SeededIds
from neargate.model.service import Service, ServiceRevision
from neargate.state import service_history
from neargate.state.catalog_services import SERVICE_EVENT, SERVICE_REVISION
from neargate.state.sqlite import SqliteStore
from neargate.state.store import Tx

SCOPE = {"account": "000000000000", "region": "us-east-1"}


def _service(name: str) -> Service:
    return Service(
        **SCOPE, arn=name, name=name, cluster_arn="c", definition_arn="d", revision_arn="r", body={}
    )


async def test_the_newest_hundred_events_are_kept(tmp_path: Path) -> None:
    ids = SeededIds(1)
    async with SqliteStore(tmp_path / "db") as store:

        def tell(tx: Tx) -> None:
            for number in range(130):  # one at a time, as scaling does
                service_history.tell(tx, _service("a"), (f"event {number}",), ids, float(number))
            service_history.tell(tx, _service("b"), ("other",), ids, 1.0)

        await store.write(tell)
        kept = await store.read(lambda tx: tx.find(SERVICE_EVENT, "service", "a"))
        assert [event.message for event in kept] == [f"event {number}" for number in range(30, 130)]
        assert await store.read(lambda tx: tx.count(SERVICE_EVENT, "service", "b")) == 1


async def test_a_forgotten_service_leaves_nothing_of_its_own(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "db") as store:

        def body(tx: Tx) -> tuple[int, int]:
            for name in ("a", "b"):
                service_history.tell(tx, _service(name), ("made",), SeededIds(1), 1.0)
                tx.insert(
                    SERVICE_REVISION,
                    ServiceRevision(
                        **SCOPE,
                        arn=f"r/{name}",
                        service_arn=name,
                        cluster_arn="c",
                        definition_arn="d",
                        body={},
                    ),
                )
            service_history.forget(tx, "a")
            return (
                sum(tx.count(kind, "service", "a") for kind in (SERVICE_EVENT, SERVICE_REVISION)),
                sum(tx.count(kind, "service", "b") for kind in (SERVICE_EVENT, SERVICE_REVISION)),
            )

        assert await store.write(body) == (0, 2)
