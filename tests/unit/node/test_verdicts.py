"""What a probe found is kept where several daemons write it."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from neargate.node.drivers.gvisor import verdict as gvisor
from neargate.node.drivers.microvm import verdict as microvm


def _write_gvisor(path: Path) -> None:
    gvisor.write(path, "key", gvisor.Verdict("systrap"))


def _write_microvm(path: Path) -> None:
    microvm.write(path, "key", "none here")


def _again_and_again(write: Callable[[Path], None], path: Path) -> None:
    for _ in range(300):
        write(path)


@pytest.mark.parametrize("write", [_write_gvisor, _write_microvm])
def test_daemons_that_write_at_once_do_not_hinder_each_other(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "verdict.json"
    forks = multiprocessing.get_context("fork")
    writers = [forks.Process(target=_again_and_again, args=(write, path)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]
    assert gvisor.read(path, "key") == gvisor.Verdict("systrap") or microvm.read(path, "key") == "none here"
