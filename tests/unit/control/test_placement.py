"""Placement on a real store: nodes, subnets, addresses, and what happens when there is no room."""

import asyncio
from collections import Counter
from pathlib import Path

from neargate.control.loops import Loops
from neargate.control.placement import Place, Placement, Refuse, Snapshot, plan
from neargate.model.network import Subnet
from neargate.model.placement import NO_CAPACITY, Room
from neargate.state.catalog import INTERFACE, SUBNET, TASK
from neargate.state.store import Tx
from tests.unit.control.house import Parts, add_node, add_tasks, house, make_task


def subnet(id: str, cidr: str) -> Subnet:
    return Subnet(account="0", region="r", id=id, vpc_id="v", cidr=cidr, zone="a", zone_id="z")


async def place(parts: Parts) -> None:
    """Run the loop until nothing waits."""
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(Placement(parts).run())
        async with asyncio.timeout(20):
            await parts.until(lambda tx: tx.count(TASK, "placement", "waiting") == 0)
        loop.cancel()


def test_plan_spreads_over_nodes_and_subnets_and_refuses_what_has_no_room() -> None:
    subnets = {"a": subnet("a", "10.0.0.0/28"), "b": subnet("b", "10.0.0.16/28")}
    nodes = [Room("n1", "x86_64", 512, 4096), Room("n2", "x86_64", 256, 4096)]
    tasks = [make_task(i, ("a", "b"), 0.0) for i in range(4)]
    actions = plan(Snapshot(tasks, nodes, subnets, {"a": 1}))
    placed = [a for a in actions if isinstance(a, Place)]
    assert [a.node for a in placed] == ["n1", "n2", "n1"]
    assert [a.subnet.id for a in placed] == ["b", "a", "b"]
    assert actions[3] == Refuse(tasks[3], NO_CAPACITY)


def test_plan_waits_for_a_node_and_names_a_full_subnet() -> None:
    full = {"a": subnet("a", "10.0.0.0/28")}
    task = make_task(1, ("a",), 0.0)
    assert plan(Snapshot([task], [], full, {})) == []
    (action,) = plan(Snapshot([task], [Room("n1", "x86_64", 512, 4096)], full, {"a": 11}))
    assert isinstance(action, Refuse)
    assert action.reason.endswith("in subnet 'a': InsufficientFreeAddressesInSubnet")


async def test_a_hundred_tasks_are_placed_each_with_an_address_of_its_own(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await add_node(parts, memory_mib=16384)
        await add_tasks(parts, 100)
        await place(parts)
        tasks = await parts.store.read(lambda tx: tx.all(TASK))
        interfaces = await parts.store.read(lambda tx: {i.id: i for i in tx.all(INTERFACE)})
    assert {t.node for t in tasks} == {"n1"}
    assert len({i.address for i in interfaces.values()}) == 100
    assert len({i.mac for i in interfaces.values()}) == 100
    assert sorted(Counter(t.subnet_id for t in tasks).values()) == [33, 33, 34]
    for task in tasks:
        interface = interfaces[task.interface_id]
        assert (interface.task_arn, interface.attachment_id) == (task.arn, task.attachment_id)
        assert (task.availability_zone, task.security_groups) == (interface.zone, interface.security_groups)
        assert (task.last_status, task.attachment_status) == ("PROVISIONING", "ATTACHING")
        assert len(task.security_groups) == 1


async def test_a_task_waits_for_the_first_node(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        (task,) = await add_tasks(parts, 1)
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(Placement(parts).run())
            await asyncio.sleep(0.05)
            assert (await parts.get(task.arn)).node == ""
            await add_node(parts)
            await parts.until(lambda tx: tx.count(TASK, "node", "n1") == 1)
            loop.cancel()


async def test_without_room_a_task_stops_and_says_so(tmp_path: Path) -> None:
    async with house(tmp_path, overcommit_cpu=1.0) as parts:
        await add_node(parts, cpu_units=512)
        tasks = await add_tasks(parts, 3)
        await place(parts)
        found = [await parts.get(t.arn) for t in tasks]
    assert [t.last_status for t in found] == ["PROVISIONING", "PROVISIONING", "STOPPED"]
    assert (found[2].stop_code, found[2].stopped_reason) == ("TaskFailedToStart", NO_CAPACITY)


async def test_room_counts_what_was_placed_before_a_restart_and_what_has_ended(tmp_path: Path) -> None:
    async with house(tmp_path, overcommit_cpu=1.0) as parts:
        await add_node(parts, cpu_units=512)
        old = await add_tasks(parts, 2)
        await place(parts)
        late = await add_tasks(parts, 1, first=10)
        await place(parts)  # a loop that starts anew
        assert (await parts.get(late[0].arn)).last_status == "STOPPED"
        await end(parts, old[0].arn)
        last = await add_tasks(parts, 1, first=20)
        await place(parts)
        assert (await parts.get(last[0].arn)).node == "n1"


async def end(parts: Parts, arn: str) -> None:
    from msgspec.structs import replace

    task = await parts.get(arn)
    await parts.store.write(lambda tx: tx.put(TASK, replace(task, last_status="STOPPED")))


async def test_addresses_rotate_and_a_full_subnet_refuses(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await add_node(parts)
        tiny = subnet("subnet-tiny", "172.31.200.0/28")
        await parts.store.write(lambda tx: tx.put(SUBNET, tiny))
        tasks = await add_tasks(parts, 12, subnets=("subnet-tiny",), security_groups=("sg-1",))
        await place(parts)
        found = [await parts.get(t.arn) for t in tasks]
        assert [t.last_status for t in found] == ["PROVISIONING"] * 11 + ["STOPPED"]
        assert (found[11].stopped_reason or "").endswith("InsufficientFreeAddressesInSubnet")
        held = await parts.store.read(lambda tx: tx.get(INTERFACE, found[4].interface_id))
        assert held is not None
        # The one address that is given back is the one found.
        await release(parts, found[4].arn)
        again = await add_tasks(parts, 1, first=50, subnets=("subnet-tiny",), security_groups=("sg-1",))
        await place(parts)
        task = await parts.get(again[0].arn)
        new = await parts.store.read(lambda tx: tx.get(INTERFACE, task.interface_id))
        assert new is not None
        assert new.address == held.address


async def release(parts: Parts, arn: str) -> None:
    await end(parts, arn)
    async with asyncio.TaskGroup() as group:
        loops = group.create_task(Loops(parts).run())
        await parts.until(lambda tx: bool((task := tx.get(TASK, arn)) and task.released))
        loops.cancel()


async def test_a_stopped_wait_is_not_placed(tmp_path: Path) -> None:
    from neargate.control.placement import apply
    from neargate.model.lifecycle import request_stop

    async with house(tmp_path) as parts:
        await add_node(parts)
        (task,) = await add_tasks(parts, 1)
        chosen = (await parts.store.read(lambda tx: tx.all(SUBNET)))[0]
        stopped = request_stop(task, "UserInitiated", "", parts.clock.now())
        await parts.store.write(lambda tx: tx.put(TASK, stopped))

        def body(tx: Tx) -> None:
            apply(tx, [Place(task, "n1", chosen)], parts.ids, parts.clock.now())

        await parts.store.write(body)
        assert await parts.get(task.arn) == stopped
        assert await parts.store.read(lambda tx: tx.all(INTERFACE)) == []
