"""botocore's source distribution, whose tests carry AWS's own vectors; the wheel has none of them.

Downloaded once per machine with pip, its hash checked, and kept in the user's cache.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

VERSION = "1.44.5"
"""The one pyproject.toml pins: models and vectors must be of one release."""
SHA256 = "a988f39e3a4484def0b8010f41128f71157da0515a4804fccce4739aa8f216da"
_NAME = f"botocore-{VERSION}"
_WANTED = (f"{_NAME}/tests/unit/protocols/", f"{_NAME}/tests/unit/auth/")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "neargate-tests"


@cache
def unpacked() -> Path:
    """The root of the unpacked distribution; only its vectors are kept."""
    cache = _cache()
    # The hash is part of the place, so that another one's vectors are never taken for these.
    place = cache / SHA256[:16] / _NAME
    if place.exists():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Test workers ask all at once; one of them downloads.
        if not place.exists():
            _fetch(cache, place)
    return place


def _fetch(cache: Path, place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache) as name:
        directory = Path(name)
        archive = _download(directory)
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != SHA256:
            raise AssertionError(f"{archive.name} has the SHA-256 {found}, not {SHA256}")
        with tarfile.open(archive) as tar:
            members = [member for member in tar if member.name.startswith(_WANTED)]
            tar.extractall(directory / "unpacked", members, filter="data")
        place.parent.mkdir(exist_ok=True)
        (directory / "unpacked" / _NAME).rename(place)  # Whole or not at all, should this be interrupted.


def _download(directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--no-binary", "botocore", f"botocore=={VERSION}", "--dest", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return directory / f"{_NAME}.tar.gz"
