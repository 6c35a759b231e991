"""One container made and ended before the template is frozen, so that what a first run brings into memory
(the runtime's pages, kernel modules, slabs) is there in every clone. Called by agent.py.
"""

import json
import os
import subprocess
import sys

from neargate.node.shim import files, kernel

_HERE = "/run/rehearsal"


def run() -> None:
    for part in ("upper", "work", "root"):
        os.makedirs(f"{_HERE}/{part}")
    options = f"lowerdir=/usr/lib/rehearsal,upperdir={_HERE}/upper,workdir={_HERE}/work"
    kernel.mount("overlay", f"{_HERE}/root", "overlay", 0, options)
    files.write(f"{_HERE}/config.json", json.dumps(_config()))
    runtime = ["/usr/bin/crun", "--cgroup-manager=cgroupfs", "--root", f"{_HERE}/rt"]
    done = subprocess.run([*runtime, "run", "--bundle", _HERE, "rehearsal"], capture_output=True)
    if done.returncode:
        sys.stderr.write(f"rehearsal: {done.stderr.decode(errors='replace')}\n")
    kernel.umount(f"{_HERE}/root")
    files.remove_tree(_HERE)


def _config() -> dict[str, object]:
    def mount(target: str, kind: str, *options: str) -> dict[str, object]:
        return {"destination": target, "type": kind, "source": kind, "options": ["nosuid", *options]}

    kinds = ("pid", "ipc", "uts", "mount", "cgroup")
    return {
        "ociVersion": "1.0.2",
        "process": {"args": ["/busybox", "true"], "cwd": "/", "env": [], "user": {"uid": 0, "gid": 0}},
        "root": {"path": f"{_HERE}/root"},
        "mounts": [
            mount("/proc", "proc"), mount("/dev", "tmpfs", "mode=755"), mount("/dev/mqueue", "mqueue"),
            mount("/dev/pts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620"),
            mount("/sys", "sysfs", "ro"), mount("/sys/fs/cgroup", "cgroup", "ro"),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "cgroupsPath": "/neargate/rehearsal",
            "resources": {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 64}},
        },
    }  # fmt: skip
