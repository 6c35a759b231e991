"""rtnetlink, as much of it as a sandbox's interface needs.

Ours because it stands in the way of every task's start: making veth, address and routes took pyroute2 17 ms,
`ip -batch` 4.2 and this 1.2. Called by interface.py in the shim and claims.py in the daemon.
"""

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator

NLM_F_REQUEST, NLM_F_ACK, NLM_F_ROOT_MATCH = 1, 4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINKINFO, IFLA_NET_NS_PID = 1, 3, 18, 19
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFLA_AF_SPEC, IFLA_INET_CONF, IPV4_DEVCONF_RP_FILTER = 26, 1, 8
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 1, 4, 5, 6, 15
RT_TABLE_MAIN, RT_TABLE_LOCAL = 254, 255
RTN_UNICAST, RTN_LOCAL, RTN_BLACKHOLE = 1, 2, 6
RTPROT_STATIC = 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254
IFF_UP = 1
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_NESTED = 0x8000
_SIOCSIFHWADDR = 0x8924


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def nested(kind: int, *values: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(values))


def attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


class RtNetlink:
    """One socket. It stays in the network namespace that it was opened in."""

    def __init__(self, protocol: int = 0) -> None:
        """protocol -- of netlink: conntrack.py speaks another."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def request(self, kind: int, flags: int, body: bytes) -> None:
        """Send and wait for the acknowledgement. Raise OSError with the kernel's errno."""
        self._send(kind, flags | NLM_F_REQUEST | NLM_F_ACK, body)
        for _kind, _body in self._answers():
            pass

    def send_joined(self, requests: bytes) -> None:
        """What `joined` has put together; returns once all of it is done. Raise OSError as `request`."""
        self._socket.send(requests)
        code = last = 0
        while not last:  # those that fail are answered, and the last
            answer = self._socket.recv(1 << 16)
            _length, _kind, _flags, last, _port = _HEADER.unpack_from(answer)
            code = code or -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if code:
            raise OSError(code, os.strerror(code))

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Bodies of all objects of a kind."""
        self._send(kind, NLM_F_REQUEST | NLM_F_ROOT_MATCH, body)
        return [body for _kind, body in self._answers()]

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        while True:
            data = self._socket.recv(1 << 16)
            at = 0
            while at < len(data):
                length, kind, _flags, sequence, _port = _HEADER.unpack_from(data, at)
                body = data[at + _HEADER.size : at + length]
                at += (length + 3) & ~3
                if sequence != self._sequence:
                    continue
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                yield kind, body

    # -- what is asked ---------------------------------------------------------------------------------

    def find(self, name: str) -> int:
        """Index of the interface called `name`, 0 when there is none. (if_nametoindex would look into the
        namespace that the process is in now, not into this socket's.)"""
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name.encode() + b"\0")
        self._send(RTM_GETLINK, NLM_F_REQUEST, body)
        try:
            for _kind, answer in self._answers():
                return int(struct.unpack_from("=BxHi", answer)[2])
        except OSError as error:
            if error.errno != 19:  # ENODEV
                raise
        return 0

    def way(self, address: str) -> tuple[int, int]:
        """(kind of route, interface's index, 0 for none) by which an address is reached. Raise OSError."""
        body = route_head(32, 0, 0, 0) + attribute(RTA_DST, socket.inet_aton(address))
        self._send(RTM_GETROUTE, NLM_F_REQUEST, body)
        for _kind, answer in self._answers():
            found = attributes(answer[12:]).get(RTA_OIF, bytes(4))
            return answer[7], int(struct.unpack("=i", found)[0])
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    def links(self) -> dict[int, str]:
        found = {}
        for body in self.dump(RTM_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
            index = struct.unpack_from("=BxHi", body)[2]
            found[index] = attributes(body[16:])[IFLA_IFNAME].rstrip(b"\0").decode()
        return found

    def delete_link(self, index: int) -> None:
        self.request(RTM_DELLINK, 0, struct.pack("=BxHiII", 0, 0, index, 0, 0))

    def set_mac(self, name: str, mac: bytes) -> None:
        """By the older call, which is a fraction of a request's work. Raise OSError."""
        self.ask_older(hardware_address(name, mac))

    def ask_older(self, request: bytes) -> None:
        """Have a `hardware_address` set. Raise OSError."""
        fcntl.ioctl(self._socket, _SIOCSIFHWADDR, bytearray(request))  # (what cannot change is tried last)

    def up(self, index: int) -> None:
        self.request(RTM_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, index, IFF_UP, IFF_UP))

    def check_sources(self, index: int) -> None:
        """Take nothing from it in the name of whom no route leads there to. (Nor what is asked by ARP: who
        asks is kept in a table of all interfaces.)"""
        strict = attribute(IPV4_DEVCONF_RP_FILTER, struct.pack("=I", 1))
        spec = nested(IFLA_AF_SPEC, nested(socket.AF_INET, nested(IFLA_INET_CONF, strict)))
        self.request(RTM_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, index, 0, 0) + spec)

    def make_veth(self, name: str, peer: str, peer_mac: str, peer_pid: int) -> None:
        """A veth pair: `name` here and up, `peer` in the network namespace of process `peer_pid`."""
        mac = bytes.fromhex(peer_mac.replace(":", ""))
        other = (
            struct.pack("=BxHiII", 0, 0, 0, 0, 0)
            + attribute(IFLA_IFNAME, peer.encode() + b"\0")
            + attribute(IFLA_ADDRESS, mac)
            + attribute(IFLA_NET_NS_PID, struct.pack("=I", peer_pid))
        )
        info = nested(
            IFLA_LINKINFO,
            attribute(IFLA_INFO_KIND, b"veth"),
            nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, other)),
        )
        body = struct.pack("=BxHiII", 0, 0, 0, IFF_UP, IFF_UP) + attribute(IFLA_IFNAME, name.encode() + b"\0")
        self.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body + info)

    def add_address(self, index: int, address: str) -> None:
        self.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, address_of(index, address))

    def add_route(self, destination: str | None, index: int, gateway: str | None = None) -> None:
        self.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route(destination, index, gateway))


