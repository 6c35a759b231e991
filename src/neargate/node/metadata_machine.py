"""What the metadata endpoint tells of the machine itself: its clock's error, its processors' time.

Called by metadata.py.
"""

import ctypes
import os
import struct
from pathlib import Path

from neargate.model.metadata import ClockDrift

_STAT = Path("/proc/stat")
_TICKS = os.sysconf("SC_CLK_TCK")
_TIMEX = struct.Struct("=i4xqqqqi")
"""modes, offset, freq, maxerror, esterror, status: the head of struct timex on 64-bit Linux."""
_TIMEX_ROOM = 512
_UNSYNCHRONIZED = 0x40
_libc = ctypes.CDLL(None, use_errno=True)


def clock_drift(at: float) -> ClockDrift | None:
    """None where the kernel does not tell."""
    buffer = ctypes.create_string_buffer(_TIMEX_ROOM)
    if _libc.adjtimex(buffer) < 0:
        return None
    _modes, _offset, _frequency, most, _estimate, status = _TIMEX.unpack_from(buffer)
    return ClockDrift(at, most / 1000, not status & _UNSYNCHRONIZED)


def cpu_seconds() -> float:
    """What all processors have run since the machine's start, idle time included (guests' is in it once)."""
    fields = _STAT.read_text().partition("\n")[0].split()[1:9]
    return sum(int(field) for field in fields) / _TICKS
