"""The door for the node's pulls from the built-in registry: manifests only, blobs it has itself.

Called by services/cell's LocalCell for node/images.py. Errors are ECR's ApiErrors.
"""

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.record import Scope
from neargate.model.registry import Image
from neargate.oci.content import ContentError
from neargate.oci.manifest import MAX_MANIFEST
from neargate.services.call import House
from neargate.state import registry
from neargate.state.catalog import IMAGE
from neargate.state.store import Tx

_NOTED_EVERY = 3600.0


async def manifest(house: House, scope: Scope, repository: str, reference: str) -> tuple[bytes, str, str]:
    """(bytes, media type, digest). Notes the pull, at most once an hour, as lastRecordedPullTime."""
    image = await house.store.read(lambda tx: registry.resolve(tx, scope, repository, reference))
    try:
        data = await house.blobs.get(image.digest, MAX_MANIFEST)
    except ContentError as error:
        raise ApiError("ImageNotFoundException", str(error)) from None
    now = house.clock.now()
    if image.pulled_at is None or now - image.pulled_at >= _NOTED_EVERY:
        await house.store.write(lambda tx: _note(tx, image, now))
    return data, image.media_type, image.digest


def _note(tx: Tx, image: Image, now: float) -> None:
    kept = tx.get(IMAGE, IMAGE.id(image))
    if kept is not None:
        tx.put(IMAGE, replace(kept, pulled_at=now))
