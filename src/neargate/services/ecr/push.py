"""A manifest comes in: checked against what the repository has, then kept with its tag.

Called by images.py (PutImage) and by gateway/registry (PUT of a manifest); the changes are state/registry's.
"""

from neargate.kit.errors import ApiError
from neargate.model.record import Scope
from neargate.model.registry import Image
from neargate.oci.manifest import INDEX_TYPES, MANIFEST_TYPES, Manifest, ManifestError, parse
from neargate.services.call import House
from neargate.state import registry
from neargate.state.store import Tx

_KNOWN = MANIFEST_TYPES + INDEX_TYPES


def read_manifest(data: bytes, media_type: str) -> Manifest:
    """Raise ManifestError; unlike a pull, a push must say what it is."""
    said = media_type.partition(";")[0].strip()
    if said and said not in _KNOWN:
        raise ManifestError(
            f"media type {said[:100]!r} is not supported: it must be one of {', '.join(_KNOWN)}"
        )
    return parse(data, said)


async def put_manifest(
    house: House, scope: Scope, name: str, data: bytes, manifest: Manifest, tag: str | None
) -> tuple[Image, bool]:
    """(the image, True if the repository had it under this tag already). Raise ApiError as ECR does."""
    sizes = _sizes(manifest)
    # Nobody fills the disk with manifests for repositories that are not there.
    await house.store.read(lambda tx: registry.need_repository(tx, scope, name))
    digest = await house.blobs.put(data)
    now = house.clock.now()

    def body(tx: Tx) -> tuple[Image, bool]:
        repository = registry.need_repository(tx, scope, name)
        image = Image(
            account=scope.account,
            region=scope.region,
            repository=repository.arn,
            digest=digest,
            media_type=manifest.media_type,
            manifest_size=len(data),
            pushed_at=now,
            size=sum(sizes.values()),
            artifact_type=manifest.artifact_type,
            blobs=tuple(sizes),
            children=tuple(dict.fromkeys(m.digest for m in manifest.manifests if m.media_type in _KNOWN)),
            subject=manifest.subject.digest if manifest.subject else None,
            annotations=manifest.annotations if manifest.subject else {},
        )
        old = registry.find_tag(tx, repository, tag) if tag is not None else None
        had = registry.find_image(tx, repository, digest) is not None
        same = had and (tag is None or (old is not None and old.digest == digest))
        return registry.put_image(tx, repository, image, sizes, tag, now), same

    return await house.store.write(body)


def _sizes(manifest: Manifest) -> dict[str, int]:
    """Bytes of each blob that the repository must have. Raise ApiError on a blob with two sizes."""
    named = [manifest.config, *manifest.layers] if manifest.config else list(manifest.layers)
    named += [m for m in manifest.manifests if m.media_type not in _KNOWN]
    sizes: dict[str, int] = {}
    for item in named:
        if not item.foreign and sizes.setdefault(item.digest, item.size) != item.size:
            raise ApiError(
                "InvalidParameterException",
                "Invalid parameter at 'imageManifest' failed to satisfy constraint: "
                f"'blob {item.digest} is given two sizes'",
            )
    return sizes
