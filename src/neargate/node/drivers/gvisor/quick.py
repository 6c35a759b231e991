"""Takes a wait out of each start of runsc: a filter by which `membarrier` is missing. Called by shim.py.

A Go program with many threads that registers for it waits for the kernel's RCU: 6 of the 16 ms that runsc
takes to start, and of the six such starts that a task's start has, three are in a row. runsc asks whether
there is a membarrier and does without; its sandboxes then have none either, and a program has to ask for it,
too.
"""

import ctypes
import os
import struct

_NUMBERS = {"x86_64": 324, "aarch64": 283}
_ENOSYS = 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def without_membarrier() -> None:
    """For this process and all that it starts. Where it cannot be, starts are slower and nothing else."""
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        return
    steps = (
        (_LOAD, 0, 0, 0),
        (_IF_EQUAL, 0, 1, number),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(code))
    ctypes.CDLL(None).prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
