"""The loop of Service Connect: gives what services offer an address each, and keeps who answers there.

Started by control/loops; woken by services, their deployments and tasks. The node's data plane listens on the
addresses, and tasks find them in their /etc/hosts (services/cell/connect).
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from neargate.control.parts import Parts, Watch
from neargate.model.deployments.shift import RANK
from neargate.model.service import Service, ServiceDeployment
from neargate.model.service_connect import (
    ConnectEndpoint,
    endpoint_key,
    free_address,
    namespace_of,
    offered,
    shifted,
    targets,
)
from neargate.model.task import Task
from neargate.state.catalog import TASK, TASK_DEFINITION
from neargate.state.catalog_discovery import CONNECT_ENDPOINT, NAMESPACE
from neargate.state.catalog_services import SERVICE, SERVICE_DEPLOYMENT
from neargate.state.store import Change, Tx

log = logging.getLogger(__name__)
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Plan:
    write: Sequence[ConnectEndpoint]
    remove: Sequence[ConnectEndpoint]

    def __bool__(self) -> bool:
        return bool(self.write or self.remove)


class ServiceConnect:
    name = "service-connect"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self) -> None:
        watch = Watch(self._parts.store, SERVICE, TASK, SERVICE_DEPLOYMENT)
        while True:
            arns = await self._concerned(await watch.changed())
            for first in range(0, len(arns), _AT_ONCE):
                await self._tend(arns[first : first + _AT_ONCE])

    async def _concerned(self, changes: Sequence[Change] | None) -> list[str]:
        """The services that changes concern; None: all of them."""
        if changes is None:
            return await self._parts.store.scan(_all)
        return await self._parts.store.read(lambda tx: _concerned(tx, changes))

    async def _tend(self, arns: Sequence[str]) -> None:
        vpc_cidr = self._parts.settings.vpc_cidr
        busy = await self._parts.store.read(lambda tx: [arn for arn in arns if plan(tx, arn, vpc_cidr)])
        if busy:
            await self._parts.store.write(lambda tx: _carry_out(tx, busy, vpc_cidr))


def _all(tx: Tx) -> list[str]:
    """Every service that has or is to have endpoints."""
    known = {endpoint.service_arn for endpoint in tx.all(CONNECT_ENDPOINT)}
    found = {service.arn for service in tx.find(SERVICE, "open", "yes") if namespace_of(service.body)}
    return sorted(known | found)


def _concerned(tx: Tx, changes: Iterable[Change]) -> list[str]:
    found: set[str] = set()
    for change in changes:
        if change.kind == SERVICE.name:
            found.add(change.id)
            continue
        if change.kind == SERVICE_DEPLOYMENT.name:
            process = tx.get(SERVICE_DEPLOYMENT, change.id)
            found |= {process.service_arn} if process is not None else set()
            continue
        task = tx.get(TASK, change.id)
        if task is not None and task.service_arn and tx.count(CONNECT_ENDPOINT, "service", task.service_arn):
            found.add(task.service_arn)
    return sorted(found)


def plan(tx: Tx, arn: str, vpc_cidr: str) -> Plan:
    kept = {CONNECT_ENDPOINT.id(one): one for one in tx.find(CONNECT_ENDPOINT, "service", arn)}
    service = tx.get(SERVICE, arn)
    wanted: dict[str, ConnectEndpoint] = {}
    if service is not None and service.status == "ACTIVE" and namespace_of(service.body):
        wanted = _wanted(tx, service, kept, vpc_cidr)
    write = [one for key, one in wanted.items() if kept.get(key) != one]
    return Plan(write, [one for key, one in kept.items() if key not in wanted])


def _wanted(
    tx: Tx, service: Service, kept: dict[str, ConnectEndpoint], vpc_cidr: str
) -> dict[str, ConnectEndpoint]:
    namespace = tx.get(NAMESPACE, namespace_of(service.body))
    definition = tx.get(TASK_DEFINITION, service.definition_arn)
    if namespace is None or definition is None:
        return {}
    tasks = tx.find(TASK, "service", service.arn)
    named = {task.definition_arn for task in tasks}
    definitions = {a: found for a in named if (found := tx.get(TASK_DEFINITION, a)) is not None}
    process = next(
        (p for p in tx.find(SERVICE_DEPLOYMENT, "open", service.arn) if p.strategy != "ROLLING"), None
    )
    wanted: dict[str, ConnectEndpoint] = {}
    for endpoint in offered(service, definition, namespace.name):
        key = endpoint_key(namespace.id, endpoint.discovery_name)
        other = tx.get(CONNECT_ENDPOINT, key)
        if other is not None and other.service_arn != service.arn:
            log.warning("a discovery name is taken", extra={"service": service.arn, "by": other.service_arn})
            continue
        address = kept[key].address if key in kept else _address(tx, wanted.values(), vpc_cidr)
        if address is not None:
            answering = targets(endpoint, tasks, definitions)
            endpoint = replace(endpoint, address=address, targets=answering)
            wanted[key] = _led(endpoint, tasks, process) if process is not None else endpoint
    return wanted


def _led(endpoint: ConnectEndpoint, tasks: Iterable[Task], process: ServiceDeployment) -> ConnectEndpoint:
    """As a deployment that shifts traffic wants it now."""
    green = {task.arn for task in tasks if task.revision_arn == process.target_revision}
    tested = RANK["TEST_TRAFFIC_SHIFT"] <= RANK.get(process.stage, -1) < RANK["CLEAN_UP"]
    return replace(
        endpoint,
        targets=shifted(endpoint.targets, green, process.traffic),
        test_targets=tuple(t for t in endpoint.targets if tested and t.task_arn in green),
    )


def _address(tx: Tx, others: Iterable[ConnectEndpoint], vpc_cidr: str) -> str | None:
    taken = {endpoint.address for endpoint in (*tx.all(CONNECT_ENDPOINT), *others)}
    address = free_address(vpc_cidr, taken)
    if address is None:
        log.error("there is no address left for Service Connect in %s", vpc_cidr)
    return address


def _carry_out(tx: Tx, arns: Iterable[str], vpc_cidr: str) -> None:
    """Decide again by what is there now, in the same transaction."""
    for arn in arns:
        made = plan(tx, arn, vpc_cidr)
        for endpoint in made.remove:
            tx.delete(CONNECT_ENDPOINT, CONNECT_ENDPOINT.id(endpoint))
        for endpoint in made.write:
            tx.put(CONNECT_ENDPOINT, endpoint)
