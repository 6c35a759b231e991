"""The agent: from the list to running sandboxes, and back after a restart of the daemon."""

from pathlib import Path

from tests.unit.node.rig import Node, by_name, container, eventually, sink, spec


async def test_a_sandbox_runs_and_is_stopped(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        one = spec(container(log=sink(stream="out"), command=("sleep",)))
        status = await node.run(one)
        assert node.cell.facts is not None and node.cell.facts.tiers == ("fake",)
        assert by_name(status)["main"].phase == "RUNNING"
        assert by_name(status)["main"].image_digest is not None
        assert node.cell.streams == [("g", "out")]
        node.cell.want(one, desired="STOPPED")
        status = await node.reached(one, "STOPPED")
        assert status.failure is None, "whoever asked is the reason"
        assert by_name(status)["main"].exit_code == 143
        assert node.cell.phases(one.id)[-4:] == ["RUNNING", "STOPPING", "CLEANING", "STOPPED"]
        moments = [
            status.accepted_at, status.pull_started_at, status.pull_stopped_at, status.started_at,
            status.stopping_at, status.execution_stopped_at, status.stopped_at,
        ]  # fmt: skip
        assert None not in moments and moments == sorted(moments)
        await node.gone(one)
        assert node.sandbox(one).destroyed
        assert node.images.holders == {}
        assert [s.sequence for s in node.cell.of(one.id)] == sorted(
            {s.sequence for s in node.cell.of(one.id)}
        )


async def test_an_ended_essential_container_ends_the_sandbox_with_its_last_line(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        one = spec(container(log=sink(stream="out"), command=("echo", "last", "line")), container("other"))
        node.cell.want(one)
        status = await node.reached(one, "STOPPED")
        assert node.cell.lines["out"] == ["last line"], "lines are there before STOPPED is"
        assert status.failure is not None and status.failure.code == "EssentialContainerExited"
        assert status.failure.reason == "Essential container in task exited"
        assert status.started_at is not None
        containers = by_name(status)
        assert (containers["main"].exit_code, containers["other"].exit_code) == (0, 143)
        assert status.execution_stopped_at == containers["main"].stopped_at


async def test_what_the_list_lacks_is_destroyed(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        one = spec(container(image="stubborn", stop_timeout=120.0))
        await node.run(one)
        node.cell.forget(one.id)
        await node.gone(one)
        assert node.sandbox(one).destroyed
        assert node.cell.phases(one.id)[-1] != "STOPPED"


async def test_many_at_once(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        specs = [spec() for _ in range(200)]
        node.cell.want(*specs)
        await eventually(
            lambda: sum(1 for s in specs if (r := node.cell.last(s.id)) and r.phase == "RUNNING") == 200,
            "200 running",
        )
        assert max(node.cell.batches) > 10, "reports go out together"
