"""Secrets and files of variables: fetched at each start, given to the driver, and written nowhere."""

from pathlib import Path

from neargate.model.sandbox import ContainerSpec, RestartPolicy
from tests.unit.node.rig import Node, by_name, container, eventually, spec

ARN = "arn:aws:s3:::config/x.env"


def with_secrets(**settings: object) -> ContainerSpec:
    return container(
        environment=(("PLAIN", "p"), ("BOTH", "environment")),
        secrets=(("PASSWORD", "/db/password"),),
        environment_files=(ARN,),
        **settings,
    )


async def test_a_container_is_given_all_and_nothing_is_written(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        node.cell.values["/db/password"] = "hunter2"
        node.cell.files[ARN] = b"# of the file\nBOTH=file\nMORE=hunter3\n"
        one = spec(with_secrets())
        await node.run(one)
        assert dict(node.sandbox(one).given("main").environment) == {
            "PLAIN": "p", "BOTH": "environment", "MORE": "hunter3", "PASSWORD": "hunter2",
        }  # fmt: skip
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or b"hunter" not in path.read_bytes(), path
        assert all("hunter" not in repr(status) for status in node.cell.reports)


async def test_a_container_started_again_is_given_the_value_of_then(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        node.cell.values["/db/password"] = "old"
        node.cell.files[ARN] = b""
        one = spec(with_secrets(restart=RestartPolicy(attempt_period=0.0)))
        await node.run(one)
        node.cell.values["/db/password"] = "new"
        sandbox = node.sandbox(one)
        sandbox.end("main", 1)
        await eventually(lambda: len(sandbox.started) == 2, "started again")
        assert dict(sandbox.given("main").environment)["PASSWORD"] == "new"
        del node.cell.values["/db/password"]
        sandbox.end("main", 1)
        status = await node.reached(one, "STOPPED")
        reason = by_name(status)["main"].reason or ""
        assert reason.startswith("ResourceInitializationError: unable to pull secrets or registry auth: ")


async def test_after_a_restart_of_the_daemon_they_are_fetched_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.cell.values["/db/password"] = "old"
    node.cell.files[ARN] = b"MORE=1"
    one = spec(with_secrets(restart=RestartPolicy(attempt_period=0.0)))
    async with node.up():
        await node.run(one)
    node.cell.values["/db/password"] = "new"
    async with node.up():
        sandbox = node.sandbox(one)
        sandbox.end("main", 1)
        await eventually(lambda: len(sandbox.started) == 2, "started again")
        given = dict(sandbox.given("main").environment)
        assert (given["PASSWORD"], given["MORE"]) == ("new", "1")


async def test_a_missing_secret_ends_the_task_before_anything_starts(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        node.cell.files[ARN] = b""
        one = spec(container("first"), with_secrets())
        status = await node.run(one, "STOPPED")
        assert status.failure is not None and status.failure.code == "TaskFailedToStart"
        assert status.failure.reason == (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
            "retrieval failed: unable to retrieve secrets from ssm: invalid ssm parameters: /db/password"
        )
        assert all(c.started_at is None for c in status.containers)
        await node.gone(one)


async def test_an_environment_file_that_cannot_be_had(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        for data in (None, b"A=\xff"):
            if data is not None:
                node.cell.files[ARN] = data
            one = spec(container(environment_files=(ARN,)))
            status = await node.run(one, "STOPPED")
            assert status.failure is not None
            assert status.failure.reason.startswith(
                "ResourceInitializationError: failed to download env files: file download command: non empty"
                f" error stream: {ARN}: " + ("NoSuchKey: " if data is None else "it is not UTF-8 text")
            )


async def test_a_value_that_no_process_can_be_given(tmp_path: Path) -> None:
    async with Node(tmp_path).up() as node:
        node.cell.values["s"] = "hunter\0two"
        one = spec(container(secrets=(("PASSWORD", "s"),)))
        status = await node.run(one, "STOPPED")
        assert status.failure is not None
        assert "'PASSWORD' has a NUL" in status.failure.reason and "hunter" not in status.failure.reason
