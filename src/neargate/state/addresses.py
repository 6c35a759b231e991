"""The addresses of a subnet that may be given: one for each interface, rotating, so that none is reused soon.

Called by control/placement (tasks) and services/elbv2 (load balancers), inside their own write.
"""

from neargate.model import addresses
from neargate.model.network import Subnet
from neargate.state.catalog import INTERFACE
from neargate.state.store import Tx


def free(tx: Tx, subnet: Subnet) -> str | None:
    """The next address of the subnet that no interface holds; None if all are held."""
    for _ in range(addresses.usable(subnet.cidr)):
        address = addresses.address_at(subnet.cidr, tx.next(f"address/{subnet.id}"))
        if not is_held(tx, subnet, address):
            return address
    return None


def is_held(tx: Tx, subnet: Subnet, address: str) -> bool:
    return tx.count(INTERFACE, "address", f"{subnet.id}/{address}") > 0
