"""The default seccomp profile, compiled once per set of capabilities.

Called by drivers/process. The profile is Docker's as Debian ships it; compiling it costs crun 13.5 ms at each
start, so crun gets the finished filter in an annotation. runc takes the JSON form.
"""

import base64
import errno
import functools
import json
import platform
import struct
import tempfile
from pathlib import Path
from typing import Any

PROFILE = Path("/usr/share/containers/seccomp.json")
# Debian's profile is podman's, which lets a container make namespaces and mounts of its own (for
# rootless podman in podman). Docker's, and so Fargate's, does not without CAP_SYS_ADMIN; nor do
# keyrings, which are not namespaced.
_NAMESPACES = frozenset(
    (
        "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
        "pivot_root", "setns", "umount", "umount2", "unshare", "clone", "clone3",
    )
)  # fmt: skip
_NEVER = frozenset(("add_key", "keyctl", "request_key", "pidfd_getfd"))
_CLONE_NEW_ANY = 0x7E020000
_AF_VSOCK = 40
_I386, _SOCKETCALL, _MAKE = 0x40000003, 102, 1
_SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Of the machine: its architecture's number, and that of its call `socket`."""
_X32 = 0x40000000
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16
"""Places in what a filter is shown of a system call."""
_BINARY_TREE = 2
"""How libseccomp is to look for a call's rule. One after the other, a filter's loading (where the kernel asks
it about each call there is) takes twenty times as many steps."""
_REFUSE = 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@functools.cache
def _profile() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(PROFILE.read_text())
    return document


def _applies(rule: dict[str, Any], capabilities: frozenset[str], architecture: str) -> bool:
    wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
    if wanted.get("arches") and architecture not in wanted["arches"]:
        return False
    if not set(wanted.get("caps") or ()) <= capabilities:
        return False
    return architecture not in (unwanted.get("arches") or ()) and not (
        set(unwanted.get("caps") or ()) & capabilities
    )


def _as_docker(capabilities: frozenset[str]) -> list[dict[str, Any]]:
    """Rules in which Docker's profile differs; they take their calls out of the file's."""
    refuse: dict[str, Any] = {"action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM}
    # a virtual machine's vsock leads to its host, past every network namespace
    vsock = {"index": 0, "value": _AF_VSOCK, "op": "SCMP_CMP_NE"}
    rules: list[dict[str, Any]] = [
        {"names": sorted(_NEVER), **refuse},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [vsock]},
    ]
    if "CAP_SYSLOG" not in capabilities:  # the machine's log is not namespaced
        rules.append({"names": ["syslog"], **refuse})
    if "CAP_SYS_ADMIN" not in capabilities:
        plain = {"index": 0, "value": _CLONE_NEW_ANY, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
        rules += [
            {"names": sorted(_NAMESPACES - {"clone", "clone3"}), **refuse},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [plain]},
            # its flags are in memory, where no filter sees them; ENOSYS makes libraries fall back to clone
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
        ]
    return rules


@functools.cache
def oci_profile(capabilities: frozenset[str]) -> dict[str, Any]:
    """OCI `linux.seccomp` for these capabilities (CAP_ names)."""
    profile, machine = _profile(), platform.machine()
    architecture = _ARCHITECTURES.get(machine, machine)
    rules = _as_docker(capabilities)
    taken = {name for rule in rules for name in rule["names"]}
    for rule in profile["syscalls"]:
        if not _applies(rule, capabilities, architecture):
            continue
        entry = {"names": [n for n in rule["names"] if n not in taken], "action": rule["action"]}
        if not entry["names"]:
            continue
        if rule.get("args"):
            entry["args"] = [{k: v for k, v in arg.items() if k != "comment"} for arg in rule["args"]]
        if rule.get("errnoRet") is not None:
            entry["errnoRet"] = rule["errnoRet"]
        rules.append(entry)
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet", errno.EPERM),
        # no 32-bit programs: see _without_sockets, which this form cannot say
        "architectures": [f"SCMP_ARCH_{machine.upper()}"],
        "syscalls": rules,
    }


def _architectures() -> list[str]:
    """The machine's own, and those whose programs it runs besides."""
    own = f"SCMP_ARCH_{platform.machine().upper()}"
    families = [m for m in _profile()["archMap"] if m["architecture"] == own]
    return [a for m in families for a in (m["architecture"], *(m.get("subArchitectures") or ()))] or [own]


@functools.cache
def bpf(capabilities: frozenset[str]) -> str:
    """The same as base64 of a BPF program, for `run.oci.seccomp_bpf_data`."""
    import pyseccomp  # loads libseccomp: only where the tier really runs

    profile = oci_profile(capabilities)
    actions = {"SCMP_ACT_ALLOW": pyseccomp.ALLOW, "SCMP_ACT_KILL": pyseccomp.KILL}

    def action(entry: dict[str, Any], code: int) -> int:
        found = actions.get(entry["action"])
        return int(pyseccomp.ERRNO(entry.get("errnoRet", code)) if found is None else found)

    program = pyseccomp.SyscallFilter(pyseccomp.ERRNO(profile["defaultErrnoRet"]))
    program.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    for name in _architectures():
        arch = getattr(pyseccomp.Arch, name.removeprefix("SCMP_ARCH_"))
        if not program.exist_arch(arch):
            program.add_arch(arch)
    for rule in profile["syscalls"]:
        for name in rule["names"]:
            _add(pyseccomp, program, rule, name, action(rule, errno.EPERM))
    with tempfile.TemporaryFile() as out:
        program.export_bpf(out)
        out.seek(0)
        return base64.b64encode(_without_sockets() + out.read()).decode()


def _without_sockets() -> bytes:
    """What a program begins with, as libseccomp cannot say it.

    32-bit programs make no socket by `socketcall`, whose family is in memory, where no filter sees it. (They
    have `socket`, too; but where one is allowed in part, libseccomp allows the other.) Others make no vsock
    with anything in the upper half of the family either, of which the kernel takes the lower.
    """
    own, socket = _SOCKET.get(platform.machine(), (0, 0))
    steps = (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 0, 5, _I386),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_EQUAL, 0, 10, _SOCKETCALL),
        (_LOAD, 0, 0, _ARGUMENT),
        (_IF_EQUAL, 0, 8, _MAKE),
        (_RETURN, 0, 0, _REFUSE),
        (_IF_EQUAL, 0, 6, own),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_EQUAL, 1, 0, socket),
        (_IF_EQUAL, 0, 3, _X32 | socket),
        (_LOAD, 0, 0, _ARGUMENT),
        (_IF_EQUAL, 0, 1, _AF_VSOCK),
        (_RETURN, 0, 0, _UNKNOWN),
    )
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _add(library: Any, program: Any, rule: dict[str, Any], name: str, action: int) -> None:
    operators = {
        "SCMP_CMP_EQ": library.EQ,
        "SCMP_CMP_NE": library.NE,
        "SCMP_CMP_GT": library.GT,
        "SCMP_CMP_GE": library.GE,
        "SCMP_CMP_LT": library.LT,
        "SCMP_CMP_LE": library.LE,
        "SCMP_CMP_MASKED_EQ": library.MASKED_EQ,
    }
    arguments = [
        library.Arg(a["index"], operators[a["op"]], a["value"], a.get("valueTwo") or 0)
        for a in rule.get("args") or ()
    ]
    try:
        program.add_rule(action, name, *arguments)
    except (OSError, ValueError, RuntimeError):
        return  # a call that this libseccomp, or this architecture, has no number for: it stays forbidden
