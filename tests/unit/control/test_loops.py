"""The loops together: endings, usage, retention, and a loop that fails."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from neargate.control import retention
from neargate.control.bootstrap import ensure_default_network
from neargate.control.cost import cost
from neargate.control.loops import Loops
from neargate.control.metering import usage_of
from neargate.control.retention import Retention
from neargate.kit.settings import Settings, SettingsError
from neargate.model.lifecycle import request_stop
from neargate.model.task import Cluster, Task, TokenUse
from neargate.state.catalog import CLUSTER, INTERFACE, SECURITY_GROUP, SUBNET, TASK, TOKEN_USE, USAGE, VPC
from tests.unit.control.house import SCOPE, Parts, add_node, add_tasks, house, make_task, subnets


async def run_until_released(parts: Parts, arn: str) -> None:
    async with asyncio.TaskGroup() as group:
        loops = group.create_task(Loops(parts).run())
        async with asyncio.timeout(20):
            await parts.until(lambda tx: bool((task := tx.get(TASK, arn)) and task.released))
        loops.cancel()


async def test_a_task_stopped_before_it_had_a_node_goes_straight_to_stopped(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        (task,) = await add_tasks(parts, 1)
        await parts.store.write(
            lambda tx: tx.put(TASK, request_stop(task, "UserInitiated", "no", task.created_at))
        )
        await run_until_released(parts, task.arn)
        ended = await parts.get(task.arn)
        usage = await parts.store.read(lambda tx: tx.get(USAGE, task.arn))
    assert (ended.last_status, ended.stop_code, ended.stopped_reason) == ("STOPPED", "UserInitiated", "no")
    assert usage is not None
    assert usage.seconds == 0


async def test_a_stopped_task_gives_its_interface_back_and_is_metered_once(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await add_node(parts)
        (task,) = await add_tasks(parts, 1)
        loops = asyncio.create_task(Loops(parts).run())
        await parts.until(lambda tx: tx.count(TASK, "node", "n1") == 1)
        placed = await parts.get(task.arn)
        now = parts.clock.now()
        stopped = replace(placed, last_status="STOPPED", pull_started_at=now + 1, stopped_at=now + 91.2)
        await parts.store.write(lambda tx: tx.put(TASK, stopped))
        await parts.until(lambda tx: tx.count(TASK, "open", "yes") == 0)
        loops.cancel()
        await asyncio.gather(loops, return_exceptions=True)
        interface = await parts.store.read(lambda tx: tx.get(INTERFACE, placed.interface_id))
        usages = await parts.store.read(lambda tx: tx.all(USAGE))
        assert interface is not None
        assert interface.status == "released"
        assert [u.seconds for u in usages] == [91]
        assert await parts.store.read(lambda tx: tx.count(INTERFACE, "subnet", placed.subnet_id)) == 0


@pytest.mark.parametrize(("ran", "billed"), [(0.0, 60), (59.9, 60), (60.0, 60), (60.01, 61), (3600.0, 3600)])
def test_usage_is_by_the_second_with_a_minute_at_least(ran: float, billed: int) -> None:
    task = make_task(
        1, (), 1000.0, pull_started_at=1001.0, stopped_at=1001.0 + ran, capacity_provider="FARGATE_SPOT"
    )
    usage = usage_of(task)
    assert (usage.seconds, usage.capacity_provider, usage.cpu_units) == (billed, "FARGATE_SPOT", 256)


async def test_retention_forgets_what_is_due_and_nothing_else(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        now = parts.clock.now()
        old = await add_tasks(
            parts, 700, last_status="STOPPED", desired_status="STOPPED", released=True, stopped_at=now - 3700
        )
        young = await add_tasks(
            parts,
            1,
            9000,
            last_status="STOPPED",
            desired_status="STOPPED",
            released=True,
            stopped_at=now - 3500,
        )
        unreleased = await add_tasks(parts, 1, 9001, last_status="STOPPED", stopped_at=now - 99999)
        token = TokenUse(account="0", region="r", id="old", digest="", task_arns=(), at=now - 25 * 3600)
        cluster = Cluster(
            account="0", region="r", arn="old", name="old", status="INACTIVE", inactive_at=now - 4000
        )
        in_use = replace(cluster, arn=young[0].cluster_arn)
        fresh = replace(cluster, arn="fresh", inactive_at=now)
        alive = replace(cluster, arn="alive", status="ACTIVE", inactive_at=None)

        def body(tx) -> None:  # type: ignore[no-untyped-def]
            tx.put(TOKEN_USE, token)
            tx.put(TOKEN_USE, replace(token, id="new", at=now - 3600))
            for c in (cluster, in_use, fresh, alive):
                tx.put(CLUSTER, c)

        await parts.store.write(body)
        await Retention(parts).round()
        left = await parts.store.read(lambda tx: {t.arn for t in tx.all(TASK)})
        assert len(old) == 700 > retention._BATCH
        assert left == {young[0].arn, unreleased[0].arn}
        assert [t.id for t in await parts.store.read(lambda tx: tx.all(TOKEN_USE))] == ["new"]
        clusters = {c.arn for c in await parts.store.read(lambda tx: tx.all(CLUSTER))}
        assert clusters == {in_use.arn, "fresh", "alive"}


@pytest.mark.parametrize("days", [1, 400])
async def test_usage_is_kept_for_its_days_after_the_task_ended(tmp_path: Path, days: int) -> None:
    async with house(tmp_path, usage_retention_days=days) as parts:
        now, kept = parts.clock.now(), days * 24 * 3600.0
        begun = now - 2 * kept

        def ended(number: int, at: float) -> Task:
            return make_task(number, (), begun, pull_started_at=begun, stopped_at=at)

        old = [usage_of(ended(number, now - kept - 120)) for number in range(700)]
        young = usage_of(ended(9000, now - kept + 60))
        (running,) = await add_tasks(parts, 1, 9001, pull_started_at=begun, last_status="RUNNING")
        await parts.store.write(lambda tx: [tx.put(USAGE, usage) for usage in (*old, young)])
        await Retention(parts).round()
        assert len(old) > retention._BATCH
        assert await parts.store.read(lambda tx: tx.all(USAGE)) == [young]
        rows = {row["name"]: row["seconds"] for row in (await cost(parts, {}))["rows"]}
        assert rows[running.id] == 2 * kept, "what runs counts in full, however long ago it began"

        stopped = replace(running, last_status="STOPPED", stopped_at=now)
        await parts.store.write(lambda tx: tx.put(TASK, stopped))
        await run_until_released(parts, running.arn)
        await Retention(parts).round()
        assert {u.task_arn for u in await parts.store.read(lambda tx: tx.all(USAGE))} == {
            young.task_arn,
            running.arn,
        }
        parts.clock.advance(kept + 120)
        await Retention(parts).round()
        assert await parts.store.read(lambda tx: tx.all(USAGE)) == []


async def test_a_loop_that_fails_is_started_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        name = "broken"
        runs = 0

        async def run(self) -> None:
            self.runs += 1
            raise RuntimeError("on purpose")

    async with house(tmp_path) as parts:
        loops = Loops(parts)
        broken = Broken()
        loops.loops = (broken,)
        running = asyncio.create_task(loops.run())
        for expected, pause in ((1, 0.1), (2, 0.2), (3, 0.4)):
            for _ in range(20):
                await asyncio.sleep(0)
            assert broken.runs == expected
            parts.clock.advance(pause / 2)
            await asyncio.sleep(0)
            assert broken.runs == expected, "it pauses longer each time"
            parts.clock.advance(pause)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert "the broken loop failed" in caplog.text


async def test_the_default_network_is_made_once_and_keeps_its_range(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        before = await parts.store.read(lambda tx: (tx.all(VPC), tx.all(SUBNET), tx.all(SECURITY_GROUP)))
        await ensure_default_network(parts.store, SCOPE, parts.settings, parts.ids)
        assert before == await parts.store.read(
            lambda tx: (tx.all(VPC), tx.all(SUBNET), tx.all(SECURITY_GROUP))
        )
        assert sorted(s.zone for s in before[1]) == ["us-east-1a", "us-east-1b", "us-east-1c"]
        assert len(await subnets(parts)) == 3
        other = Settings(data_dir=tmp_path, vpc_cidr="10.9.0.0/16")
        with pytest.raises(SettingsError, match=r"was made with 172\.31\.0\.0/16: set NEARGATE_VPC_CIDR to"):
            await ensure_default_network(parts.store, SCOPE, other, parts.ids)


async def test_a_chore_that_fails_is_started_anew(tmp_path: Path) -> None:
    again = asyncio.Event()
    runs = 0

    async def chore() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("a mistake of ours")
        again.set()
        await asyncio.Event().wait()

    async with house(tmp_path) as parts:
        loops = asyncio.create_task(Loops(parts, {"chore": chore}).run())
        async with asyncio.timeout(10):
            while not again.is_set():
                parts.clock.advance(1.0)
                await asyncio.sleep(0.001)
        loops.cancel()
        await asyncio.gather(loops, return_exceptions=True)
    assert runs == 2
