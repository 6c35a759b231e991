"""What `doctor` says of runsc: there or not, and what the daemon's try of it found."""

import json
from pathlib import Path

import pytest

from neargate.cli import doctor

THERE = doctor.Finding("runsc", True, "runsc version 1")
MISSING = doctor.Finding("runsc", False, "not installed", "apt-get install -y runsc", needed=False)


@pytest.mark.parametrize(
    ("tool", "kept", "ok", "detail"),
    [
        (THERE, None, True, "runsc version 1"),
        (THERE, {"platform": "ptrace", "cause": ""}, True, "runsc version 1, platform ptrace"),
        (THERE, {"platform": "", "cause": "ptrace: hangs"}, False, "runs no sandbox here: ptrace: hangs"),
        (THERE, {"another": "file"}, True, "runsc version 1"),
        (MISSING, {"platform": "ptrace", "cause": ""}, False, "not installed"),
    ],
)
def test_runsc(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tool: doctor.Finding,
    kept: dict[str, str] | None,
    ok: bool,
    detail: str,
) -> None:
    monkeypatch.setattr(doctor, "_tool", lambda *arguments, **options: tool)
    if kept is not None:
        (tmp_path / "gvisor").mkdir()
        (tmp_path / "gvisor/verdict.json").write_text(json.dumps(kept))
    found = doctor._gvisor(tmp_path)
    assert (found.name, found.ok, found.detail) == ("runsc", ok, detail)
    assert found.ok or found.mend
    assert found.ok or not found.needed
