"""What the probe of KVM found on this machine, kept so that no later start need try again. `neargate doctor`
reads the same file.

Called by driver.py. It holds for one kernel and one guest image.
"""

import json
import os
from pathlib import Path


def read(path: Path, key: str) -> str | None:
    """Why KVM boots no guest, empty if it does; None if it is not known."""
    try:
        kept = json.loads(path.read_text())
        return str(kept["cause"]) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, key: str, cause: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(f".{os.getpid()}.new")  # other daemons may be about it, too
    draft.write_text(json.dumps({"key": key, "cause": cause}))
    draft.replace(path)
