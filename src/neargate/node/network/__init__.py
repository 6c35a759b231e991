"""network: interfaces of sandboxes by raw rtnetlink, and what leads to and from them on this machine.

rtnetlink.py and interface.py are used inside the shim (standard library only); firewall.py and claims.py by
the driver; endpoint.py by main; balancers.py, spread.py, conntrack.py and reach.py by node/balancer. What
several of them do alike is in nft.py and local.py. Later: security groups.
"""
