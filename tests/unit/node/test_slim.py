"""Programs without libraries that they never call: they start as before, and nothing else of them changes."""

import subprocess
from pathlib import Path

import pytest

from neargate.node.drivers.microvm import slim

CRUN, SYSTEMD = Path("/usr/bin/crun"), "libsystemd.so.0"


def _run(program: Path, *arguments: str) -> str:
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


def _library(program: Path, name: str) -> bytes:
    found = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return Path(next(line.split()[2] for line in found.splitlines() if name in line)).read_bytes()


def test_a_library_with_versions_is_left_out(tmp_path: Path) -> None:
    data = slim.without(CRUN.read_bytes(), SYSTEMD, _library(CRUN, SYSTEMD))
    program = tmp_path / "crun"
    program.write_bytes(data)
    program.chmod(0o755)
    assert SYSTEMD in _run(Path("/usr/bin/ldd"), str(CRUN))
    assert SYSTEMD not in _run(Path("/usr/bin/ldd"), str(program))
    assert _run(program, "--version") == _run(CRUN, "--version")
    assert len(data) == CRUN.stat().st_size


def test_what_is_not_needed_cannot_be_left_out() -> None:
    with pytest.raises(slim.SlimError, match=r"libz\.so\.1: the program does not need it"):
        slim.without(CRUN.read_bytes(), "libz.so.1", _library(CRUN, SYSTEMD))


def test_data_of_a_library_is_not_done_without() -> None:
    program = Path("/bin/sh").resolve()
    with pytest.raises(slim.SlimError, match="which is data"):
        slim.without(program.read_bytes(), "libc.so.6", _library(program, "libc.so.6"))
