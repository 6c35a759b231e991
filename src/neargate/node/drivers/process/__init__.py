"""process: the tier of namespaces, cgroups and seccomp, driven through crun (or runc) by one shim per
sandbox.

Start reading at driver.py; what runs outside the daemon is in node/shim.
"""

from neargate.node.drivers.process.driver import ProcessDriver

__all__ = ["ProcessDriver"]
