"""The door for the node's pulls: manifests of the built-in registry (its blobs the node has itself), and the
credentials of foreign ones.

Called by services/cell's LocalCell for node/images.py. Errors are AWS's ApiErrors.
"""

import json

from neargate.kit.errors import ApiError, CellError
from neargate.model.record import Scope
from neargate.model.secret import Version
from neargate.oci.content import ContentError
from neargate.oci.manifest import MAX_MANIFEST
from neargate.services.call import House
from neargate.state import registry, secrets
from neargate.state.store import Tx


async def manifest(house: House, scope: Scope, repository: str, reference: str) -> tuple[bytes, str, str]:
    """(bytes, media type, digest). Notes the pull, as lastRecordedPullTime."""
    image = await house.store.read(lambda tx: registry.resolve(tx, scope, repository, reference))
    try:
        data = await house.blobs.get(image.digest, MAX_MANIFEST)
    except ContentError as error:
        raise ApiError("ImageNotFoundException", str(error)) from None
    now = house.clock.now()
    if registry.pull_is_news(image, now):
        await house.store.write(lambda tx: registry.note_pull(tx, image, now))
    return data, image.media_type, image.digest


async def login(house: House, scope: Scope, parameter: str) -> tuple[str, str]:
    """User name and password in the secret that a `credentialsParameter` names, by name or ARN."""
    now = house.clock.now()

    def body(tx: Tx) -> Version:
        return secrets.need_version(tx, secrets.need(tx, scope, parameter, now), None, None)

    value = secrets.opened(house.signing_key, await house.store.read(body))
    try:
        document = json.loads(value.data)
        name, password = document["username"], document["password"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = password = None
    if not isinstance(name, str) or not isinstance(password, str):
        # What the secret holds stays out of the error.
        raise CellError(f'{parameter}: its value must be JSON like {{"username": "...", "password": "..."}}')
    return name, password
