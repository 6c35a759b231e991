"""Manifests, indexes and image configs: parsed with bounds, because whoever pushed them may be hostile.

Called by images.py (pull), services/ecr and gateway/registry (push). Shapes: OCI image specification 1.1 and
Docker image manifest v2 schema 2.
"""

import platform
from dataclasses import dataclass, field
from typing import Any

import msgspec

from neargate.oci import digest as digests

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_INDEX)
ACCEPT = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))

MAX_MANIFEST = 4 * 1024 * 1024
MAX_CONFIG = 8 * 1024 * 1024
MAX_LAYERS = 500
MAX_LAYER = 52 * 1000**3
"""Bytes: ECR's own bound of one layer."""
MAX_INDEX = 1000
_FOREIGN = "foreign.diff"


class ManifestError(ValueError):
    """The document cannot be used as what it says it is; the message says why."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: str
    size: int
    """Bytes."""
    platform: dict[str, Any] | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    foreign: bool = False
    """Not distributable: a registry need not have it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest (config and layers) or an index (manifests)."""

    media_type: str
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: dict[str, str]

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEX_TYPES


def parse(data: bytes, media_type: str = "") -> Manifest:
    """Raise ManifestError on anything but a manifest or an index of the four known media types."""
    if len(data) > MAX_MANIFEST:
        raise ManifestError(f"manifest of {len(data)} bytes: at most {MAX_MANIFEST} are accepted")
    document = _object(data, "manifest")
    kind = _kind(document, media_type)
    if document.get("schemaVersion") != 2:
        raise ManifestError(f"schemaVersion is {document.get('schemaVersion')!r}: it must be 2")
    annotations = _annotations(document.get("annotations"))
    subject = _descriptor(document["subject"], "subject") if document.get("subject") is not None else None
    if kind in INDEX_TYPES:
        entries = _descriptors(document.get("manifests"), "manifests", MAX_INDEX)
        artifact = str(document.get("artifactType") or "")
        return Manifest(kind, None, (), entries, subject, artifact, annotations)
    config = _descriptor(document.get("config"), "config")
    layers = _descriptors(document.get("layers"), "layers", MAX_LAYERS)
    artifact = str(document.get("artifactType") or config.media_type)
    return Manifest(kind, config, layers, (), subject, artifact, annotations)


def _kind(document: dict[str, Any], media_type: str) -> str:
    said = document.get("mediaType")
    media_type = media_type.partition(";")[0].strip()
    if media_type not in MANIFEST_TYPES + INDEX_TYPES:
        media_type = ""  # servers that answer application/json: the document itself must tell
    if said and media_type and said != media_type:
        raise ManifestError(f"mediaType is {said!r}, but it was sent as {media_type!r}")
    if "layers" in document and "manifests" in document:
        raise ManifestError("has both layers and manifests")
    kind = said or media_type or (OCI_INDEX if "manifests" in document else OCI_MANIFEST)
    if kind not in MANIFEST_TYPES + INDEX_TYPES:
        raise ManifestError(f"media type {kind!r} is not supported")
    if kind in INDEX_TYPES and "manifests" not in document:
        raise ManifestError("an index must have manifests")
    return str(kind)


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ManifestError(f"{what} is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise ManifestError(f"{what} must be a JSON object")
    return document


def _descriptors(value: Any, where: str, limit: int) -> tuple[Descriptor, ...]:
    if not isinstance(value, list):
        raise ManifestError(f"{where} must be a list")
    if len(value) > limit:
        raise ManifestError(f"{where} has {len(value)} entries: at most {limit} are accepted")
    return tuple(_descriptor(item, f"{where}[{i}]") for i, item in enumerate(value))


def _descriptor(value: Any, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestError(f"{where} must be a descriptor")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise ManifestError(f"{where} must have mediaType and digest")
    if not digests.is_digest(digest):
        raise ManifestError(f"{where}.digest {digest[:100]!r} is not a sha256 digest")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_LAYER:
        raise ManifestError(f"{where}.size {size!r} must be 0 to {MAX_LAYER}")
    wanted = value.get("platform")
    return Descriptor(
        media_type,
        digest,
        size,
        wanted if isinstance(wanted, dict) else None,
        _annotations(value.get("annotations")),
        str(value.get("artifactType") or ""),
        _FOREIGN in media_type or ".nondistributable." in media_type,
    )


def _annotations(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ManifestError("annotations must map strings to strings")
    return value


def host_architecture() -> str:
    """As Go names it: amd64, arm64."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def choose(index: Manifest, architecture: str) -> Descriptor | None:
    """The image manifest of an index for linux on `architecture`; None if it has none.

    An entry without a platform is taken only if nothing else fits. The plainest variant wins.
    """
    fitting: list[tuple[int, int, Descriptor]] = []
    for order, entry in enumerate(index.manifests):
        if entry.media_type not in MANIFEST_TYPES + INDEX_TYPES:
            continue
        where = entry.platform
        if where is None:
            fitting.append((2, order, entry))
        elif where.get("os") == "linux" and where.get("architecture") == architecture:
            plain = not where.get("variant") or (architecture, where["variant"]) == ("arm64", "v8")
            fitting.append((0 if plain else 1, order, entry))
    return min(fitting, key=lambda item: item[:2])[2] if fitting else None


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about its containers. Lists are None where the image says nothing."""

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()


def parse_config(data: bytes) -> tuple[ImageConfig, tuple[str, ...], str]:
    """(config, diff_ids, architecture) of an image configuration. Raise ManifestError if it is none."""
    document = _object(data, "image config")
    rootfs = document.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(
        isinstance(d, str) and digests.is_digest(d) for d in diff_ids
    ):
        raise ManifestError("image config has no rootfs.diff_ids")
    inner = document.get("config") or {}
    if not isinstance(inner, dict):
        raise ManifestError("image config: config must be an object")
    labels = inner.get("Labels") or {}
    config = ImageConfig(
        entrypoint=_strings(inner, "Entrypoint"),
        cmd=_strings(inner, "Cmd"),
        env=_strings(inner, "Env") or (),
        working_dir=_string(inner, "WorkingDir"),
        user=_string(inner, "User"),
        stop_signal=_string(inner, "StopSignal"),
        exposed_ports=tuple(_keys(inner, "ExposedPorts")),
        labels={str(k): str(v) for k, v in labels.items()} if isinstance(labels, dict) else {},
        volumes=tuple(_keys(inner, "Volumes")),
    )
    return config, tuple(diff_ids), str(document.get("architecture") or "")


def _strings(inner: dict[str, Any], name: str) -> tuple[str, ...] | None:
    value = inner.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ManifestError(f"image config: {name} must be a list of strings")
    return tuple(value)


def _string(inner: dict[str, Any], name: str) -> str:
    value = inner.get(name) or ""
    if not isinstance(value, str):
        raise ManifestError(f"image config: {name} must be a string")
    return value


def _keys(inner: dict[str, Any], name: str) -> list[str]:
    value = inner.get(name) or {}
    return [str(key) for key in value] if isinstance(value, dict) else []
