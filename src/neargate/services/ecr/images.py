"""Images of a repository: describe, list, get, put, delete.

Called by gateway/dispatch. What changes records is state/registry's; manifests are blobs.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.registry import Image, Repository, tag_id
from neargate.oci import digest as digests
from neargate.oci import reference
from neargate.oci.manifest import MAX_MANIFEST, ManifestError
from neargate.services.call import Call, Params, Result
from neargate.services.ecr import names, push
from neargate.services.ecr.names import ImageFailure
from neargate.state import registry
from neargate.state.catalog import IMAGE, IMAGE_TAG
from neargate.state.store import Tx

_MAX_BATCH = 100


async def describe_images(call: Call, params: Params) -> Result:
    wanted = params.get("imageIds")
    if wanted:
        if "maxResults" in params or "nextToken" in params:
            raise names.invalid("maxResults", "must not be given together with imageIds")
        return {"imageDetails": await call.store.read(lambda tx: _described(tx, call, params, wanted))}
    place, limit = names.page(params)

    def body(tx: Tx) -> list[dict[str, Any]]:
        repository = names.need_repository(tx, call, params)
        images = tx.find(IMAGE, "repository", repository.arn)
        tagged = _tags(tx, repository)
        later = (i for i in images if i.digest > (place[0] if place else "") and _passes(i, tagged, params))
        return [_detail(repository, i, tagged.get(i.digest, [])) for i in islice(later, limit + 1)]

    found = await call.store.scan(body)
    result: Result = {"imageDetails": found[:limit]}
    if len(found) > limit:
        result["nextToken"] = names.token([found[limit - 1]["imageDigest"]])
    return result


def _described(
    tx: Tx, call: Call, params: Params, wanted: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    repository = names.need_repository(tx, call, params)
    details: dict[str, dict[str, Any]] = {}
    for image_id in wanted:
        try:
            image = names.find_image(tx, repository, image_id)
        except ImageFailure as failure:
            if failure.code.startswith(("Invalid", "Missing")):
                raise names.invalid("imageIds", failure.reason) from None
            digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
            raise registry.no_image(repository, digest, tag) from None
        if _passes(image, {image.digest: registry.tags_of(tx, image)}, params):
            details[image.digest] = _detail(repository, image, registry.tags_of(tx, image))
    return list(details.values())


def _tags(tx: Tx, repository: Repository) -> dict[str, list[str]]:
    """Tags by digest."""
    tagged: dict[str, list[str]] = {}
    for tag in tx.find(IMAGE_TAG, "repository", repository.arn):
        tagged.setdefault(tag.digest, []).append(tag.name)
    return tagged


def _passes(image: Image, tagged: Mapping[str, Sequence[str]], params: Params) -> bool:
    status = (params.get("filter") or {}).get("tagStatus", "ANY")
    active = (params.get("filter") or {}).get("imageStatus", "ANY") in ("ANY", "ACTIVE")
    return active and (status == "ANY" or (status == "TAGGED") == bool(tagged.get(image.digest)))


def _detail(repository: Repository, image: Image, tags: Sequence[str]) -> dict[str, Any]:
    detail: dict[str, Any] = {
        **names.named(repository),
        "imageDigest": image.digest,
        "imageSizeInBytes": image.size,
        "imagePushedAt": image.pushed_at,
        "imageManifestMediaType": image.media_type,
        "imageStatus": "ACTIVE",
    }
    if tags:
        detail["imageTags"] = list(tags)
    if image.artifact_type:
        detail["artifactMediaType"] = image.artifact_type
    if image.subject:
        detail["subjectManifestDigest"] = image.subject
    if image.pulled_at is not None:
        detail["lastRecordedPullTime"] = image.pulled_at
    return detail


async def list_images(call: Call, params: Params) -> Result:
    """One entry for each tag, and one for each image without."""
    place, limit = names.page(params)

    def body(tx: Tx) -> list[tuple[str, str]]:
        repository = names.need_repository(tx, call, params)
        tagged = _tags(tx, repository)
        entries = [
            (image.digest, tag)
            for image in tx.find(IMAGE, "repository", repository.arn)
            if _passes(image, tagged, params)
            for tag in tagged.get(image.digest, [""])
        ]
        return [entry for entry in entries if list(entry) > place][: limit + 1]

    found = await call.store.scan(body)
    result: Result = {
        "imageIds": [{"imageDigest": d, **({"imageTag": t} if t else {})} for d, t in found[:limit]]
    }
    if len(found) > limit:
        result["nextToken"] = names.token(found[limit - 1])
    return result


async def batch_get_image(call: Call, params: Params) -> Result:
    wanted = _batch(params)
    accepted = params.get("acceptedMediaTypes")

    def body(tx: Tx) -> tuple[Repository, list[tuple[Mapping[str, str], Image]], list[dict[str, Any]]]:
        repository = names.need_repository(tx, call, params)
        found, failures = [], []
        for image_id in wanted:
            try:
                image = names.find_image(tx, repository, image_id)
                if accepted and image.media_type not in accepted:
                    raise ImageFailure(
                        "ImageNotFound", "Requested image has none of the accepted media types"
                    )
                found.append((image_id, image))
            except ImageFailure as failure:
                failures.append(failure.shown(image_id))
        return repository, found, failures

    repository, found, failures = await call.store.read(body)
    images = []
    for image_id, image in found:
        manifest = await call.blobs.get(image.digest, MAX_MANIFEST)
        images.append(_shown(repository, image, image_id.get("imageTag"), manifest.decode()))
    return {"images": images, "failures": failures}


def _batch(params: Params) -> list[Mapping[str, str]]:
    wanted = list(params["imageIds"])
    if not 1 <= len(wanted) <= _MAX_BATCH:
        raise names.invalid("imageIds", f"Member must have length between 1 and {_MAX_BATCH}")
    return wanted


def _shown(repository: Repository, image: Image, tag: str | None, manifest: str) -> dict[str, Any]:
    image_id = {"imageDigest": image.digest, **({"imageTag": tag} if tag else {})}
    return {
        **names.named(repository),
        "imageId": image_id,
        "imageManifest": manifest,
        "imageManifestMediaType": image.media_type,
    }


async def put_image(call: Call, params: Params) -> Result:
    text, tag = params["imageManifest"], params.get("imageTag")
    if tag is not None and not reference.check_tag(tag):
        raise names.invalid("imageTag", "must satisfy regular expression '[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}'")
    data = text.encode()
    digest = digests.of(data)
    if params.get("imageDigest", digest) != digest:
        message = f"Image digest '{params['imageDigest']}' does not match calculated digest '{digest}'"
        raise ApiError("ImageDigestDoesNotMatchException", message)
    scope = names.scope_of(call, params)
    try:
        manifest = push.read_manifest(data, params.get("imageManifestMediaType") or "")
    except ManifestError as error:
        await call.store.read(lambda tx: names.need_repository(tx, call, params))
        raise names.invalid("imageManifest", str(error)) from None
    image, same = await push.put_manifest(call.house, scope, params["repositoryName"], data, manifest, tag)
    repository = await call.store.read(lambda tx: names.need_repository(tx, call, params))
    if same:
        named = f"with digest '{digest}'" + (f" and tag '{tag}'" if tag else "")
        raise ApiError(
            "ImageAlreadyExistsException", f"Image {named} already exists in {names.where(repository)}"
        )
    return {"image": _shown(repository, image, tag, text)}


async def batch_delete_image(call: Call, params: Params) -> Result:
    """By digest an image goes with its tags; by tag the tag goes, and with an image's last tag the image."""
    wanted = _batch(params)
    now = call.now()

    def body(tx: Tx) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
        repository = names.need_repository(tx, call, params)
        gone: list[dict[str, str]] = []
        failures: list[dict[str, Any]] = []
        for image_id in wanted:
            try:
                gone += _delete(tx, repository, image_id, now)
            except ImageFailure as failure:
                failures.append(failure.shown(image_id))
        return gone, failures

    gone, failures = await call.store.write(body)
    return {"imageIds": gone, "failures": failures}


def _delete(tx: Tx, repository: Repository, image_id: Mapping[str, str], now: float) -> list[dict[str, str]]:
    image = names.find_image(tx, repository, image_id)
    tag = image_id.get("imageTag")
    if tag and not image_id.get("imageDigest") and len(registry.tags_of(tx, image)) > 1:
        tx.delete(IMAGE_TAG, tag_id(repository.arn, tag))
        return [{"imageDigest": image.digest, "imageTag": tag}]
    if parents := registry.parents_of(tx, image):
        raise ImageFailure(
            "ImageReferencedByManifestList",
            f"Requested image referenced by manifest list: [{', '.join(parents)}]",
        )
    tags = registry.delete_image(tx, image, now)
    return [{"imageDigest": image.digest, "imageTag": t} for t in tags] or [{"imageDigest": image.digest}]
