"""`neargate doctor`: checks each component that tasks need and says the command that mends what is wrong."""

import json
import os
import platform
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import typer
from rich.text import Text

from neargate.cli import client, output
from neargate.cli.daemon import DataDir, Json
from neargate.kit import kvm
from neargate.kit.settings import Settings

_MICROVM_CACHE = Path("/var/cache/neargate/microvm")
_VERDICT = _MICROVM_CACHE / "kvm.json"
_FIRECRACKER_VERDICT = _MICROVM_CACHE / "firecracker.json"


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    ok: bool
    detail: str
    mend: str = ""
    """The command, or what to do; empty when all is well."""
    needed: bool = True
    """False: neargate works without it."""


def _tool(name: str, package: str, *, needed: bool = True, version: str = "--version") -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(name, False, "not installed", f"apt-get install -y {package}", needed)
    done = subprocess.run([path, version], capture_output=True, text=True)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return Finding(name, True, lines[0] if lines else path)


def _root() -> Finding:
    ok = os.geteuid() == 0
    return Finding("root", ok, f"uid {os.geteuid()}", "" if ok else "run neargate with sudo")


def _kernel() -> Finding:
    release = platform.release()
    major, minor = (int(part) for part in release.split(".")[:2])
    ok = (major, minor) >= (5, 11)
    return Finding("kernel", ok, release, "" if ok else "use a kernel of 5.11 or newer (overlay, idmaps)")


def _runtime() -> Finding:
    found = [name for name in ("crun", "runc") if shutil.which(name)]
    if found:
        return Finding("OCI runtime", True, ", ".join(found))
    return Finding("OCI runtime", False, "neither crun nor runc", "apt-get install -y crun")


def _kvm() -> Finding:
    """What a daemon found when it booted a guest; else whether the kernel runs a guest of a few bytes."""
    detail = "it boots guests: tasks get virtual machines"
    try:
        cause = json.loads(_VERDICT.read_text())["cause"] or None
    except (OSError, ValueError, KeyError):
        cause, detail = kvm.failure(), "it runs a guest of a few bytes; a daemon's start boots a real one"
    if cause is None:
        return Finding("KVM", True, detail, needed=False)
    mend = "tasks get the gvisor or process tier; `--isolation microvm` emulates in software"
    return Finding("KVM", False, f"boots no guest: {cause}", mend, needed=False)


def _firecracker() -> Finding:
    """Why microVMs run in it, or in QEMU."""
    name = "Firecracker"
    missing = [tool for tool in ("firecracker", "jailer") if shutil.which(tool) is None]
    if missing:
        mend = "microVMs run in QEMU; put both programs of a release (1.16.1 or later) on PATH"
        return Finding(name, False, f"not installed: {', '.join(missing)}", mend, needed=False)
    wish = Settings.load().microvm_vmm
    if wish == "qemu":
        detail = "here, but NEARGATE_MICROVM_VMM=qemu"
        return Finding(name, False, detail, "microVMs run in QEMU", needed=False)
    try:
        cause = json.loads(_FIRECRACKER_VERDICT.read_text())["cause"] or None
    except (OSError, ValueError, KeyError):
        if (cause := kvm.failure()) is None:
            return Finding(name, True, "here; a daemon's start boots a guest in it", needed=False)
    if cause is None:
        return Finding(name, True, "it boots guests: microVMs run in it", needed=False)
    demanded = wish == "firecracker"
    mend = "no microVMs: NEARGATE_MICROVM_VMM=firecracker" if demanded else "microVMs run in QEMU"
    return Finding(name, False, f"boots no guest: {cause}", mend, needed=False)


def _guest_kernel() -> Finding:
    places = ("/var/lib/neargate-guest-kernel/boot", "/boot")
    found = [k for place in places for k in Path(place).glob("vmlinuz-*-cloud-amd64")]
    if found:
        return Finding("guest kernel", True, str(found[0]), needed=False)
    return Finding(
        "guest kernel", False, "none for microVMs", "scripts/system-packages.sh microvm", needed=False
    )


def _gvisor(place: Path) -> Finding:
    """runsc, and what the daemon's try of it found (it keeps that for as long as kernel and runsc stay)."""
    found = _tool("runsc", "runsc", needed=False)
    try:
        kept = json.loads((place / "gvisor/verdict.json").read_text())
        platform, cause = str(kept["platform"]), str(kept["cause"])
    except (OSError, ValueError, KeyError, TypeError):
        return found  # no daemon has tried yet
    if not found.ok or platform:
        return replace(found, detail=f"{found.detail}, platform {platform}" if found.ok else found.detail)
    mend = f"remove {place}/gvisor/verdict.json and start the daemon to have it tried again"
    return Finding("runsc", False, f"runs no sandbox here: {cause}", mend, needed=False)


