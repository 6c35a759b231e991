"""The loop that gives each waiting task a node, a subnet and an interface: PROVISIONING begins to be real.

Woken by RunTask's write (change feed); its own write wakes the node's long poll in services/cell. Many tasks
are placed in one transaction.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from neargate.control.parts import Parts, Watch
from neargate.kit.ids import Ids
from neargate.model import addresses, lifecycle
from neargate.model.network import Interface, Subnet
from neargate.model.placement import NO_CAPACITY, NO_TIER, Room, choose, emptiest, rooms
from neargate.model.task import Node, Task
from neargate.state import outbox
from neargate.state.addresses import free as free_address
from neargate.state.catalog import INTERFACE, NODE, SECURITY_GROUP, SUBNET, TASK
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


def plan(snapshot: Snapshot) -> list[Place | Refuse]:
    """What to do with each waiting task, in the order given. Without any node there is nothing to do yet."""
    if not snapshot.rooms:
        return []
    left = {room.node: room for room in snapshot.rooms}
    held = {subnet: snapshot.held.get(subnet, 0) for subnet in snapshot.subnets}
    free = {id: addresses.usable(subnet.cidr) - held[id] for id, subnet in snapshot.subnets.items()}
    actions: list[Place | Refuse] = []
    for task in snapshot.waiting:
        cpu, memory = float(task.cpu), float(task.memory)
        demand = task.isolation_demand
        room = choose(cpu, memory, task.architecture, list(left.values()), demand)
        candidates = task.subnets or ((task.subnet_id,) if task.subnet_id else ())
        subnet = emptiest(candidates, held, free)
        if room is None:
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


def apply(tx: Tx, actions: Sequence[Place | Refuse], ids: Ids, now: float) -> None:
    """Carry the plan out on the tasks that are still as they were planned for."""
    groups: dict[str, tuple[str, ...]] = {}
    for action in actions:
        task = tx.get(TASK, action.task.arn)
        if task is None or task.node or task.desired_status != "RUNNING":
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
        self._placed: dict[str, tuple[str, float, float]] = {}

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
            for task in await self._parts.store.scan(lambda tx: tx.find(TASK, "open", "yes")):
                self._count(task)
            return
        arns = [c.id for c in changes if c.kind == TASK.name]
        found = await self._parts.store.read(lambda tx: [(arn, tx.get(TASK, arn)) for arn in arns])
        for arn, record in found:
            if record is None:
                self._placed.pop(arn, None)
            else:
                self._count(record)

    def _count(self, task: Task) -> None:
        if task.node and task.last_status != "STOPPED":
            self._placed[task.arn] = (task.node, float(task.cpu), float(task.memory))
        else:
            self._placed.pop(task.arn, None)

    async def _round(self) -> bool:
        """Place what waits, up to a batch; True if there may be more."""
        waiting = await self._parts.store.read(
            lambda tx: tx.find(TASK, "placement", "waiting", limit=_AT_ONCE)
        )
        if not waiting:
            return False
        snapshot = await self._parts.store.read(lambda tx: self._snapshot(tx, waiting))
        actions = plan(snapshot)
        if not actions:
            log.warning("tasks wait for a node to appear", extra={"tasks": len(waiting)})
            return False
        now, ids = self._parts.clock.now(), self._parts.ids
        await self._parts.store.write(lambda tx: apply(tx, actions, ids, now))
        for action in actions:
            if isinstance(action, Place):
                task = action.task
                self._placed[task.arn] = (action.node, float(task.cpu), float(task.memory))
        return len(waiting) == _AT_ONCE

    def _snapshot(self, tx: Tx, waiting: Sequence[Task]) -> Snapshot:
        used: dict[str, tuple[float, float]] = {}
        for node, cpu, memory in self._placed.values():
            before = used.get(node, (0.0, 0.0))
            used[node] = (before[0] + cpu, before[1] + memory)
        nodes: list[Node] = tx.all(NODE)
        wanted = {s for task in waiting for s in (task.subnets or (task.subnet_id,)) if s}
        subnets = {id: subnet for id in wanted if (subnet := tx.get(SUBNET, id)) is not None}
        held = {id: tx.count(INTERFACE, "subnet", id) for id in subnets}
        settings = self._parts.settings
        space = rooms(nodes, used, settings.overcommit_cpu, settings.overcommit_memory)
        return Snapshot(waiting, space, subnets, held)
