"""Blobs of a repository: HEAD, GET (whole or a range), DELETE. Called by registry.py."""

import re

from neargate.gateway.registry_http import Answer, RegistryError
from neargate.gateway.registry_visit import Visit
from neargate.model.registry import Link
from neargate.state import registry
from neargate.state.catalog import LINK
from neargate.state.store import Tx

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


async def head(visit: Visit, digest: str) -> Answer:
    """Clients ask before they push: what they are told is here stays for a while."""
    link = await visit.link(digest)
    now = visit.house.clock.now()
    if registry.is_stale(link, now):
        await visit.house.store.write(lambda tx: registry.touch(tx, [link], now))
    return Answer(200, {**_headers(link), "content-length": str(link.size)})


async def get(visit: Visit, digest: str) -> Answer:
    link = await visit.link(digest)
    headers = _headers(link)
    asked = visit.incoming.headers.get("range", "").strip()
    match = _RANGE.fullmatch(asked)
    if match is None or asked == "bytes=-":  # none, or several at once: the whole is a right answer too
        body = visit.house.blobs.read(digest, 0, link.size)
        return Answer(200, {**headers, "content-length": str(link.size)}, body)
    start, end = _bounds(match[1], match[2], link.size)
    if not 0 <= start <= end:
        raise RegistryError(
            416,
            "SIZE_INVALID",
            f"range {asked} is beyond the blob's {link.size} bytes",
            {"content-range": f"bytes */{link.size}"},
        )
    headers |= {"content-range": f"bytes {start}-{end}/{link.size}", "content-length": str(end - start + 1)}
    return Answer(206, headers, visit.house.blobs.read(digest, start, end - start + 1))


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    """First and last byte of a range; the last lies before the first where there are none to give."""
    if not first:
        count = min(int(last), size)
        return size - count, size - 1
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    return (start, end) if start < size else (0, -1)


def _headers(link: Link) -> dict[str, str]:
    return {
        "content-type": "application/octet-stream",
        "docker-content-digest": link.digest,
        "etag": f'"{link.digest}"',
        "accept-ranges": "bytes",
        "cache-control": "max-age=31536000",
    }


async def delete(visit: Visit, digest: str) -> Answer:
    link = await visit.link(digest)

    def body(tx: Tx) -> None:
        kept = tx.get(LINK, LINK.id(link))
        if kept is not None and kept.uses:
            raise RegistryError(
                409, "DENIED", f"blob {digest} is part of {kept.uses} image(s) of repository '{visit.name}'"
            )
        tx.delete(LINK, LINK.id(link))

    await visit.house.store.write(body)
    return Answer(202)