def _file_system(name: str) -> Finding:
    known = Path("/proc/filesystems").read_text().split()
    if name in known or subprocess.run(["modprobe", "-q", name]).returncode == 0:
        return Finding(f"file system {name}", True, "in the kernel")
    return Finding(
        f"file system {name}", False, "not in the kernel", f"load a kernel with CONFIG_{name.upper()}_FS"
    )


def _loop_devices() -> Finding:
    if Path("/dev/loop-control").exists() or subprocess.run(["modprobe", "-q", "loop"]).returncode == 0:
        return Finding("loop devices", True, "ephemeral storage is on them")
    return Finding(
        "loop devices", False, "/dev/loop-control missing", "load a kernel with CONFIG_BLK_DEV_LOOP"
    )


def _cgroups() -> Finding:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        missing = {"cpu", "memory", "pids"} - set(
            Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
        )
        detail = "version 2"
    else:
        missing = {name for name in ("cpu", "memory", "pids") if not Path(f"/sys/fs/cgroup/{name}").is_dir()}
        detail = "version 1" + (", hybrid" if Path("/sys/fs/cgroup/unified").exists() else "")
    if missing:
        return Finding(
            "cgroups", False, f"{detail}, without {', '.join(sorted(missing))}", "mount the controllers"
        )
    return Finding("cgroups", True, detail)


def _seccomp() -> Finding:
    profile = Path("/usr/share/containers/seccomp.json")
    if profile.exists():
        return Finding("seccomp profile", True, str(profile))
    return Finding(
        "seccomp profile", False, f"{profile} missing", "apt-get install -y golang-github-containers-common"
    )


def _sqlite() -> Finding:
    ok = sqlite3.sqlite_version_info >= (3, 35)
    return Finding(
        "SQLite", ok, sqlite3.sqlite_version, "" if ok else "use a Python with SQLite 3.35 or newer"
    )


def _disk(place: Path) -> Finding:
    at = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(at).free / 2**30
    ok = free >= 2
    return Finding(
        "disk", ok, f"{free:.1f} GiB free at {at}", "" if ok else "free some space, or use --data-dir"
    )


def _daemon(place: Path) -> Finding:
    info = client.find(place)
    detail = f"{info.endpoint}, pid {info.pid}, {info.isolation}" if info else f"not running on {place}"
    return Finding("daemon", info is not None, detail, "" if info else "neargate up", needed=False)


def findings(place: Path) -> list[Finding]:
    checks: list[Callable[[], Finding]] = [
        _root,
        _kernel,
        _runtime,
        lambda: _gvisor(place),
        lambda: _tool("qemu-system-x86_64", "qemu-system-x86", needed=False),
        _guest_kernel,
        _kvm,
        _firecracker,
        lambda: _tool("nft", "nftables"),
        lambda: _tool("mkfs.ext4", "e2fsprogs", version="-V"),
        _loop_devices,
        lambda: _tool("mkfs.erofs", "erofs-utils"),
        lambda: _tool("tini-static", "tini"),
        lambda: _file_system("erofs"),
        lambda: _file_system("overlay"),
        _cgroups,
        _seccomp,
        _sqlite,
        lambda: _disk(place),
        lambda: _tool("skopeo", "skopeo", needed=False),
        lambda: _daemon(place),
    ]
    return [check() for check in checks]


def doctor(directory: DataDir = None, as_json: Json = False) -> None:
    """Check each component; exit status 1 if one that is needed is missing."""
    found = findings(client.data_dir(directory))
    rows = [
        (
            Text("ok", "green") if f.ok else Text("missing", "red") if f.needed else Text("off", "yellow"),
            f.name,
            f.detail,
            f.mend,
        )
        for f in found
    ]
    document = [
        {"name": f.name, "ok": f.ok, "detail": f.detail, "mend": f.mend, "needed": f.needed} for f in found
    ]
    output.emit(as_json, document, output.table(None, ("", "COMPONENT", "FOUND", "TO MEND IT"), rows))
    if any(f.needed and not f.ok for f in found):
        raise typer.Exit(1)
