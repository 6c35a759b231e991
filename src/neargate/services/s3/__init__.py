"""services/s3: the part of Amazon S3 that tasks' environment files need, and what belongs to it.

buckets, objects (put, get, delete), copies, multipart, listing; described holds what clients say of objects,
names reads what they give. Records are in the store (state/objects), bytes in files (state/object_files). No
versions, policies, ACLs, encryption or events: what asks for them is refused.
"""

import logging

from neargate.services.call import House
from neargate.state.store import StoreError

log = logging.getLogger(__name__)


async def sweep(house: House, opened_at: float) -> None:
    """Delete files that a killed daemon left without a record. Started by main, once.

    opened_at -- from before the first request: what was written since may get its record yet.
    """
    try:
        gone = await house.objects.sweep(house.store, opened_at)
    except StoreError as error:
        log.error("files of no object are not deleted: %s", error)
        return
    if gone:
        log.info("files of no object deleted", extra={"files": gone})
