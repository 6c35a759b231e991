"""The registry's records: look-ups and changes that services/ecr, gateway/registry and services/cell share.

Each function takes a transaction. Errors are ECR's own ApiErrors; gateway/registry spells them as OCI's.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.record import Scope
from neargate.model.registry import Image, Link, Repository, Tag, image_id, repository_arn, tag_id
from neargate.state.catalog import IMAGE, IMAGE_TAG, LINK, REPOSITORY, minute
from neargate.state.store import Tx

_TOUCH_EVERY = 3600.0
_PULL_NOTED_EVERY = 3600.0


def no_repository(scope: Scope, name: str) -> ApiError:
    return ApiError(
        "RepositoryNotFoundException",
        f"The repository with name '{name}' does not exist in the registry with id '{scope.account}'",
    )


def no_image(repository: Repository, digest: str | None, tag: str | None) -> ApiError:
    shown = f"imageDigest:'{digest or 'null'}', imageTag:'{tag or 'null'}'"
    return ApiError(
        "ImageNotFoundException",
        f"The image with imageId {{{shown}}} does not exist within the repository with name "
        f"'{repository.name}' in the registry with id '{repository.account}'",
    )


def need_repository(tx: Tx, scope: Scope, name: str) -> Repository:
    """Raise RepositoryNotFoundException."""
    repository = tx.get(REPOSITORY, repository_arn(scope, name))
    if repository is None:
        raise no_repository(scope, name)
    return repository


# --- blobs


def find_link(tx: Tx, repository: Repository, digest: str) -> Link | None:
    return tx.get(LINK, image_id(repository.arn, digest))


def add_link(tx: Tx, repository: Repository, digest: str, size: int, now: float) -> Link:
    """Link a blob, whose file is in the content store, to the repository."""
    old = find_link(tx, repository, digest)
    link = Link(
        account=repository.account,
        region=repository.region,
        repository=repository.arn,
        digest=digest,
        size=size,
        touched_at=now,
        uses=old.uses if old else 0,
    )
    return tx.put(LINK, link)


def is_stale(link: Link, now: float) -> bool:
    """True if a client that is told of the link should keep it alive with `touch`."""
    return now - link.touched_at > _TOUCH_EVERY


def touch(tx: Tx, links: Iterable[Link], now: float) -> None:
    for link in links:
        kept = tx.get(LINK, LINK.id(link))
        if kept is not None:
            tx.put(LINK, replace(kept, touched_at=now))


def find_anywhere(tx: Tx, scope: Scope, digest: str) -> Link | None:
    """A link to the blob in any repository of the account and region."""
    links = tx.find(LINK, "digest", digest)
    return next((x for x in links if (x.account, x.region) == (scope.account, scope.region)), None)


def drop_unused_links(tx: Tx, before: float, limit: int) -> int:
    """Unlink up to `limit` blobs that no image names and nobody asked for since `before`; how many."""
    dropped = 0
    for value in tx.values(LINK, "unused", until=minute(before - 60), limit=limit):
        for link in tx.find(LINK, "unused", value, limit=limit - dropped):
            tx.delete(LINK, LINK.id(link))
            dropped += 1
        if dropped >= limit:
            break
    return dropped


def is_known(tx: Tx, digest: str) -> bool:
    """True if any repository has the blob, as a layer, a config or a manifest."""
    return bool(tx.count(LINK, "digest", digest) or tx.count(IMAGE, "digest", digest))


# --- images


def find_image(tx: Tx, repository: Repository, digest: str) -> Image | None:
    return tx.get(IMAGE, image_id(repository.arn, digest))


def find_tag(tx: Tx, repository: Repository, tag: str) -> Tag | None:
    return tx.get(IMAGE_TAG, tag_id(repository.arn, tag))


def resolve(tx: Tx, scope: Scope, name: str, reference: str) -> Image:
    """The image that a tag or a digest names. Raise RepositoryNotFoundException, ImageNotFoundException.

    Its manifest's bytes are the blob `image.digest`.
    """
    repository = need_repository(tx, scope, name)
    digest, tag = (reference, None) if ":" in reference else (None, reference)
    if tag is not None and (found := find_tag(tx, repository, tag)) is not None:
        digest = found.digest
    image = find_image(tx, repository, digest) if digest is not None else None
    if image is None:
        raise no_image(repository, digest if tag is None else None, tag)
    return image


def pull_is_news(image: Image, now: float) -> bool:
    """True if a pull at `now` is worth a write of its own."""
    return image.pulled_at is None or now - image.pulled_at > _PULL_NOTED_EVERY


def note_pull(tx: Tx, image: Image, now: float) -> None:
    kept = tx.get(IMAGE, IMAGE.id(image))
    if kept is not None:
        tx.put(IMAGE, replace(kept, pulled_at=now))


def tags_of(tx: Tx, image: Image) -> list[str]:
    return [tag.name for tag in tx.find(IMAGE_TAG, "image", IMAGE.id(image))]


def put_image(
    tx: Tx, repository: Repository, image: Image, sizes: Mapping[str, int], tag: str | None, now: float
) -> Image:
    """Keep an image whose manifest is in the content store, and let `tag` name it.

    sizes -- bytes that the manifest says each blob has. Raise LayersNotFoundException,
    ReferencedImagesNotFoundException, ImageTagAlreadyExistsException, InvalidParameterException.
    """
    if tag is not None:
        check_mutable(tx, repository, tag, image.digest)
    kept = find_image(tx, repository, image.digest)
    if kept is None:
        _need_children(tx, repository, image.children)
        for link in _need_blobs(tx, repository, sizes):
            tx.put(LINK, replace(link, uses=link.uses + 1, touched_at=now))
        kept = tx.put(IMAGE, image)
    if tag is not None:
        record = Tag(
            account=image.account,
            region=image.region,
            repository=repository.arn,
            name=tag,
            digest=image.digest,
        )
        tx.put(IMAGE_TAG, record)
    return kept


def check_mutable(tx: Tx, repository: Repository, tag: str, digest: str) -> None:
    """Raise ImageTagAlreadyExistsException if `tag` names another image and may not be moved."""
    old = find_tag(tx, repository, tag)
    if old is not None and old.digest != digest and repository.is_immutable(tag):
        raise ApiError(
            "ImageTagAlreadyExistsException",
            f"The image tag '{tag}' already exists in the '{repository.name}' repository and cannot be "
            "overwritten because the tag is immutable.",
        )


def _need_blobs(tx: Tx, repository: Repository, sizes: Mapping[str, int]) -> list[Link]:
    links = {digest: find_link(tx, repository, digest) for digest in sizes}
    absent = [digest for digest, link in links.items() if link is None]
    if absent:
        raise ApiError("LayersNotFoundException", _absent("Layers", absent, repository))
    found = [link for link in links.values() if link is not None]
    for link in found:
        if link.size != sizes[link.digest]:
            raise ApiError(
                "InvalidParameterException",
                f"Invalid parameter at 'imageManifest' failed to satisfy constraint: 'blob {link.digest} has "
                f"{link.size} bytes, but the manifest says {sizes[link.digest]}'",
            )
    return found


def _need_children(tx: Tx, repository: Repository, children: Sequence[str]) -> None:
    absent = [digest for digest in children if find_image(tx, repository, digest) is None]
    if absent:
        raise ApiError("ReferencedImagesNotFoundException", _absent("Images", absent, repository))


def _absent(what: str, digests: Iterable[str], repository: Repository) -> str:
    return (
        f"{what} with digests '[{', '.join(digests)}]' required for pushing image into repository with name "
        f"'{repository.name}' in the registry with id '{repository.account}' do not exist"
    )


def parents_of(tx: Tx, image: Image) -> list[str]:
    """Digests of the indexes that name the image."""
    indexes = tx.find(IMAGE, "index", image.repository)
    return [index.digest for index in indexes if image.digest in index.children]


def delete_image(tx: Tx, image: Image, now: float) -> list[str]:
    """Forget an image and its tags, which are returned; blobs that no other image names become unused."""
    tags = tags_of(tx, image)
    for tag in tags:
        tx.delete(IMAGE_TAG, tag_id(image.repository, tag))
    for digest in image.blobs:
        link = tx.get(LINK, image_id(image.repository, digest))
        if link is not None:
            tx.put(LINK, replace(link, uses=link.uses - 1, touched_at=now))
    tx.delete(IMAGE, IMAGE.id(image))
    return tags


def delete_repository(tx: Tx, repository: Repository) -> None:
    """Forget a repository and all in it; its blobs' files go when they are collected."""
    for tag in tx.find(IMAGE_TAG, "repository", repository.arn):
        tx.delete(IMAGE_TAG, IMAGE_TAG.id(tag))
    for image in tx.find(IMAGE, "repository", repository.arn):
        tx.delete(IMAGE, IMAGE.id(image))
    for link in tx.find(LINK, "repository", repository.arn):
        tx.delete(LINK, LINK.id(link))
    tx.delete(REPOSITORY, repository.arn)
