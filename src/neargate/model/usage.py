"""What a container has used: counters as the tiers read them. Made by drivers, shown by metadata_stats."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Network:
    """Counters of the sandbox's interface, which its containers share."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters since the container's start. Those that a kernel does not keep are 0."""

    cpu_seconds: float
    memory_bytes: int
    memory_peak_bytes: int
    pids: int
    cpu_user_seconds: float = 0.0
    cpu_system_seconds: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0
    reads: int = 0
    writes: int = 0
    memory: Mapping[str, int] = field(default_factory=dict)
    """What the memory is used for, by the names of cgroup version 1, as Docker shows it. Empty where nobody
    counts."""
    network: Network | None = None
    """None for a sandbox without interface, or where nobody counts."""
