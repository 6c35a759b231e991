"""network: interfaces of sandboxes by raw rtnetlink, and the firewall table of this daemon.

rtnetlink.py and interface.py are used inside the shim (standard library only); firewall.py and claims.py
by the driver. Later rooms: security groups, load balancers.
"""
