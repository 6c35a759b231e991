"""Who holds which addresses on this machine: the daemon's claim on its VPC range, and clashes with others.

Called by node/shimmed. The claim is a blackhole route over the range whose metric is the daemon's
instance: it is seen by every other daemon, outranked by the routes of tasks, and keeps packets to absent
tasks from leaving.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from neargate.node.network import rtnetlink as nl
from neargate.node.network.interface import prefix


@dataclass(frozen=True, slots=True)
class Holder:
    network: ipaddress.IPv4Network
    who: str


def metric(instance: str) -> int:
    return int(instance[:7], 16) + 1


def _holders(netlink: nl.RtNetlink, instance: str) -> Iterator[Holder]:
    links = netlink.links()
    for body in netlink.dump(nl.RTM_GETADDR, struct.pack("=BBBBi", socket.AF_INET, 0, 0, 0, 0)):
        _family, length, _flags, _scope, index = struct.unpack_from("=BBBBi", body)
        address = socket.inet_ntoa(nl.attributes(body[8:])[nl.IFA_ADDRESS])
        if not links.get(index, "").startswith(prefix(instance)):
            network = ipaddress.IPv4Network(f"{address}/{length}", strict=False)
            yield Holder(network, f"an address of interface {links.get(index, '?')}")
    for body in netlink.dump(nl.RTM_GETROUTE, struct.pack("=BBBBBBBBI", socket.AF_INET, *[0] * 8)):
        _family, length, _, _, table, _, _, kind, _ = struct.unpack_from("=BBBBBBBBI", body)
        found = nl.attributes(body[12:])
        if table != nl.RT_TABLE_MAIN or not length:
            continue
        address = socket.inet_ntoa(found.get(nl.RTA_DST, b"\0\0\0\0"))
        network = ipaddress.IPv4Network(f"{address}/{length}", strict=False)
        link = links.get(struct.unpack("=i", found.get(nl.RTA_OIF, b"\0\0\0\0"))[0], "")
        number = struct.unpack("=I", found.get(nl.RTA_PRIORITY, b"\0\0\0\0"))[0]
        if kind == nl.RTN_BLACKHOLE:
            if number != metric(instance):
                other = _claimant(network, number) if number else "a blackhole route of this host"
                yield Holder(network, other)
        elif not link.startswith(prefix(instance)):
            yield Holder(network, f"the route of interface {link or '?'}")


def _claimant(network: ipaddress.IPv4Network, number: int) -> str:
    """A daemon, and the way out where its data directory was removed without `neargate down`."""
    gone = f"if that is no more: ip route del blackhole {network} metric {number}"
    return f"neargate daemon {number - 1:06x}; {gone}"


def clash(instance: str, vpc_cidr: str) -> str | None:
    """The range of somebody else that overlaps, and whose it is; None when the range is free."""
    wanted = ipaddress.IPv4Network(vpc_cidr)
    netlink = nl.RtNetlink()
    try:
        for holder in _holders(netlink, instance):
            if holder.network.overlaps(wanted):
                return f"{holder.network} ({holder.who})"
    finally:
        netlink.close()
    return None


def take(instance: str, vpc_cidr: str) -> str | None:
    """Claim the range if nobody else holds any of it, else who does, as `clash` says it.

    The claim comes first and is then looked at: of two daemons that start at once, both see each other.
    """
    claim(instance, vpc_cidr)
    if taken := clash(instance, vpc_cidr):
        release(instance, vpc_cidr)
    return taken


def claim(instance: str, vpc_cidr: str) -> None:
    _change(nl.RTM_NEWROUTE, nl.NLM_F_CREATE | nl.NLM_F_REPLACE, instance, vpc_cidr)


def release(instance: str, vpc_cidr: str) -> None:
    try:
        _change(nl.RTM_DELROUTE, 0, instance, vpc_cidr)
    except ProcessLookupError:
        return  # ESRCH: no such route


def _change(kind: int, flags: int, instance: str, vpc_cidr: str) -> None:
    network = ipaddress.IPv4Network(vpc_cidr)
    body = nl.route_head(network.prefixlen, nl.RT_SCOPE_UNIVERSE, nl.RTN_BLACKHOLE)
    body += nl.attribute(nl.RTA_DST, network.network_address.packed)
    body += nl.attribute(nl.RTA_PRIORITY, struct.pack("=I", metric(instance)))
    netlink = nl.RtNetlink()
    try:
        netlink.request(kind, flags, body)
    finally:
        netlink.close()


def links_of(instance: str) -> dict[int, str]:
    """Interfaces of this daemon's sandboxes, index -> name."""
    netlink = nl.RtNetlink()
    try:
        return {i: name for i, name in netlink.links().items() if name.startswith(prefix(instance))}
    finally:
        netlink.close()


def delete_link(index: int) -> None:
    netlink = nl.RtNetlink()
    try:
        netlink.delete_link(index)
    except OSError:
        return  # gone meanwhile
    finally:
        netlink.close()
