"""What a node tells of its tasks' use of the machine, made of two looks at containers' counters. Pure.

Made by node/sampler, taken by services/cell/metrics, which makes points of it (model/insights).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from neargate.model.task import Part
from neargate.model.usage import Usage

STEP = 20
"""Seconds between two looks; three of them make a minute."""
MINUTE = 60
_MIB = 1024 * 1024


class ContainerSample(Part, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    cpu_units: float
    """Used on average: 1024 are a processor."""
    memory_mib: float
    read_bytes: float = 0.0
    write_bytes: float = 0.0
    """In the whole stretch."""
    restarts: int | None = None
    """Since its task started; None where it has no restart policy."""


class TaskSample(Part, frozen=True, kw_only=True, omit_defaults=True):
    """What one task used in a stretch of time."""

    id: str
    """The task's, as of its sandbox."""
    containers: tuple[ContainerSample, ...]
    rx_rate: float | None = None
    tx_rate: float | None = None
    """Bytes per second; None where nobody counts."""
    ephemeral_used: int | None = None
    ephemeral_reserved: int = 0
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Look:
    """A container's counters at a moment. Two make a sample if the second is later."""

    at: float
    usage: Usage
    restarts: int = 0


def container_sample(
    name: str, before: Look, now: Look, memory: Sequence[int], restarts: int | None
) -> ContainerSample:
    """memory -- bytes, as seen at each look of the stretch."""
    seconds = now.at - before.at
    earlier = before.usage if before.restarts == now.restarts else _NOTHING
    return ContainerSample(
        name=name,
        cpu_units=1024 * _grown(now.usage.cpu_seconds, earlier.cpu_seconds) / seconds,
        memory_mib=sum(memory) / len(memory) / _MIB,
        read_bytes=_grown(now.usage.read_bytes, earlier.read_bytes),
        write_bytes=_grown(now.usage.write_bytes, earlier.write_bytes),
        restarts=restarts,
    )


def network_rates(before: Look, now: Look) -> tuple[float, float] | None:
    """Bytes per second received and sent by the sandbox, of whichever container's counters."""
    old, new = before.usage.network, now.usage.network
    if new is None:
        return None
    seconds = now.at - before.at
    rx, tx = (old.rx_bytes, old.tx_bytes) if old is not None else (0, 0)
    return _grown(new.rx_bytes, rx) / seconds, _grown(new.tx_bytes, tx) / seconds


def first_look(started_at: float) -> Look:
    """At the start of a container, with which its counters begin."""
    return Look(started_at, _NOTHING)


_NOTHING = Usage(0.0, 0, 0, 0)


def _grown(now: float, before: float) -> float:
    """Of a counter that may have begun anew."""
    return now - before if now >= before else now
