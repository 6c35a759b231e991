"""One sandbox's life: failures, order, health, restarts, ends. On the fake driver, through the agent."""

import asyncio
import errno
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neargate.model.sandbox import ContainerSpec, Dependency, HealthCheck, RestartPolicy, SandboxSpec
from neargate.node import journal
from neargate.node.drivers.fake import FakeImages
from neargate.node.ending import stop_signal
from neargate.oci.images import Image
from neargate.oci.manifest import ImageConfig
from tests.unit.node.rig import Node, by_name, container, eventually, sink, spec


def needs(name: str, condition: Any) -> tuple[Dependency, ...]:
    return (Dependency(container=name, condition=condition),)


# -- failures to start -----------------------------------------------------------------------------------


async def test_an_image_that_cannot_be_pulled(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        one = spec(container(image="r/nopull:1"), container("other"))
        status = await node.run(one, "STOPPED")
        assert status.failure is not None and status.failure.code == "TaskFailedToStart"
        assert status.failure.reason == (
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref"
            " r/nopull:1: r/nopull:1: not found"
        )
        containers = by_name(status)
        assert containers["main"].reason == status.failure.reason
        assert containers["main"].exit_code is None and containers["main"].started_at is None
        assert status.started_at is None and status.pull_started_at is not None
        await node.gone(one)
        assert node.images.holders == {}


async def test_images_larger_than_the_storage_of_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Image("", "", tmp_path, 60, ImageConfig(), 0)
    monkeypatch.setattr("neargate.node.drivers.fake._image", lambda digest: replace(made, digest=digest))
    async with Node(tmp_path).up() as node:
        fits = spec(container(), container("other"), ephemeral_bytes=100)  # of the same image
        await node.run(fits)
        one = spec(container(), container("other", image="another"), ephemeral_bytes=100)
        status = await node.run(one, "STOPPED")
        assert status.failure is not None and status.failure.code == "TaskFailedToStart"
        assert status.failure.reason.startswith("CannotPullContainerError: failed to extract layers of ")
        assert "no space left on device" in status.failure.reason


async def test_a_container_that_cannot_be_started(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        one = spec(container(image="nostart"), container("other"))
        status = await node.run(one, "STOPPED")
        assert status.failure is not None and status.failure.code == "TaskFailedToStart"
        assert status.failure.reason.startswith("CannotStartContainerError: exec: ")
        assert by_name(status)["main"].reason == status.failure.reason
        assert by_name(status)["main"].exit_code is None


async def test_one_that_is_not_essential_may_fail_to_start(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        one = spec(container(), container("side", image="nostart", essential=False))
        status = await node.run(one)
        assert (by_name(status)["side"].reason or "").startswith("CannotStartContainerError: ")
        assert node.sandbox(one).states["main"].running


async def test_a_log_group_that_is_missing(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        node.cell.missing.add("/nosuch")
        one = spec(container(log=sink("/nosuch")))
        status = await node.run(one, "STOPPED")
        assert status.failure is not None and status.failure.code == "TaskFailedToStart"
        assert status.failure.reason == (
            "ResourceInitializationError: failed to initialize logging driver:"
            " ResourceNotFoundException: The specified log group does not exist."
        )
        await node.gone(one)


async def test_a_boundary_that_cannot_be_made(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        node.driver.refuse = "no address left"
        status = await node.run(spec(), "STOPPED")
        assert status.failure is not None
        assert status.failure.reason == "ResourceInitializationError: no address left"


class SlowImages(FakeImages):
    """Pulls that never end."""

    async def pull(self, spec: SandboxSpec, container: ContainerSpec) -> Image:
        await super().pull(spec, container)
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_stop_during_the_pull_is_obeyed_at_once(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.images = SlowImages()
    async with node.up():
        one = spec()
        await node.run(one, "PULLING")
        node.cell.want(one, desired="STOPPED")
        status = await node.reached(one, "STOPPED")
        assert status.failure is None and status.pull_stopped_at is not None
        await node.gone(one)
        assert node.sandbox(one).destroyed


# -- order and health ------------------------------------------------------------------------------------


async def test_containers_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    check = HealthCheck(command=("CMD-SHELL", "true"), interval=0.02)
    async with Node(tmp_path).up() as node:
        one = spec(
            container("web", depends_on=needs("db", "HEALTHY")),
            container("db", health_check=check, depends_on=needs("setup", "SUCCESS")),
            container("setup", command=("exit", "0"), essential=False),
            container("side", depends_on=needs("web", "START")),
        )
        status = await node.run(one)
        assert node.sandbox(one).started == ["setup", "db", "web", "side"]
        assert by_name(status)["db"].health == "HEALTHY"
        assert by_name(status)["setup"].exit_code == 0
        node.cell.want(one, desired="STOPPED")
        status = await node.reached(one, "STOPPED")
        assert node.sandbox(one).signals == [("side", 15), ("web", 15), ("db", 15)]
        assert {by_name(status)[name].exit_code for name in ("side", "web", "db")} == {143}


async def test_a_dependency_that_is_late_ends_the_sandbox(tmp_path: Path) -> None:
    check = HealthCheck(command=("CMD", "x"), interval=60.0)
    async with Node(tmp_path).up() as node:
        first = container("first", essential=False, health_check=check, start_timeout=0.1)
        one = spec(container(depends_on=needs("first", "HEALTHY")), first)
        status = await node.run(one, "STOPPED")
        assert status.failure is not None and status.failure.code == "TaskFailedToStart"
        assert status.failure.reason.endswith("[first] for target [main] has timed out.")
        assert node.sandbox(one).started == ["first"]
        assert status.started_at is None


async def test_an_unhealthy_container_is_told_and_runs_on(tmp_path: Path) -> None:
    check = HealthCheck(command=("CMD", "x"), interval=0.02, retries=2)
    async with Node(tmp_path).up() as node:
        one = spec(container(image="sick", health_check=check))
        await node.run(one)
        await eventually(
            lambda: (s := node.cell.last(one.id)) and by_name(s)["main"].health == "UNHEALTHY", "unhealthy"
        )
        status = node.cell.last(one.id)
        assert status is not None and status.phase == "RUNNING"
        main = by_name(status)["main"]
        assert main.health_output == "sick\n" and main.health_exit_code == 1
        assert main.health_since is not None and main.started_at is not None
        assert main.health_since >= main.started_at
        told = len(node.cell.of(one.id))
        await asyncio.sleep(0.1)
        assert len(node.cell.of(one.id)) == told, "the same result is not told again"


# -- restarts --------------------------------------------------------------------------------------------


async def test_restarts(tmp_path: Path) -> None:
    policy = RestartPolicy(attempt_period=0.0, ignored_exit_codes=(5,))
    async with Node(tmp_path).up() as node:
        one = spec(container(restart=policy, log=sink(stream="out")))
        await node.run(one)
        sandbox = node.sandbox(one)
        for run in (1, 2):
            sandbox.end("main", 1)
            await eventually(lambda run=run: sandbox.states["main"].restarts == run, "started again")  # type: ignore[misc]
        await eventually(
            lambda: (s := node.cell.last(one.id)) and by_name(s)["main"].restarts == 2, "restarts reported"
        )
        assert {by_name(s)["main"].phase for s in node.cell.of(one.id) if s.phase == "RUNNING"} == {"RUNNING"}
        sandbox.end("main", 5)
        status = await node.reached(one, "STOPPED")
        assert status.failure is not None and status.failure.code == "EssentialContainerExited"
        assert (by_name(status)["main"].exit_code, by_name(status)["main"].restarts) == (5, 2)
        assert node.images.asked == ["busybox"], "a restart keeps its image"


async def test_nothing_is_restarted_while_stopping(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        one = spec(container(restart=RestartPolicy(attempt_period=0.0)))
        await node.run(one)
        node.cell.want(one, desired="STOPPED")
        status = await node.reached(one, "STOPPED")
        assert node.sandbox(one).started == ["main"]
        assert by_name(status)["main"].exit_code == 143


# -- ends ------------------------------------------------------------------------------------------------


async def test_out_of_memory(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        status = await node.run(spec(container(image="oom")), "STOPPED")
        main = by_name(status)["main"]
        assert (main.exit_code, main.oom_killed) == (137, True)
        assert main.reason == "OutOfMemoryError: Container killed due to memory usage"


async def test_sigkill_after_the_stop_timeout(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        one = spec(container(image="stubborn", stop_timeout=0.05))
        await node.run(one)
        node.cell.want(one, desired="STOPPED")
        status = await node.reached(one, "STOPPED")
        assert node.sandbox(one).signals == [("main", 15), ("main", 9)]
        assert by_name(status)["main"].exit_code == 137


async def test_a_lost_sandbox(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        one = spec(container(), container("other"))
        await node.run(one)
        node.sandbox(one).lose()
        status = await node.reached(one, "STOPPED")
        assert status.failure is not None and status.failure.code == "InfrastructureHealth"
        assert {c.exit_code for c in status.containers} == {137}
        await node.gone(one)


async def test_what_ends_while_the_control_plane_is_down_is_kept_for_it(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        one = spec(container(log=sink(stream="out"), command=("echo", "the", "end")))
        other = spec(container(log=sink(stream="other")))
        node.cell.want(one, other)
        await node.reached(other, "RUNNING")
        await node.reached(one, "STOPPED")
        node.cell.down = True
        node.sandbox(other).end("main", 9)
        await asyncio.sleep(0.3)
        assert (tmp_path / other.id).exists()
        node.cell.down = False
        status = await node.reached(other, "STOPPED")
        assert by_name(status)["main"].exit_code == 9
        await node.gone(other)


async def test_a_mistake_in_one_runner_ends_that_sandbox_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node(tmp_path).up() as node:
        healthy, broken = spec(), spec(container("b"))
        await node.run(healthy)
        original = node.images.pull

        async def pull(one: SandboxSpec, what: ContainerSpec) -> Image:
            if one.id == broken.id:
                raise ZeroDivisionError("a mistake")
            return await original(one, what)

        monkeypatch.setattr(node.images, "pull", pull)
        status = await node.run(broken, "STOPPED")
        assert status.failure is not None and "ZeroDivisionError" in status.failure.reason
        assert node.sandbox(healthy).states["main"].running
        await node.gone(broken)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", signal.SIGTERM),
        ("SIGINT", signal.SIGINT),
        ("quit", signal.SIGQUIT),
        ("3", 3),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("SIGNOSUCH", signal.SIGTERM),
        ("SIG_IGN", signal.SIGTERM),
        ("999", signal.SIGTERM),
        ("0", signal.SIGTERM),
    ],
)
def test_stop_signals(text: str, number: int) -> None:
    assert stop_signal(text) == number


async def test_a_full_disk_is_said_and_ends_that_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node(tmp_path).up() as node:
        before, one = spec(), spec()
        await node.run(before)

        def full(path: Path, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        monkeypatch.setattr(journal, "_append", full)
        status = await node.run(one, "STOPPED")
        assert status.failure is not None and status.failure.code == "TaskFailedToStart"
        assert "No space left on device" in status.failure.reason
        node.sandbox(before).end("main", 3)
        status = await node.reached(before, "STOPPED")
        assert by_name(status)["main"].exit_code == 3, "what cannot be kept is reported all the same"
