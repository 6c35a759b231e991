"""runsc on this machine: where it is, its version and platforms, and the options that every call gets.

Called by driver.py. The options are runsc's own defaults where those are the closed ones, said all the same:
no host sockets, no host pipes, files only through the gofer, the network stack inside.
"""

import itertools
import subprocess
from pathlib import Path

from neargate.node.drivers.base import DriverUnavailable
from neargate.node.shimmed.machine import where

BUSYBOX = Path("/bin/busybox")
_OPTIONS = (
    "--network=sandbox",
    "--host-uds=none",
    "--host-fifo=none",
    "--file-access=exclusive",
    "--file-access-mounts=shared",
    "--overlay2=none",  # the root is an overlay of the host's already: ephemeral storage counts it
    "--net-raw",  # NET_RAW is among Docker's capabilities; sources are checked on the host's side of the link
    "--rootless=false",
    "--ignore-cgroups",  # the shim puts it into the task's group: runsc's moves there and back wait 20 ms
    "--watchdog-action=log",
)
_PLATFORMS = ("systrap", "kvm", "ptrace")


def check_tools() -> None:
    """Raise DriverUnavailable with what to install."""
    if not where("runsc"):
        raise DriverUnavailable("gvisor tier: runsc is missing: apt-get install runsc")
    if not BUSYBOX.exists():
        raise DriverUnavailable(f"gvisor tier: {BUSYBOX} is missing: apt-get install busybox-static")


def command(platform: str, *, sockets: bool = False) -> list[str]:
    """sockets -- containers may make sockets that this machine can connect to, on files of the sandbox's own.
    They connect to none of this machine's either way.
    """
    options = [option for option in _OPTIONS if not (sockets and option.startswith("--host-uds="))]
    more = ["--host-uds=create"] if sockets else []
    return [where("runsc") or "runsc", f"--platform={platform}", *options, *more]


def version() -> str:
    """Raise DriverUnavailable if it does not start."""
    return _say("--version").partition("\n")[0].removeprefix("runsc version ")


def platforms(wish: str | None = None) -> list[str]:
    """What this version of runsc has and this machine might do, best first."""
    known = " ".join(_platform_help(_say("flags")))
    return [
        name for name in _PLATFORMS
        if name in known and wish in (None, name) and (name != "kvm" or Path("/dev/kvm").exists())
    ]  # fmt: skip


def _platform_help(flags: str) -> list[str]:
    """The text under `-platform` in what `runsc flags` says."""
    lines = flags.splitlines()
    return [text for name, text in itertools.pairwise(lines) if name.split()[:1] == ["-platform"]]


def _say(*arguments: str) -> str:
    try:
        command = [where("runsc") or "runsc", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise DriverUnavailable(f"gvisor tier: {error}") from error
    return done.stdout + done.stderr  # `flags` is told to the latter
