"""The fake driver keeps the promises of drivers/base that others rely on in their tests."""

import asyncio
from pathlib import Path

import pytest

from neargate.node.drivers.base import DriverError
from neargate.node.drivers.fake import FakeDriver, FakeImages, words
from neargate.node.spool_reader import Place, read_spool
from neargate.oci.errors import ImageError
from tests.unit.node.rig import container, sink, spec


@pytest.mark.parametrize(
    ("image", "command", "does"),
    [
        ("busybox", None, {"busybox"}),
        ("r.test/exit-3:latest", None, {"r.test", "exit-3", "latest"}),
        ("web:stubborn", ("serve", "now"), {"web", "stubborn", "serve"}),
        ("web", ("exit", "9"), {"web", "exit-9"}),
        ("web", ("exit",), {"web", "exit-0"}),
        ("web@sha256:00", None, {"web"}),
    ],
)
def test_what_a_container_is_to_do(image: str, command: tuple[str, ...] | None, does: set[str]) -> None:
    assert words(container(image=image, command=command)) == does


async def test_states_are_told_and_kept(tmp_path: Path) -> None:
    driver, images = FakeDriver(), FakeImages()
    main = container(image="exit-3", log=sink())
    one = spec(main, container("other"))
    image = await images.pull(one, main)
    sandbox = await driver.open(one, tmp_path)
    told: list[int | None] = []
    sandbox.watch(lambda: told.append(sandbox.states["main"].exit_code))
    await sandbox.start(main, image)
    await sandbox.start(one.containers[1], image)
    with pytest.raises(DriverError, match="running already"):
        await sandbox.start(one.containers[1], image)
    for _ in range(3):
        await asyncio.sleep(0)
    assert told[-1] == 3 and not sandbox.states["main"].running
    await sandbox.start(main, image)
    assert (sandbox.states["main"].running, sandbox.states["main"].restarts) == (True, 1)
    assert await driver.adopt(one, tmp_path) is sandbox
    await driver.sweep([])
    assert not sandbox.states["other"].running
    assert await driver.adopt(one, tmp_path) is None
    with pytest.raises(DriverError, match="gone"):
        await sandbox.start(main, image)


async def test_lines_are_in_the_spool_whose_end_is_marked(tmp_path: Path) -> None:
    driver = FakeDriver()
    main = container(command=("echo", "two", "words"), log=sink())
    sandbox = await driver.open(spec(main), tmp_path)
    await sandbox.start(main, await FakeImages().pull(sandbox.spec, main))
    await asyncio.sleep(0.001)
    part = read_spool(sandbox.spool("main"), Place())
    assert ([event.message for event in part.events], part.ended) == (["two words"], True)


async def test_refusals(tmp_path: Path) -> None:
    driver, images = FakeDriver(), FakeImages()
    one = spec(container(image="nopull"))
    with pytest.raises(ImageError, match="not found"):
        await images.pull(one, one.containers[0])
    driver.refuse = "not today"
    with pytest.raises(DriverError, match="not today"):
        await driver.open(one, tmp_path)
