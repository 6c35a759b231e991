"""Flows that the kernel follows and whose destination was changed, by ctnetlink: where they are led, and
their end. Called by node/balancer.
"""

import errno
import socket
import struct
from collections.abc import Collection, Iterable
from typing import NamedTuple

from neargate.model.spread import Place
from neargate.node.network import rtnetlink as nl

_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _PROTOINFO, _STATUS_MASK = 1, 2, 3, 4, 26
_TUPLE = struct.Struct(">8x4s4x4s8xB7xH6xH")
"""A tuple of IPv4 as the kernel always writes it: source, destination, protocol, and their ports."""
_NESTED = 0x8000
_LED = 1 << 5
"""IPS_DST_NAT."""
# Of TCP: ESTABLISHED, FIN_WAIT, CLOSE_WAIT; LAST_ACK, TIME_WAIT, CLOSE.
_OPEN, _ENDED = frozenset((3, 4, 5)), frozenset((6, 7, 8))
_HEAD = struct.pack("=BBH", socket.AF_INET, 0, 0)
_TRANSPORTS = {6: "tcp", 17: "udp"}


class Flow(NamedTuple):
    transport: str
    asked: Place
    """Where the client sent it."""
    target: Place
    open: bool
    """A connection on which something may still be said."""
    name: bytes
    """By which the kernel knows it."""


def led() -> list[Flow]:
    """All flows whose destination was changed, but those that have ended. Raise OSError."""
    status = struct.pack(">I", _LED)
    # Kernels before 5.18 tell all flows nevertheless.
    only = nl.attribute(_STATUS, status) + nl.attribute(_STATUS_MASK, status)
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
    """But those that have ended. There may be many, so no more is read of each than must."""
    for body in bodies:
        found = nl.attributes(body[4:])
        state = _state(found[_PROTOINFO]) if _PROTOINFO in found else 0
        if state in _ENDED or not found.get(_STATUS, b"\0\0\0\0")[3] & _LED:
            continue
        if len(found[_TUPLE_ORIG]) < _TUPLE.size:
            continue  # of a protocol without ports
        asked = _TUPLE.unpack_from(found[_TUPLE_ORIG])
        answer = _TUPLE.unpack_from(found[_TUPLE_REPLY])
        if asked[2] in _TRANSPORTS:
            yield Flow(
                _TRANSPORTS[asked[2]],
                (socket.inet_ntoa(asked[1]), asked[4]),
                (socket.inet_ntoa(answer[0]), answer[3]),
                state in _OPEN,
                found[_TUPLE_ORIG],
            )


def _state(info: bytes) -> int:
    """Of TCP, the first attribute in an attribute of its own; other protocols have none such."""
    return info[8] if len(info) > 8 else 0
