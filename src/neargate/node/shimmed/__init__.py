"""shimmed: what tiers share whose sandboxes are each owned by a shim (node/shim): the driver, the zygote's
daemon end, and the removal of what a killed shim left.

A tier is a subclass of ShimDriver in drivers/: it says what it needs of the machine, and what its shims
are to do.
"""

from neargate.node.shimmed.driver import ShimDriver
from neargate.node.shimmed.sandbox import ShimSandbox

__all__ = ["ShimDriver", "ShimSandbox"]
