"""The OCI runtimes of the process tier here. Called by driver.py."""

from neargate.node.drivers.base import DriverUnavailable
from neargate.node.shimmed.machine import where

_EXTRA = {"crun": ["--cgroup-manager=cgroupfs"], "runc": []}


def candidates(runtime: str | None, user_namespaces: bool | None) -> list[tuple[str, bool]]:
    """(runtime, user namespaces) to try, best first. Raise DriverUnavailable if no runtime is installed."""
    # runc 1.1 cannot join a user namespace that somebody else made
    wishes = [("crun", True), ("crun", False), ("runc", False)]
    found = [
        (name, mapped) for name, mapped in wishes
        if runtime in (None, name) and user_namespaces in (None, mapped) and where(name)
    ]  # fmt: skip
    if not found:
        raise DriverUnavailable("process tier: no OCI runtime here: apt-get install crun (or runc)")
    return found


def command(runtime: str) -> list[str]:
    return [where(runtime) or runtime, *_EXTRA[runtime]]
