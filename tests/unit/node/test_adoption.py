"""A daemon killed at any moment, and the next one: containers run on, nothing is lost or started again."""

import asyncio
import random
from pathlib import Path

import pytest

from neargate.model.sandbox import Dependency, HealthCheck, RestartPolicy, SandboxStatus
from neargate.node import journal
from tests.unit.node.rig import Node, by_name, container, eventually, sink, spec


def moments(status: SandboxStatus) -> tuple[float | None, ...]:
    return (status.accepted_at, status.pull_started_at, status.pull_stopped_at, status.started_at)


async def test_a_running_sandbox_runs_on(tmp_path: Path) -> None:
    node = Node(tmp_path)
    check = HealthCheck(command=("CMD", "x"), interval=0.02)
    one = spec(container(health_check=check, log=sink(stream="out")), container("side"))
    async with node.up():
        await node.run(one)
        await eventually(
            lambda: (s := node.cell.last(one.id)) and by_name(s)["main"].health == "HEALTHY", "ok"
        )
        before = node.cell.last(one.id)
        assert before is not None
    told = len(node.cell.of(one.id))
    async with node.up():
        await eventually(lambda: len(node.cell.of(one.id)) > told, "reported again")
        facts = node.cell.facts
        assert facts is not None and facts.adopted_sandboxes == 1 and facts.adopted_at > 0
        after = node.cell.of(one.id)[told]
        assert (after.phase, moments(after)) == ("RUNNING", moments(before))
        assert after.containers == before.containers, "health, digests and all"
        assert after.sequence > before.sequence
        assert node.sandbox(one).started == ["main", "side"]
        assert node.images.asked == ["busybox", "busybox"]
        assert list(node.images.holders) == [one.id]
        node.cell.want(one, desired="STOPPED")
        status = await node.reached(one, "STOPPED")
        assert by_name(status)["main"].exit_code == 143
        await node.gone(one)


async def test_what_ended_meanwhile_is_reported(tmp_path: Path) -> None:
    node = Node(tmp_path)
    one = spec(container(log=sink(stream="out")), container("side"))
    async with node.up():
        before = await node.run(one)
    node.sandbox(one).end("main", 42)
    async with node.up():
        status = await node.reached(one, "STOPPED")
        assert by_name(status)["main"].exit_code == 42
        assert status.failure is not None and status.failure.code == "EssentialContainerExited"
        assert moments(status) == moments(before)
        assert status.execution_stopped_at == by_name(status)["main"].stopped_at
        await node.gone(one)


async def test_a_restart_policy_holds_over_a_restart_of_the_daemon(tmp_path: Path) -> None:
    node = Node(tmp_path)
    one = spec(container(restart=RestartPolicy(attempt_period=0.0)))
    async with node.up():
        await node.run(one)
    node.sandbox(one).end("main", 1)
    async with node.up():
        await eventually(lambda: node.sandbox(one).states["main"].running, "started again")
        await eventually(lambda: (s := node.cell.last(one.id)) and by_name(s)["main"].restarts == 1, "told")
        status = node.cell.last(one.id)
        assert status is not None and status.phase == "RUNNING" and status.failure is None


async def test_no_second_signal_and_no_more_time(tmp_path: Path) -> None:
    node = Node(tmp_path)
    one = spec(container(image="stubborn", stop_timeout=0.4))
    async with node.up():
        await node.run(one)
        node.cell.want(one, desired="STOPPED")
        await eventually(lambda: node.sandbox(one).signals, "signalled")
    async with node.up():
        status = await node.reached(one, "STOPPED")
        assert node.sandbox(one).signals == [("main", 15), ("main", 9)]
        assert by_name(status)["main"].exit_code == 137


async def test_the_reason_of_an_end_is_kept(tmp_path: Path) -> None:
    node = Node(tmp_path)
    one = spec(container(), container("slow", image="stubborn", stop_timeout=0.3))
    async with node.up():
        await node.run(one)
        node.sandbox(one).end("main", 1)
        stopping = await node.reached(one, "STOPPING")
    async with node.up():
        status = await node.reached(one, "STOPPED")
        assert status.failure == stopping.failure and status.failure is not None
        assert status.stopping_at == stopping.stopping_at


async def test_a_sandbox_whose_containers_are_gone_is_not_run_a_second_time(tmp_path: Path) -> None:
    node = Node(tmp_path)
    one = spec(container(log=sink(stream="out")))
    async with node.up():
        await node.run(one)
    await node.driver.sandboxes.pop(one.id).destroy()  # as after a crash of the machine
    async with node.up():
        status = await node.reached(one, "STOPPED")
        assert status.failure is not None and status.failure.code == "InfrastructureHealth"
        assert node.driver.sandboxes == {}
        await node.gone(one)


async def test_stopped_while_the_control_plane_was_down_is_told_to_the_next_daemon(tmp_path: Path) -> None:
    node = Node(tmp_path)
    one = spec(container())
    async with node.up():
        await node.run(one)
        node.cell.down = True
        node.sandbox(one).end("main", 3)
        await eventually(lambda: node.sandbox(one).destroyed, "destroyed")
    node.cell.down = False
    async with node.up():
        status = await node.reached(one, "STOPPED")
        assert by_name(status)["main"].exit_code == 3
        await node.gone(one)


