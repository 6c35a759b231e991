"""For programs that run as nobody in particular: pytest's directories are root's alone."""

from pathlib import Path


def reachable(directory: Path) -> Path:
    """Let everybody pass through a directory of a test, and through those above it."""
    for part in (directory, *directory.parents):
        mode = part.stat().st_mode
        if mode & 0o011 != 0o011:
            part.chmod(mode | 0o011)
    return directory
