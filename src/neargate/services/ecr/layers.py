"""Layers by the API instead of the registry: uploads in parts, which ones are here, where to fetch them.

Called by gateway/dispatch. Sessions are the registry's own (oci/uploads).
"""

from typing import Any
from urllib.parse import urlencode

from neargate.kit.errors import ApiError
from neargate.model import registry_token
from neargate.model.registry import Link, Repository
from neargate.model.registry_token import Grant
from neargate.oci import digest as digests
from neargate.oci.uploads import ContentBusy, ContentError, NoUpload, Uploads
from neargate.services.call import Call, Params, Result
from neargate.services.ecr import names
from neargate.state import registry
from neargate.state.store import Tx

_PART_BYTES = 10 * 1024 * 1024
_DOWNLOAD_SECONDS = 3600
_MAX_BATCH = 100


async def initiate_layer_upload(call: Call, params: Params) -> Result:
    repository = await _repository(call, params)
    id = call.ids.uuid()
    Uploads(call.blobs).begin(id, repository.arn)
    return {"uploadId": id, "partSize": _PART_BYTES}


async def _repository(call: Call, params: Params) -> Repository:
    return await call.store.read(lambda tx: names.need_repository(tx, call, params))


async def upload_layer_part(call: Call, params: Params) -> Result:
    repository = await _repository(call, params)
    first, last, blob = params["partFirstByte"], params["partLastByte"], params["layerPartBlob"]
    if last - first + 1 != len(blob):
        raise names.invalid("partLastByte", f"must fit the part's {len(blob)} bytes")
    id = params["uploadId"]
    try:
        async with Uploads(call.blobs).open(id, repository.arn) as upload:
            have = upload.writer.offset
            if first != have:
                raise ApiError(
                    "InvalidLayerPartException",
                    f"Part begins at byte {first}, but the upload '{id}' has {have} bytes",
                    fields={
                        **names.named(repository),
                        "uploadId": id,
                        "lastValidByteReceived": max(have - 1, 0),
                    },
                )
            await upload.writer.write(blob)
    except (NoUpload, ContentBusy):
        raise _no_upload(id, repository) from None
    return {**names.named(repository), "uploadId": id, "lastByteReceived": last}


async def complete_layer_upload(call: Call, params: Params) -> Result:
    repository = await _repository(call, params)
    id, given = params["uploadId"], params["layerDigests"]
    if len(given) != 1 or not digests.is_digest(given[0]):
        raise names.invalid("layerDigests", "must have one sha256 digest")
    digest = given[0]
    now = call.now()

    def body(tx: Tx) -> bool:
        """False if the repository has the layer already."""
        here = names.need_repository(tx, call, params)
        if registry.find_link(tx, here, digest) is not None:
            return False
        registry.add_link(tx, here, digest, size, now)
        return True

    try:
        async with Uploads(call.blobs).open(id, repository.arn) as upload:
            if not upload.writer.offset:
                raise ApiError("EmptyUploadException", f"The upload '{id}' has no layer parts")
            size = await upload.finish(digest)
    except (NoUpload, ContentBusy):
        raise _no_upload(id, repository) from None
    except ContentError as error:
        raise ApiError("InvalidLayerException", f"The layer does not fit its digest: {error}") from None
    if not await call.store.write(body):
        message = f"Layer with digest '{digest}' already exists in {names.where(repository)}"
        raise ApiError("LayerAlreadyExistsException", message)
    return {**names.named(repository), "uploadId": id, "layerDigest": digest}


def _no_upload(id: str, repository: Repository) -> ApiError:
    message = f"The upload with id '{id}' does not exist in {names.where(repository)}, or is being written to"
    return ApiError("UploadNotFoundException", message)


async def batch_check_layer_availability(call: Call, params: Params) -> Result:
    wanted = params["layerDigests"]
    if not 1 <= len(wanted) <= _MAX_BATCH:
        raise names.invalid("layerDigests", f"Member must have length between 1 and {_MAX_BATCH}")
    now = call.now()
    layers: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []

    def body(tx: Tx) -> list[Link]:
        repository = names.need_repository(tx, call, params)
        links = [registry.find_link(tx, repository, d) for d in wanted if digests.is_digest(d)]
        return [link for link in links if link is not None]

    links = {link.digest: link for link in await call.store.read(body)}
    for digest in wanted:
        link = links.get(digest)
        if not digests.is_digest(digest):
            reason = "Invalid request parameters: layer digest should be a sha256 digest"
            code = "InvalidLayerDigest" if digest else "MissingLayerDigest"
            failures.append({"layerDigest": digest, "failureCode": code, "failureReason": reason})
        elif link is None:
            layers.append({"layerDigest": digest, "layerAvailability": "UNAVAILABLE"})
        else:
            layers.append({"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": link.size})
    stale = [link for link in links.values() if registry.is_stale(link, now)]
    if stale:
        await call.store.write(lambda tx: registry.touch(tx, stale, now))
    return {"layers": layers, "failures": failures}


async def get_download_url_for_layer(call: Call, params: Params) -> Result:
    """A URL of the registry with a token that opens this one layer, for an hour."""
    digest = params["layerDigest"]

    def body(tx: Tx) -> Repository:
        repository = names.need_repository(tx, call, params)
        if registry.find_link(tx, repository, digest) is None:
            message = f"The layer with digest '{digest}' does not exist in {names.where(repository)}"
            raise ApiError("LayersNotFoundException", message)
        return repository

    repository = await call.store.read(body)
    grant = Grant(
        account=repository.account,
        region=repository.region,
        principal=call.principal_arn,
        session=call.session if call.session is not None and call.session.role_arn else None,
        expires_at=registry_token.ends(call.now(), _DOWNLOAD_SECONDS, call.session),
        blob=f"{repository.name}@{digest}",
    )
    query = urlencode({"token": registry_token.mint(call.house.signing_key, grant)})
    url = f"{call.house.endpoint}/v2/{repository.name}/blobs/{digest}?{query}"
    return {"downloadUrl": url, "layerDigest": digest}
