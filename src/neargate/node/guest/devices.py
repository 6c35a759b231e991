"""The device rules of the containers, attached once to the group that they are all in: a BPF program.

Called by agent.py. The runtime would make one for each container, and the kernel check and compile it each
time; all have the same rules, so this is done before the template is frozen.
"""

import ctypes
import os
import struct
from typing import Any

from neargate.node import cgroup

_BPF = 321  # x86_64, as the machine is
_PROG_LOAD, _PROG_ATTACH = 5, 8
_TYPE_CGROUP_DEVICE, _ATTACH_DEVICE, _ALLOW_MULTI = 15, 6, 2
_LOAD, _AND, _SHIFT, _COPY, _SET = 0x61, 0x57, 0x77, 0xBF, 0xB7
_UNLESS_EQUAL, _UNLESS_SAME, _EXIT = 0x55, 0x5D, 0x95
_CONTEXT, _KIND, _ACCESS, _MAJOR, _MINOR, _SCRATCH = 1, 2, 3, 4, 5, 6
_KINDS = {"b": 1, "c": 2}
_ACCESSES = {"m": 1, "r": 2, "w": 4}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def attach(rules: list[dict[str, Any]], group: str) -> None:
    """Hold all that is below a group to OCI device rules, as `program` takes them. Raise OSError."""
    code = program(rules)
    instructions, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    addresses = ctypes.addressof(instructions), ctypes.addressof(licence)
    loaded = _bpf(_PROG_LOAD, struct.pack("=IIQQ", _TYPE_CGROUP_DEVICE, len(code) // 8, *addresses))
    directory = os.open(f"{cgroup.MOUNT}/{group}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _bpf(_PROG_ATTACH, struct.pack("=IIII", directory, loaded, _ATTACH_DEVICE, _ALLOW_MULTI))
    os.close(directory)
    os.close(loaded)


def program(rules: list[dict[str, Any]]) -> bytes:
    """It answers 1 where one rule allows the device all that is asked for. (What no rule allows is denied,
    as the first of them says.)"""
    found = [_do(_LOAD, _KIND, _CONTEXT), _do(_COPY, _ACCESS, _KIND), _do(_AND, _KIND, value=0xFFFF)]
    found += [
        _do(_SHIFT, _ACCESS, value=16),
        _do(_LOAD, _MAJOR, _CONTEXT, 4),
        _do(_LOAD, _MINOR, _CONTEXT, 8),
    ]
    for rule in (rule for rule in rules if rule["allow"]):
        access = sum(_ACCESSES[letter] for letter in rule["access"])
        checks = [(_KIND, _KINDS[rule["type"]])]
        checks += [
            (place, rule[name]) for place, name in ((_MAJOR, "major"), (_MINOR, "minor")) if name in rule
        ]
        body = [_do(_COPY, _SCRATCH, _ACCESS), _do(_AND, _SCRATCH, value=access)]
        end = [_do(_SET, 0, value=1), _do(_EXIT)]
        body.append(_do(_UNLESS_SAME, _SCRATCH, _ACCESS, len(end)))
        body += end
        for place, value in reversed(checks):
            body.insert(0, _do(_UNLESS_EQUAL, place, offset=len(body), value=value))
        found += body
    return b"".join([*found, _do(_SET, 0, value=0), _do(_EXIT)])


def _do(code: int, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, of << 4 | to, offset, value)


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, 128)
    result: int = _libc.syscall(_BPF, command, buffer, 128)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "bpf")
    return result
