"""What makes blobs go away: uploads given up, layers that no image names, files that nobody links to.

`collect_forever` is a task of main. All that a push under way counts on is younger than the grace periods.
"""

import asyncio
import logging

from neargate.oci.content import ContentStore
from neargate.oci.uploads import Uploads
from neargate.services.call import House
from neargate.state import registry
from neargate.state.store import StoreError

log = logging.getLogger(__name__)

COLLECT_EVERY = 600.0
UPLOAD_SECONDS = 24 * 3600.0
LINK_SECONDS = 24 * 3600.0
"""How long a pushed blob waits for the image that names it."""
FILE_SECONDS = 3600.0
"""How long a file waits for its link: far longer than between the two steps of one request."""
_BATCH = 200


async def collect_forever(house: House) -> None:
    """Until cancelled."""
    while True:
        try:
            await collect(house, house.clock.now())
        except (StoreError, OSError) as error:
            log.error("the registry's blobs could not be collected: %s", error)
        await house.clock.sleep(COLLECT_EVERY)


async def collect(house: House, now: float) -> list[str]:
    """Remove what is due at `now` (epoch seconds); the digests of the files removed."""
    await asyncio.to_thread(Uploads(house.blobs).sweep, now - UPLOAD_SECONDS)
    await asyncio.to_thread(house.blobs.sweep, now - UPLOAD_SECONDS)
    while await house.store.write(
        lambda tx: registry.drop_unused_links(tx, now - LINK_SECONDS, _BATCH) >= _BATCH
    ):
        pass
    before = now - FILE_SECONDS
    old = await asyncio.to_thread(_older, house.blobs, before)
    suspects = await house.store.scan(lambda tx: [d for d in old if not registry.is_known(tx, d)])
    removed: list[str] = []
    for digest in suspects:
        known = await house.store.read(lambda tx, d=digest: registry.is_known(tx, d))  # type: ignore[misc]
        if not known and await house.blobs.collect(digest, before):
            removed.append(digest)
    return removed


def _older(blobs: ContentStore, before: float) -> list[str]:
    return [digest for digest, status in blobs.blobs() if status.st_mtime < before]
