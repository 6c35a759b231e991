"""The end of load balancing on this machine: what is left of it is found and removed, whoever made it.

Called by control.py after the last balancer, and by main in `neargate down`.
"""

import asyncio

from neargate.kit.instance import instance_of
from neargate.kit.settings import Settings
from neargate.node.balancer.envoy import Envoy, directory_of
from neargate.node.network import balancers as addresses
from neargate.node.network import firewall, spread


def any_of(settings: Settings) -> bool:
    return directory_of(settings).exists()


async def remove(settings: Settings) -> None:
    """Envoy, its files, the balancers' addresses and the way to them. Raise OSError."""
    await Envoy(settings).stop()
    await asyncio.to_thread(addresses.own, settings.vpc_cidr, ())
    await firewall.close_balancers(instance_of(settings.data_dir))
    await spread.remove(instance_of(settings.data_dir))
