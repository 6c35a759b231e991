"""What `doctor` says of Firecracker: there or not, wanted or not, and what the daemon's try of it found."""

import json
from pathlib import Path

import pytest

from neargate.cli import doctor

BOTH = ("firecracker", "jailer")


@pytest.mark.parametrize(
    ("tools", "wish", "kept", "kvm", "ok", "detail", "mend"),
    [
        ((), "auto", None, None, False, "not installed: firecracker, jailer", "1.16.1"),
        (("firecracker",), "auto", None, None, False, "not installed: jailer", "microVMs run in QEMU"),
        (BOTH, "auto", {"cause": ""}, "-", True, "it boots guests", ""),
        (BOTH, "auto", {"cause": "hangs"}, None, False, "no guest: hangs", "run in QEMU"),
        (BOTH, "auto", None, None, True, "a daemon's start boots a guest", ""),
        (BOTH, "auto", None, "no /dev/kvm", False, "no guest: no /dev/kvm", "run in QEMU"),
        (BOTH, "firecracker", None, "no /dev/kvm", False, "no /dev/kvm", "no microVMs"),
        (BOTH, "qemu", {"cause": ""}, None, False, "NEARGATE_MICROVM_VMM=qemu", "QEMU"),
        (BOTH, "auto", {"another": "file"}, None, True, "a daemon's start boots", ""),
    ],
)  # fmt: skip
def test_firecracker(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tools: tuple[str, ...],
    wish: str,
    kept: dict[str, str] | None,
    kvm: str | None,
    ok: bool,
    detail: str,
    mend: str,
) -> None:
    for name in tools:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("NEARGATE_MICROVM_VMM", wish)
    monkeypatch.setattr(doctor, "_FIRECRACKER_VERDICT", tmp_path / "firecracker.json")
    monkeypatch.setattr("neargate.kit.kvm.failure", lambda: kvm)
    if kept is not None:
        (tmp_path / "firecracker.json").write_text(json.dumps(kept))
    found = doctor._firecracker()
    assert (found.name, found.ok, found.needed) == ("Firecracker", ok, False)
    assert detail in found.detail and mend in found.mend
