"""The zygote of the microvm tier: as node/shim/zygote.py, but what it forks is a supervisor, or the maker of
a template; and it holds the memories of templates. Started by node/shimmed.
"""

import signal
import socket
from typing import Any

from neargate.node.drivers.microvm.vmm import supervisor, template
from neargate.node.shim import zygote


def main() -> None:
    zygote.main(_run, {"hold": template.hold})


def _run(connection: socket.socket, setup: dict[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the zygote waits for none; here QEMU is one
    if setup.get("make"):
        template.make(connection, setup)
    else:
        supervisor.run(connection, setup)
