"""What the probe of runsc found on this machine, kept so that a daemon's next start need not try again.

Called by driver.py. It holds for one kernel and one version of runsc.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Verdict:
    platform: str
    """Empty: none works."""
    cause: str = ""
    """Why none does."""


def key(runsc_version: str) -> str:
    kernel = os.uname()
    return f"{kernel.release} {kernel.version} / {runsc_version}"


def read(path: Path, key: str) -> Verdict | None:
    try:
        kept = json.loads(path.read_text())
        return Verdict(str(kept["platform"]), str(kept["cause"])) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, key: str, verdict: Verdict) -> None:
    draft = path.with_suffix(f".{os.getpid()}.new")  # other daemons may be about it, too
    draft.write_text(json.dumps({"key": key, **asdict(verdict)}))
    draft.replace(path)
