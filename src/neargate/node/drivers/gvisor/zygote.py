"""The zygote of the gVisor tier: node/shim's, whose forks own a runsc sandbox each.

Started by node/shimmed. Next: shim.py.
"""

import socket
from typing import Any

from neargate.node.drivers.gvisor.shim import SentryShim
from neargate.node.shim import zygote
from neargate.node.shim.main import serve


def main() -> None:
    zygote.main(_run)


def _run(connection: socket.socket, setup: dict[str, Any]) -> None:
    serve(connection, SentryShim(setup))
