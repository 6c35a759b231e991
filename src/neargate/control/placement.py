"""The loop that gives each waiting task a node, a subnet and an interface: PROVISIONING begins to be real.

Woken by RunTask's write (change feed); its own write wakes the node's long poll in services/cell. Many tasks
are placed in one transaction.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from neargate.control import spot
from neargate.control.parts import Parts, Watch
from neargate.kit.ids import Ids
from neargate.model import addresses, lifecycle
from neargate.model.capacity import ON_DEMAND, falls_back
from neargate.model.network import Interface, Subnet
from neargate.model.placement import NO_CAPACITY, NO_TIER, Room, choose, emptiest, rooms
from neargate.model.spot import Resident, is_spot, replaced, vacate
from neargate.model.task import Node, Task
from neargate.state import outbox
from neargate.state.addresses import free as free_address
from neargate.state.catalog import CLUSTER, INTERFACE, NODE, SECURITY_GROUP, SUBNET, TASK
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Change, Tx

log = logging.getLogger(__name__)
_AT_ONCE = 200
_ADDRESSES_FULL = (
    "Unexpected EC2 error while attempting to Create Network Interface in subnet '{}':"
    " InsufficientFreeAddressesInSubnet"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    waiting: Sequence[Task]
    rooms: Sequence[Room]
    subnets: Mapping[str, Subnet]
    held: Mapping[str, int]
    """Interfaces by subnet."""
    residents: Sequence[Resident] = ()
    """Spot tasks that are placed."""
    falling_back: frozenset[str] = frozenset()
    """ARNs of waiting Spot tasks that are to run on demand if there is no room for them."""


@dataclass(frozen=True, slots=True)
class Place:
    task: Task
    node: str
    subnet: Subnet
    tier: str = "process"


@dataclass(frozen=True, slots=True)
class Refuse:
    task: Task
    reason: str


@dataclass(frozen=True, slots=True)
class Interrupt:
    """End a Spot task: a task on demand waits for its room."""

    arn: str


@dataclass(frozen=True, slots=True)
class FallBack:
    """Let a Spot task run on demand; the next round places it."""

    task: Task


Action = Place | Refuse | Interrupt | FallBack


def plan(snapshot: Snapshot) -> list[Action]:
    """What to do with each waiting task: those on demand first, then in the order given. Those that wait for
    Spot tasks to leave have their room kept. Without any node there is nothing to do yet.
    """
    if not snapshot.rooms:
        return []
    left = {room.node: room for room in snapshot.rooms}
    held = {subnet: snapshot.held.get(subnet, 0) for subnet in snapshot.subnets}
    free = {id: addresses.usable(subnet.cidr) - held[id] for id, subnet in snapshot.subnets.items()}
    residents = list(snapshot.residents)
    actions: list[Action] = []
    for task in sorted(snapshot.waiting, key=is_spot):
        cpu, memory = float(task.cpu), float(task.memory)
        demand = task.isolation_demand
        room = choose(cpu, memory, task.architecture, list(left.values()), demand)
        candidates = task.subnets or ((task.subnet_id,) if task.subnet_id else ())
        subnet = emptiest(candidates, held, free)
        vacated = None
        if room is None and subnet is not None and not is_spot(task):
            vacated = vacate(cpu, memory, task.architecture, demand, left.values(), residents)
        if vacated is not None:
            left[vacated.node] = left[vacated.node].with_task(cpu, memory)
            residents = [replaced(it, vacated.victims) for it in residents]
            actions += [Interrupt(arn) for arn in vacated.victims]
        elif room is None and task.arn in snapshot.falling_back:
            actions.append(FallBack(task))
        elif room is None:
            offered = not demand or any(demand in other.tiers for other in left.values())
            actions.append(Refuse(task, NO_CAPACITY if offered else NO_TIER.format(demand)))
        elif subnet is None:
            actions.append(Refuse(task, _ADDRESSES_FULL.format(candidates[0] if candidates else "")))
        else:
            left[room.node] = room.with_task(cpu, memory)
            held[subnet] += 1
            free[subnet] -= 1
            actions.append(Place(task, room.node, snapshot.subnets[subnet], demand or room.tiers[0]))
    return actions


def apply(tx: Tx, actions: Sequence[Action], ids: Ids, now: float) -> None:
    """Carry the plan out on the tasks that are still as they were planned for."""
    groups: dict[str, tuple[str, ...]] = {}
    for action in actions:
        if isinstance(action, Interrupt):
            spot.interrupt(tx, action.arn, now)
            continue
        task = tx.get(TASK, action.task.arn)
        if task is None or task.node or task.desired_status != "RUNNING":
            continue
        if isinstance(action, FallBack):
            fallen = replace(task, capacity_provider=ON_DEMAND, version=task.version + 1)
            outbox.task_changed(tx, tx.put(TASK, fallen, expected=task), now)
            continue
        address = free_address(tx, action.subnet) if isinstance(action, Place) else None
        if isinstance(action, Refuse) or address is None:
            subnet = "" if isinstance(action, Refuse) else action.subnet.id
            reason = action.reason if isinstance(action, Refuse) else _ADDRESSES_FULL.format(subnet)
            stopped = lifecycle.request_stop(task, "TaskFailedToStart", reason, now)
            ended = tx.put(TASK, lifecycle.end_unplaced(stopped, now), expected=task)
            outbox.task_changed(tx, ended, now)
            continue
        chosen = action.subnet
        if not task.security_groups and chosen.vpc_id not in groups:
            groups[chosen.vpc_id] = _default_groups(tx, chosen.vpc_id)
        interface = Interface(
            account=task.account,
            region=task.region,
            id=task.interface_id or f"eni-{ids.hex(17)}",
            subnet_id=chosen.id,
            vpc_id=chosen.vpc_id,
            zone=chosen.zone,
            address=address,
            mac=addresses.mac(ids.hex(10)),
            security_groups=task.security_groups or groups[chosen.vpc_id],
            attachment_id=task.attachment_id or ids.uuid(),
            task_arn=task.arn,
            description=f"arn:aws:ecs:{task.region}:{task.account}:attachment/{task.attachment_id}",
            created_at=now,
        )
        tx.insert(INTERFACE, interface)
        placed = tx.put(TASK, _placed(task, action, interface), expected=task)
        outbox.task_changed(tx, placed, now)


def _placed(task: Task, place: Place, interface: Interface) -> Task:
    return replace(
        task,
        node=place.node,
        isolation=place.tier,
        interface_id=interface.id,
        attachment_id=interface.attachment_id,
        attachment_status="ATTACHING",
        subnet_id=interface.subnet_id,
        availability_zone=interface.zone,
        security_groups=interface.security_groups,
        private_ip=interface.address,
        mac=interface.mac,
        private_dns_name=addresses.dns_name(interface.address, interface.region),
        version=task.version + 1,
    )


def _default_groups(tx: Tx, vpc: str) -> tuple[str, ...]:
    return tuple(g.id for g in tx.find(SECURITY_GROUP, "vpc", vpc) if g.name == "default")[:1]


class Placement:
    """The loop. What it keeps between rounds is a sum over the store's tasks, made anew at each start."""

    name = "placement"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._placed: dict[str, Resident] = {}
        self._spot: set[str] = set()
        """Those of them that are Spot tasks."""

    async def run(self) -> None:
        watch = Watch(self._parts.store, TASK, NODE)
        while True:
            changes = await watch.changed()
            await self._note(changes)
            while await self._round():
                pass

    async def _note(self, changes: Sequence[Change] | None) -> None:
        """Bring the sums of what is placed up to date with the changed tasks."""
        if changes is None:
            self._placed.clear()
            self._spot.clear()
            for task in await self._parts.store.scan(lambda tx: tx.find(TASK, "open", "yes")):
                self._count(task)
            return
        arns = [c.id for c in changes if c.kind == TASK.name]
        found = await self._parts.store.read(lambda tx: [(arn, tx.get(TASK, arn)) for arn in arns])
        for arn, record in found:
            if record is None:
                self._forget(arn)
            else:
                self._count(record)

    def _count(self, task: Task) -> None:
        if not task.node or task.last_status == "STOPPED":
            self._forget(task.arn)
            return
        leaving = task.desired_status == "STOPPED"
        size = (float(task.cpu), float(task.memory))
        self._placed[task.arn] = Resident(task.arn, task.node, *size, task.created_at, leaving)
        if is_spot(task):
            self._spot.add(task.arn)

    def _forget(self, arn: str) -> None:
        self._placed.pop(arn, None)
        self._spot.discard(arn)

    async def _round(self) -> bool:
        """Place what waits, up to a batch; True if there may be more."""
        waiting = await self._parts.store.read(
            lambda tx: tx.find(TASK, "placement", "waiting", limit=_AT_ONCE)
        )
        if not waiting:
            return False
        snapshot = await self._parts.store.read(lambda tx: self._snapshot(tx, waiting))
        actions = plan(snapshot)
        if not snapshot.rooms:
            log.warning("tasks wait for a node to appear", extra={"tasks": len(waiting)})
        if not actions:
            return False
        now, ids = self._parts.clock.now(), self._parts.ids
        await self._parts.store.write(lambda tx: apply(tx, actions, ids, now))
        for action in actions:
            if isinstance(action, Place):
                self._count(replace(action.task, node=action.node))
        return len(waiting) == _AT_ONCE and any(isinstance(it, Place | Refuse) for it in actions)

    def _snapshot(self, tx: Tx, waiting: Sequence[Task]) -> Snapshot:
        used: dict[str, tuple[float, float]] = {}
        for it in self._placed.values():
            before = used.get(it.node, (0.0, 0.0))
            used[it.node] = (before[0] + it.cpu, before[1] + it.memory)
        nodes: list[Node] = tx.all(NODE)
        wanted = {s for task in waiting for s in (task.subnets or (task.subnet_id,)) if s}
        subnets = {id: subnet for id in wanted if (subnet := tx.get(SUBNET, id)) is not None}
        held = {id: tx.count(INTERFACE, "subnet", id) for id in subnets}
        settings = self._parts.settings
        space = rooms(nodes, used, settings.overcommit_cpu, settings.overcommit_memory)
        residents = [self._placed[arn] for arn in self._spot]
        return Snapshot(waiting, space, subnets, held, residents, _falling_back(tx, waiting))


def _falling_back(tx: Tx, waiting: Sequence[Task]) -> frozenset[str]:
    return frozenset(task.arn for task in waiting if is_spot(task) and falls_back(*_tags(tx, task)))


def _tags(tx: Tx, task: Task) -> list[Mapping[str, str]]:
    """Of the task's cluster, of its service, its own."""
    cluster, service = tx.get(CLUSTER, task.cluster_arn), tx.get(SERVICE, task.service_arn)
    return [cluster.tags if cluster else {}, service.tags if service else {}, task.tags]
