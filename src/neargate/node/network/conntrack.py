"""Flows that the kernel follows and whose destination was changed, by ctnetlink: where they are led, and
their end. Called by node/balancer.
"""

import errno
import socket
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from neargate.model.spread import Place
from neargate.node.network import rtnetlink as nl

_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _PROTOINFO, _STATUS_MASK = 1, 2, 3, 4, 26
_IP, _PROTO = 1, 2
_SOURCE, _DESTINATION = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_NESTED = 0x8000
_LED = 1 << 5
"""IPS_DST_NAT."""
_OPEN = frozenset((3, 4, 5))
"""Of TCP: ESTABLISHED, FIN_WAIT, CLOSE_WAIT."""
_HEAD = struct.pack("=BBH", socket.AF_INET, 0, 0)
_TRANSPORTS = {6: "tcp", 17: "udp"}


@dataclass(frozen=True, slots=True)
class Flow:
    transport: str
    asked: Place
    """Where the client sent it."""
    target: Place
    open: bool
    """A connection on which something may still be said."""
    name: bytes
    """By which the kernel knows it."""


def led() -> list[Flow]:
    """All flows whose destination was changed. Raise OSError."""
    # Kernels before 5.18 tell all flows nevertheless.
    only = nl.attribute(_STATUS, struct.pack(">I", _LED)) + nl.attribute(
        _STATUS_MASK, struct.pack(">I", _LED)
    )
    netlink = nl.RtNetlink(_NETFILTER)
    try:
        return list(_flows(netlink.dump(_GET, _HEAD + only)))
    finally:
        netlink.close()


def busy(targets: Collection[Place]) -> set[Place]:
    """Those of the targets that were led a connection which is still open. Raise OSError."""
    wanted = set(targets)
    return {flow.target for flow in led() if flow.open and flow.target in wanted}


def forget(flows: Iterable[Flow]) -> None:
    """A forgotten flow's next packet is a new one's first: a datagram is led anew, a connection is reset."""
    netlink = nl.RtNetlink(_NETFILTER)
    try:
        for flow in flows:
            try:
                netlink.request(_DELETE, 0, _HEAD + nl.attribute(_TUPLE_ORIG | _NESTED, flow.name))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
    finally:
        netlink.close()


def _flows(bodies: Iterable[bytes]) -> Iterable[Flow]:
    for body in bodies:
        found = nl.attributes(body[4:])
        if not struct.unpack(">I", found.get(_STATUS, bytes(4)))[0] & _LED:
            continue
        asked, answer = nl.attributes(found[_TUPLE_ORIG]), nl.attributes(found[_TUPLE_REPLY])
        protocol = nl.attributes(asked[_PROTO])[_NUMBER][0]
        if protocol in _TRANSPORTS:
            yield Flow(
                _TRANSPORTS[protocol],
                _place(asked, _DESTINATION, _DESTINATION_PORT),
                _place(answer, _SOURCE, _SOURCE_PORT),
                _state(found.get(_PROTOINFO, b"")) in _OPEN,
                found[_TUPLE_ORIG],
            )


def _place(tuple_: dict[int, bytes], address: int, port: int) -> Place:
    where = socket.inet_ntoa(nl.attributes(tuple_[_IP])[address])
    return where, int.from_bytes(nl.attributes(tuple_[_PROTO])[port], "big")


def _state(info: bytes) -> int:
    """Of TCP; 0 for others."""
    return nl.attributes(nl.attributes(info).get(1, b"")).get(1, b"\0")[0]
