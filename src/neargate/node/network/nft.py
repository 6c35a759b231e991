"""Hands text to nft, the kernel's firewall: one call, one transaction. Called by firewall.py, spread.py and
node/resolver/way.py, which own a table each.
"""

import asyncio


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
