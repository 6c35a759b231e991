"""The short name of a daemon, carried by everything that it makes on the machine.

Called by main and node/select: several daemons of one machine tell their things apart by it.
"""

import hashlib
from pathlib import Path


def instance_of(data_dir: Path) -> str:
    """Six hexadecimal digits, always the same for one data directory."""
    return hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:6]
