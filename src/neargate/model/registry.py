"""Records and pure rules of the built-in registry: repositories, the blobs linked to them, images, tags.

Written by state/registry for services/ecr and gateway/registry. Blobs themselves are files of the content
store, kept once however many repositories link to them.
"""

import re

from neargate.model.record import Record, Scope

DIGEST_PATTERN = r"[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+"


class Repository(Record, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    created_at: float
    tag_mutability: str = "MUTABLE"
    """MUTABLE, IMMUTABLE, or one of them WITH_EXCLUSION of the tags that a filter matches."""
    exclusion_filters: tuple[str, ...] = ()
    """Wildcards: `*` stands for any text."""
    scan_on_push: bool = False
    encryption_type: str = "AES256"
    kms_key: str | None = None
    policy: str | None = None
    lifecycle_policy: str | None = None
    tags: dict[str, str] = {}

    @property
    def arn(self) -> str:
        return repository_arn(Scope(self.account, self.region), self.name)

    @property
    def uri(self) -> str:
        """The name that task definitions use; it means this registry, wherever its door is."""
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com/{self.name}"

    def is_immutable(self, tag: str) -> bool:
        """True if an image may not take `tag` from another."""
        base, _, excluding = self.tag_mutability.partition("_")
        excluded = bool(excluding) and any(matches(f, tag) for f in self.exclusion_filters)
        return (base == "IMMUTABLE") != excluded


class Link(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A blob that a repository has."""

    repository: str
    """ARN."""
    digest: str
    size: int
    touched_at: float
    """When a client last made sure that it is here; unused ones go some time after that."""
    uses: int = 0
    """Images of the repository that name it."""


class Image(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A manifest or an index of a repository; its bytes are a blob."""

    repository: str
    """ARN."""
    digest: str
    media_type: str
    manifest_size: int
    pushed_at: float
    size: int = 0
    """Bytes of config and layers."""
    artifact_type: str = ""
    blobs: tuple[str, ...] = ()
    """Digests of the distinct blobs that it names and the repository has linked."""
    children: tuple[str, ...] = ()
    """Digests of the manifests that an index names."""
    subject: str | None = None
    """Digest of the manifest that it refers to."""
    annotations: dict[str, str] = {}
    """Kept for referrers only."""
    pulled_at: float | None = None


class Tag(Record, frozen=True, kw_only=True, omit_defaults=True):
    repository: str
    """ARN."""
    name: str
    digest: str


def repository_arn(scope: Scope, name: str) -> str:
    return scope.arn("ecr", f"repository/{name}")


def image_id(repository: str, digest: str) -> str:
    """Id of an image or a link; `repository` is an ARN."""
    return f"{repository}@{digest}"


def tag_id(repository: str, tag: str) -> str:
    return f"{repository}:{tag}"


def matches(pattern: str, tag: str) -> bool:
    """`*` stands for any text, nothing else is special."""
    return re.fullmatch(".*".join(re.escape(part) for part in re.split(r"\*+", pattern)), tag) is not None
