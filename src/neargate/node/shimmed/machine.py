"""What every tier of shims needs of this machine: tools, forwarding, the limits that cannot be exceeded.

Called by driver.py and the tiers.
"""

import resource
import shutil
from pathlib import Path

from neargate.node import seccomp
from neargate.node.drivers.base import DriverUnavailable

INIT = "/usr/bin/tini-static"
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_STATUS, _NR_OPEN = Path("/proc/self/status"), Path("/proc/sys/fs/nr_open")
_CAP_SYS_RESOURCE = 1 << 24


def where(tool: str) -> str | None:
    return shutil.which(tool, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def check_tools() -> None:
    """Raise DriverUnavailable with what to install."""
    if not where("nft"):
        raise DriverUnavailable("nft is missing: apt-get install nftables")
    if not Path(INIT).exists():
        raise DriverUnavailable(f"{INIT} is missing: apt-get install tini")
    if not seccomp.PROFILE.exists():
        raise DriverUnavailable(
            f"{seccomp.PROFILE} is missing: apt-get install golang-github-containers-common"
        )


def limits() -> dict[str, int]:
    """Hard resource limits that cannot be exceeded here, by RLIMIT_ name."""
    effective = next(line for line in _STATUS.read_text().splitlines() if line.startswith("CapEff"))
    if int(effective.split()[1], 16) & _CAP_SYS_RESOURCE:  # may raise all but this one
        return {"RLIMIT_NOFILE": int(_NR_OPEN.read_text())}
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    found = {name: resource.getrlimit(getattr(resource, name))[1] for name in names}
    return {name: hard for name, hard in found.items() if hard >= 0}


def stage(root: Path) -> str:
    """A directory that every Linux has, used as a mount point in private namespaces only."""
    resolved = root.resolve()
    return next(p for p in ("/mnt", "/media", "/srv") if Path(p).is_dir() and not resolved.is_relative_to(p))


def enable_forwarding() -> None:
    if _FORWARD.read_text().strip() != "1":
        _FORWARD.write_text("1")
