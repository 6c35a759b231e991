"""A container's environment may hold secrets: its process has it, and no file of the machine does."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from tests.contracts.drivers.rig import Rig, ended, eventually, lines, shell


async def test_an_environment_is_given_and_not_written_down(rig: Rig) -> None:
    value = secrets.token_hex(16)
    script = 'test "$VALUE" && echo ready; sleep 60'
    sandbox = await rig.run(shell("c", script, environment=(("VALUE", value),)))
    await eventually(lambda: "ready" in lines(sandbox, "c"), "the container runs")
    os.sync()
    assert holding(rig.directory, value) == []
    seen = await sandbox.exec("c", ("sh", "-c", "tr '\\0' '\\n' < /proc/1/environ"), 30)
    assert f"VALUE={value}" in seen.output.decode().split("\n")


async def test_a_container_that_cannot_be_started_leaves_no_environment(rig: Rig) -> None:
    value = secrets.token_hex(16)
    sandbox = await rig.run(shell("first", "true"))
    await ended(sandbox, "first")
    broken = shell("c", "", command=("/etc/notexec",), environment=(("VALUE", value),))
    try:
        await sandbox.start(broken, rig.image())
    except Exception as error:
        assert value not in str(error)
    else:
        raise AssertionError("it was started")
    os.sync()
    assert holding(rig.directory, value) == []


def holding(directory: Path, value: str) -> list[Path]:
    """Files in which the value is. (Path.rglob fails on a directory that is removed meanwhile.)"""
    found = [Path(top, name) for top, _, names in os.walk(directory) for name in names]
    return [path for path in found if value.encode() in b"".join(_extents(path))]


def _extents(path: Path) -> Iterator[bytes]:
    """What a file really has on the disk: a sandbox's own disk is sparse, and large."""
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            end, place = os.fstat(file.fileno()).st_size, 0
            while place < end:
                place = os.lseek(file.fileno(), place, os.SEEK_DATA)
                hole = os.lseek(file.fileno(), place, os.SEEK_HOLE)
                yield os.pread(file.fileno(), hole - place, place)
                place = hole
    except OSError:
        return  # gone meanwhile, or nothing but a hole