async def test_sandboxes_that_nobody_wants_any_more_go(tmp_path: Path) -> None:
    node = Node(tmp_path)
    one, other = spec(), spec()
    async with node.up():
        await node.run(one)
        await node.run(other)
    node.cell.forget(one.id)
    (tmp_path / ("f" * 32)).mkdir()  # killed before the first line
    async with node.up():
        await node.gone(one)
        assert not (tmp_path / ("f" * 32)).exists()
        assert node.sandbox(other).states["main"].running


async def test_the_clock_set_back_does_not_silence_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path)
    one = spec()
    async with node.up():
        before = await node.run(one)
    now = node.clock.now()
    monkeypatch.setattr(node.clock, "now", lambda: now - 86400)
    async with node.up():
        node.cell.want(one, desired="STOPPED")
        status = await node.reached(one, "STOPPED")
        assert status.sequence > before.sequence


def test_a_torn_line_does_not_count(tmp_path: Path) -> None:
    async def life() -> None:
        node = Node(tmp_path)
        one = spec()
        async with node.up():
            await node.run(one)
        with (tmp_path / one.id / "journal").open("ab") as file:
            file.write(b'{"status":{"id":"')
        assert (kept := journal.scan(tmp_path)[0].kept) is not None and kept.status.phase == "RUNNING"
        async with node.up():
            node.cell.want(one, desired="STOPPED")
            await node.reached(one, "STOPPED")

    asyncio.run(life())


async def test_a_long_journal_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LONGEST", 4096)
    node = Node(tmp_path)
    one = spec(container(restart=RestartPolicy(attempt_period=0.0)))
    async with node.up():
        await node.run(one)
        for run in range(1, 30):
            node.sandbox(one).end("main", 1)
            await eventually(
                lambda run=run: (s := node.cell.last(one.id)) and by_name(s)["main"].restarts == run,  # type: ignore[misc]
                "restarted",
            )
    assert (tmp_path / one.id / "journal").stat().st_size < 8192
    found = journal.scan(tmp_path)[0]
    assert found.spec == one and found.kept is not None
    assert by_name(found.kept.status)["main"].restarts == 29


@pytest.mark.parametrize("seed", range(6))
async def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    """Whatever the moment: each container is started once, each exit code arrives, nothing goes back."""
    chance = random.Random(seed)
    node = Node(tmp_path)
    short = [
        spec(
            container("setup", command=("exit", "0"), essential=False, log=sink(stream=f"setup-{n}")),
            container(
                command=("exit", "7"),
                depends_on=(Dependency(container="setup", condition="SUCCESS"),),
            ),
        )
        for n in range(6)
    ]
    long = [spec(container(), container("side")) for _ in range(4)]
    waiting = [*short, *long]
    chance.shuffle(waiting)
    for _ in range(25):
        if waiting and chance.random() < 0.7:
            node.cell.want(waiting.pop())
        async with node.up():
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.005, 0.02]))
    node.cell.want(*waiting)
    async with node.up():
        for one in long:
            await node.reached(one, "RUNNING")
        for one in short:
            status = await node.reached(one, "STOPPED")
            assert by_name(status)["main"].exit_code == 7
            assert by_name(status)["setup"].exit_code == 0
            assert status.failure is not None and status.failure.code == "EssentialContainerExited"
            await node.gone(one)
        for one in [*long, *short]:
            started = [name for made in node.driver.made if made.id == one.id for name in made.started]
            assert len(started) == len(set(started)) == 2, started
            sent = [s.sequence for s in node.cell.of(one.id)]
            assert sent == sorted(sent), "no report overtakes another"
            order = [journal._ORDER[s.phase] for s in node.cell.of(one.id)]
            assert order == sorted(order), "no phase goes back"


async def test_what_was_being_removed_when_the_daemon_was_killed_is_removed(tmp_path: Path) -> None:
    node = Node(tmp_path)
    one = spec(container(log=sink(stream="out")))
    async with node.up():
        await node.run(one)
    (tmp_path / one.id).rename(tmp_path / f".removed-{one.id}")
    (tmp_path / f".removed-{one.id}/journal").unlink()
    (tmp_path / f".removed-{one.id}/more").mkdir()
    async with node.up():
        await eventually(lambda: not list(tmp_path.glob(".removed-*")), "removed")


def test_a_directory_is_removed_by_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far a kill lets that come, no half of it stands under a sandbox's own."""
    directory = tmp_path / "one"
    (directory / "deep").mkdir(parents=True)
    seen: list[bool] = []
    real = journal.shutil.rmtree  # type: ignore[attr-defined]

    def watched(path: Path, ignore_errors: bool) -> None:
        seen.append(directory.exists())
        real(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(journal.shutil, "rmtree", watched)  # type: ignore[attr-defined]
    journal.remove(directory)
    journal.remove(directory)  # and again, as a later daemon may
    assert seen[1] is False and list(tmp_path.iterdir()) == []
