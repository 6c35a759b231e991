"""What the process tier needs of this machine: tools, a runtime that works, forwarding. Called by
driver.py.
"""

import resource
import shutil
from pathlib import Path

from neargate.node import seccomp
from neargate.node.drivers.base import DriverUnavailable
from neargate.node.shim.birth import FIRST_BASE

INIT = "/usr/bin/tini-static"
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_STATUS, _NR_OPEN = Path("/proc/self/status"), Path("/proc/sys/fs/nr_open")
_CAP_SYS_RESOURCE = 1 << 24
_EXTRA = {"crun": ["--cgroup-manager=cgroupfs"], "runc": []}


def _where(tool: str) -> str | None:
    return shutil.which(tool, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def check_tools() -> None:
    if not _where("nft"):
        raise DriverUnavailable("process tier: nft is missing: apt-get install nftables")
    if not Path(INIT).exists():
        raise DriverUnavailable(f"process tier: {INIT} is missing: apt-get install tini")
    if not seccomp.PROFILE.exists():
        raise DriverUnavailable(
            f"process tier: {seccomp.PROFILE} is missing: apt-get install golang-github-containers-common"
        )


def candidates(runtime: str | None, user_namespaces: bool | None) -> list[tuple[str, bool]]:
    """(runtime, user namespaces) to try, best first. Raise DriverUnavailable if no runtime is installed."""
    # runc 1.1 cannot join a user namespace that somebody else made
    wishes = [("crun", True), ("crun", False), ("runc", False)]
    found = [
        (name, mapped) for name, mapped in wishes
        if runtime in (None, name) and user_namespaces in (None, mapped) and _where(name)
    ]  # fmt: skip
    if not found:
        raise DriverUnavailable("process tier: no OCI runtime here: apt-get install crun (or runc)")
    return found


def command(runtime: str) -> list[str]:
    return [_where(runtime) or runtime, *_EXTRA[runtime]]


def limits() -> dict[str, int]:
    """Hard resource limits that cannot be exceeded here, by RLIMIT_ name."""
    effective = next(line for line in _STATUS.read_text().splitlines() if line.startswith("CapEff"))
    if int(effective.split()[1], 16) & _CAP_SYS_RESOURCE:  # may raise all but this one
        return {"RLIMIT_NOFILE": int(_NR_OPEN.read_text())}
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    found = {name: resource.getrlimit(getattr(resource, name))[1] for name in names}
    return {name: hard for name, hard in found.items() if hard >= 0}


def uid_base(sandbox: str) -> int:
    """First of the 65536 ids that a sandbox's users are outside: spread by its id."""
    return FIRST_BASE + 65536 * (int(sandbox[:8], 16) % 16384)


def stage(root: Path) -> str:
    """A directory that every Linux has, used as a mount point in private namespaces only."""
    resolved = root.resolve()
    return next(p for p in ("/mnt", "/media", "/srv") if Path(p).is_dir() and not resolved.is_relative_to(p))


def enable_forwarding() -> None:
    if _FORWARD.read_text().strip() != "1":
        _FORWARD.write_text("1")
