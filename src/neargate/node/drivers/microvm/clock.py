"""The frequency of this machine's time stamp counter, which a guest must be told: under emulation it has no
other clock to measure it by. Called by templates.py.
"""

import ctypes
import re
from pathlib import Path

_READ_ALL, _BYTES = 3, 1 << 20
_DETECTED = re.compile(r"tsc: (?:Refined TSC clocksource calibration:|Detected) ([0-9.]+) MHz")


def tsc_khz() -> int:
    """By the kernel's log, else by /proc/cpuinfo (exact where the processor's frequency is fixed)."""
    found = _DETECTED.findall(_kernel_log())
    if not found:
        found = re.findall(r"^cpu MHz\s*: ([0-9.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return round(float(found[-1] if found else 2000) * 1000)


def _kernel_log() -> str:
    buffer = ctypes.create_string_buffer(_BYTES)
    size = ctypes.CDLL(None).klogctl(_READ_ALL, buffer, _BYTES)
    return buffer.raw[: max(0, size)].decode(errors="replace")