def joined(requests: list[tuple[int, int, bytes]]) -> bytes:
    """(kind, flags, body) of each, for `RtNetlink.send_joined`: the last will be acknowledged."""
    found = b""
    for number, (kind, flags, body) in enumerate(requests, 1):
        last = number == len(requests)
        flags |= NLM_F_REQUEST | (NLM_F_ACK if last else 0)
        found += _HEADER.pack(_HEADER.size + len(body), kind, flags, last, 0) + body
    return found


def hardware_address(name: str, mac: bytes) -> bytes:
    """struct ifreq that gives an Ethernet interface its address."""
    return struct.pack("=16sH6s16x", name.encode(), 1, mac)


def address_of(index: int, address: str) -> bytes:
    """Body of a request for an interface's only address."""
    packed = socket.inet_aton(address)
    head = struct.pack("=BBBBi", socket.AF_INET, 32, 0, 0, index)
    return head + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)


def route(destination: str | None, index: int, gateway: str | None = None) -> bytes:
    """Body of a request for a route to one address, or for the default route (None)."""
    scope = RT_SCOPE_UNIVERSE if gateway else RT_SCOPE_LINK
    body = route_head(32 if destination else 0, scope, RTN_UNICAST)
    if destination:
        body += attribute(RTA_DST, socket.inet_aton(destination))
    if gateway:
        body += attribute(RTA_GATEWAY, socket.inet_aton(gateway))
    return body + attribute(RTA_OIF, struct.pack("=i", index))


def route_head(
    prefix: int, scope: int, kind: int, table: int = RT_TABLE_MAIN, protocol: int = RTPROT_STATIC
) -> bytes:
    """struct rtmsg of a route."""
    return struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, table, protocol, scope, kind, 0)
