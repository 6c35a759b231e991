"""Manifests of a repository by tag or digest: GET, HEAD, PUT, DELETE. Called by registry.py.

PUT goes through services/ecr/push, as the API's PutImage does.
"""

from neargate.gateway.registry_http import Answer, RegistryError
from neargate.gateway.registry_visit import Visit
from neargate.model.registry import Image, tag_id
from neargate.oci import digest as digests
from neargate.oci import reference
from neargate.oci.content import ContentError
from neargate.oci.manifest import MAX_MANIFEST, ManifestError
from neargate.services.ecr import push
from neargate.state import registry
from neargate.state.catalog import IMAGE_TAG
from neargate.state.store import Tx


async def get(visit: Visit, ref: str) -> Answer:
    _check(ref)
    image = await visit.house.store.read(lambda tx: registry.resolve(tx, visit.scope, visit.name, ref))
    _check_accepted(visit.incoming.headers.get("accept", ""), image)
    headers = {
        "content-type": image.media_type,
        "content-length": str(image.manifest_size),
        "docker-content-digest": image.digest,
        "etag": f'"{image.digest}"',
    }
    if visit.incoming.method == "HEAD":
        return Answer(200, headers)
    try:
        data = await visit.house.blobs.get(image.digest, MAX_MANIFEST)
    except ContentError as error:
        raise RegistryError(404, "MANIFEST_UNKNOWN", str(error)) from None
    now = visit.house.clock.now()
    if registry.pull_is_news(image, now):
        await visit.house.store.write(lambda tx: registry.note_pull(tx, image, now))
    return Answer(200, headers, data)


def _check_accepted(accept: str, image: Image) -> None:
    """Raise MANIFEST_UNKNOWN where the client says that it cannot read what it would get."""
    kinds = [item.partition(";")[0].strip() for item in accept.split(",")]
    wanted = [kind for kind in kinds if kind and kind != "application/json"]
    if wanted and not {image.media_type, "*/*", "application/*"} & set(wanted):
        raise RegistryError(
            404, "MANIFEST_UNKNOWN", f"{image.media_type} found, but the Accept header does not name it"
        )


async def put(visit: Visit, ref: str) -> Answer:
    _check(ref)
    await visit.repository()
    if (visit.incoming.length or 0) > MAX_MANIFEST:
        raise RegistryError(413, "SIZE_INVALID", f"a manifest may have {MAX_MANIFEST} bytes at most")
    data = await visit.incoming.read(MAX_MANIFEST)
    digest = digests.of(data)
    if ":" in ref and ref != digest:
        raise RegistryError(400, "DIGEST_INVALID", f"the manifest's digest is {digest}, not {ref}")
    try:
        manifest = push.read_manifest(data, visit.incoming.headers.get("content-type", ""))
    except ManifestError as error:
        raise RegistryError(400, "MANIFEST_INVALID", str(error)) from None
    tag = None if ":" in ref else ref
    image, _ = await push.put_manifest(visit.house, visit.scope, visit.name, data, manifest, tag)
    headers = {"location": f"{visit.base}/manifests/{image.digest}", "docker-content-digest": image.digest}
    if image.subject:
        headers["oci-subject"] = image.subject
    return Answer(201, headers)


async def delete(visit: Visit, ref: str) -> Answer:
    """By digest the image goes, with its tags; by tag only the tag."""
    _check(ref)
    now = visit.house.clock.now()

    def body(tx: Tx) -> None:
        image = registry.resolve(tx, visit.scope, visit.name, ref)
        if ":" not in ref:
            tx.delete(IMAGE_TAG, tag_id(image.repository, ref))
            return
        if parents := registry.parents_of(tx, image):
            raise RegistryError(409, "DENIED", f"image referenced by manifest list: [{', '.join(parents)}]")
        registry.delete_image(tx, image, now)

    await visit.house.store.write(body)
    return Answer(202)


def _check(ref: str) -> None:
    if ":" in ref:
        digests.check(ref)
    elif not reference.check_tag(ref):
        raise RegistryError(
            400, "TAG_INVALID", f"{ref[:200]!r} is not a tag: up to 128 letters, digits, _ . -"
        )
