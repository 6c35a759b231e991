"""What the process tier needs of this machine: tools, a runtime that works, forwarding. Called by
driver.py.
"""

import asyncio
import shutil
from pathlib import Path

from neargate.node import seccomp
from neargate.node.drivers.base import DriverUnavailable

INIT = "/usr/bin/tini-static"
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_EXTRA = {"crun": ["--cgroup-manager=cgroupfs"], "runc": []}


def _where(tool: str) -> str | None:
    return shutil.which(tool, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def check_tools() -> None:
    if not _where("nft"):
        raise DriverUnavailable("process tier: nft is missing: apt-get install nftables")
    if not seccomp.PROFILE.exists():
        raise DriverUnavailable(
            f"process tier: {seccomp.PROFILE} is missing: apt-get install golang-github-containers-common"
        )


async def choose_runtime(wanted: str | None) -> str:
    """The first of crun and runc that answers. Raise DriverUnavailable."""
    for name in (wanted,) if wanted else ("crun", "runc"):
        path = _where(name)
        if not path:
            continue
        process = await asyncio.create_subprocess_exec(
            path, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        out, _ = await process.communicate()
        if process.returncode == 0 and (name != "crun" or b"+SECCOMP" in out):
            return name
    raise DriverUnavailable("process tier: no OCI runtime works here: apt-get install crun (or runc)")


def command(runtime: str) -> list[str]:
    return [_where(runtime) or runtime, *_EXTRA[runtime]]


def enable_forwarding() -> None:
    if _FORWARD.read_text().strip() != "1":
        _FORWARD.write_text("1")
