"""Hands text to nft, the kernel's firewall: one call, one transaction; and asks it. Called by firewall.py,
spread.py and node/resolver/way.py, which own a table each.
"""

import asyncio
import json
from typing import Any


class FirewallError(Exception):
    """nft refused; the message is its own."""


async def nft(text: str) -> None:
    """Raise FirewallError; FileNotFoundError where there is no nft."""
    process = await asyncio.create_subprocess_exec(
        "nft", "-f", "-",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _out, errors = await process.communicate(text.encode())
    if process.returncode:
        raise FirewallError(errors.decode(errors="replace").strip())


async def listed(*what: str) -> list[dict[str, Any]]:
    """What `nft list` says of something, as its objects. Raise FirewallError (also where it is not there);
    FileNotFoundError where there is no nft."""
    process = await asyncio.create_subprocess_exec(
        "nft", "-j", "list", *what,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    if process.returncode:
        raise FirewallError(errors.decode(errors="replace").strip())
    found: list[dict[str, Any]] = json.loads(output)["nftables"]
    return found
