"""A sandbox's own interface: a routed veth pair whose inner end is `eth0` with the task's MAC and address.

Called by the shim, which owns the namespace: with its last process the namespace, and with that the
pair, is gone.
"""

from neargate.node.network.rtnetlink import RtNetlink

EEXIST = 17


def host_names(instance: str, sandbox: str) -> list[str]:
    """Candidates for the host end's name (15 characters at most, carrying the daemon's instance)."""
    room = 15 - len("ng") - len(instance)
    return [f"ng{instance}{sandbox[at : at + room]}" for at in (0, room, 2 * room)]


def prefix(instance: str) -> str:
    return f"ng{instance}"


class Interface:
    """`host` is a socket of the machine's namespace, `inside` one of the sandbox's."""

    def __init__(self, host: RtNetlink, inside: RtNetlink) -> None:
        self._host = host
        self._inside = inside
        self.name = ""

    def bring_up(self, names: list[str], pid: int, mac: str, address: str, gateway: str) -> None:
        """Make the pair into the namespace of process `pid`, with addresses and routes on both ends."""
        for name in names:
            try:
                self._host.make_veth(name, "eth0", mac, pid)
            except OSError as error:
                if error.errno != EEXIST or name == names[-1]:
                    raise
            else:
                self.name = name
                break
        self._inside.up(self._inside.find("eth0"))
        self.configure(address, gateway)
        outer = self._outer()
        self._host.check_sources(outer)
        self._host.add_address(outer, gateway)
        self._host.add_route(address, outer)

    def configure(self, address: str, gateway: str) -> None:
        """Address and routes of the inner end: again, where somebody took them away."""
        inner = self._inside.find("eth0")
        self._inside.add_address(inner, address)
        self._inside.add_route(gateway, inner)
        self._inside.add_route(None, inner, gateway)

    def loopback(self) -> None:
        self._inside.up(1)

    def remove(self) -> None:
        outer = self._outer() if self.name else 0
        if outer:
            self._host.delete_link(outer)

    def _outer(self) -> int:
        return self._host.find(self.name)
