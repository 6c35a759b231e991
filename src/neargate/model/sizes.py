"""Fargate's sizes: which CPU goes with which memory, how both may be spelt, ephemeral storage. Pure.

Called by definition (registration) and overrides (RunTask). Units: CPU units (1024 per vCPU), MiB, GiB.
Source: AWS "Task CPU and memory", probed combinations.
"""

import re
from decimal import Decimal
from typing import Final

from neargate.kit.errors import ApiError


def _steps(first: int, last: int, step: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1, step))


SIZES: Final[dict[int, tuple[int, ...]]] = {
    256: (512, 1024, 2048),
    512: _steps(1024, 4096, 1024),
    1024: _steps(2048, 8192, 1024),
    2048: _steps(4096, 16384, 1024),
    4096: _steps(8192, 30720, 1024),
    8192: _steps(16384, 61440, 4096),
    16384: _steps(32768, 122880, 8192),
}
LARGE_SIZES: Final[dict[int, tuple[int, ...]]] = {32768: (61440, 122880, 249856)}
"""AWS documents them for Batch; its ECS API refused them (setting `large_tasks`)."""
BIG_CPU: Final = 8192
"""From here on Linux platform version 1.4.0 is needed."""
WINDOWS_CPU: Final = (1024, 2048, 4096)
STORAGE_DEFAULT: Final = 20
STORAGE_RANGE: Final = (21, 200)
NO_SIZE: Final = "No Fargate configuration exists for given values."
_GUIDE: Final = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
_PLAIN = re.compile(r"[0-9]{1,9}")
_VCPU = re.compile(r"([0-9]{0,6}(?:\.[0-9]{1,6})?)\s*vcpu", re.IGNORECASE)
_GB = re.compile(r"([0-9]{0,6}(?:\.[0-9]{1,6})?)\s*gb", re.IGNORECASE)


def parse_cpu(text: str) -> int:
    """CPU units of `256`, `.25 vCPU`, `1 vcpu`. Raises ClientException."""
    return _parse(text, _VCPU, "cpu")


def parse_memory(text: str) -> int:
    """MiB of `512`, `1GB`, `.5 gb`. Raises ClientException."""
    return _parse(text, _GB, "memory")


def _parse(text: str, unit: "re.Pattern[str]", setting: str) -> int:
    text = text.strip()
    if _PLAIN.fullmatch(text):
        value = Decimal(text)
    else:
        match = unit.fullmatch(text)
        value = Decimal(match[1]) * 1024 if match is not None and match[1] else Decimal(0)
    if value <= 0 or value != value.to_integral_value():
        raise ApiError("ClientException", f"Invalid '{setting}' setting for task. {_GUIDE}")
    return int(value)


def check_fargate(cpu: int | None, memory: int | None, *, windows: bool = False, large: bool = False) -> None:
    """Raise ClientException unless Fargate has this size. `large` adds the 32 vCPU ones."""
    for name, value in (("cpu", cpu), ("memory", memory)):
        if value is None:
            raise ApiError("ClientException", f"Fargate requires that '{name}' be defined at the task level.")
    assert cpu is not None
    sizes = {**SIZES, **LARGE_SIZES} if large else SIZES
    if memory not in sizes.get(cpu, ()) or (windows and cpu not in WINDOWS_CPU):
        raise ApiError("ClientException", f"{NO_SIZE}: {cpu} CPU, {memory} memory")


def check_storage(gib: int) -> None:
    """Raise ClientException unless a task may ask for this much ephemeral storage."""
    low, high = STORAGE_RANGE
    if gib < low:
        raise ApiError("ClientException", f"EphemeralStorage size should be at least {low}")
    if gib > high:
        raise ApiError("ClientException", f"EphemeralStorage size should be at most {high}")
