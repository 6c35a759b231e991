"""Manifests, indexes and image configs: what is read from them, and what is refused, however it is wrong."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.oci import manifest as m
from neargate.oci.manifest import Descriptor, Manifest, ManifestError, choose, parse, parse_config

D1, D2, D3 = (f"sha256:{c * 64}" for c in "123")
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def descriptor(digest: str = D1, size: int = 10, media_type: str = LAYER, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


def image(**changes: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": m.OCI_MANIFEST,
        "config": descriptor(D2, 5, m.OCI_CONFIG),
        "layers": [descriptor()],
    }
    return json.dumps({k: v for k, v in (document | changes).items() if v is not ...}).encode()


def index(*entries: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(
        {"schemaVersion": 2, "mediaType": m.OCI_INDEX, "manifests": list(entries), **changes}
    ).encode()


def entry(digest: str, os: str, architecture: str, variant: str = "", kind: str = m.OCI_MANIFEST) -> Any:
    platform = {"os": os, "architecture": architecture} | ({"variant": variant} if variant else {})
    return descriptor(digest, 7, kind, platform=platform)


def test_an_image_manifest() -> None:
    found = parse(image(annotations={"a": "b"}, subject=descriptor(D3, 9, m.OCI_MANIFEST)))
    assert found == Manifest(
        m.OCI_MANIFEST,
        Descriptor(m.OCI_CONFIG, D2, 5),
        (Descriptor(LAYER, D1, 10),),
        (),
        Descriptor(m.OCI_MANIFEST, D3, 9),
        m.OCI_CONFIG,
        {"a": "b"},
    )
    assert not found.is_index


def test_the_kind_is_told_by_the_document_the_header_or_the_shape() -> None:
    assert parse(image(mediaType=...), m.DOCKER_MANIFEST).media_type == m.DOCKER_MANIFEST
    assert parse(image(mediaType=...), "application/json").media_type == m.OCI_MANIFEST
    assert parse(image(), f"{m.OCI_MANIFEST}; charset=utf-8").media_type == m.OCI_MANIFEST
    assert parse(index(), "application/json").is_index
    assert parse(json.dumps({"schemaVersion": 2, "manifests": []}).encode()).is_index


def test_foreign_layers_are_marked() -> None:
    kinds = [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        LAYER,
    ]
    found = parse(image(layers=[descriptor(media_type=kind) for kind in kinds]))
    assert [layer.foreign for layer in found.layers] == [True, True, False]


HOSTILE = [
    (b"", "no JSON"),
    (b"{", "no JSON"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b"\xff\xfe", "no JSON"),
    (b"[" * 100_000, "no JSON"),
    (b" " * (m.MAX_MANIFEST + 1), "at most"),
    (image(schemaVersion=1), "schemaVersion is 1"),
    (image(schemaVersion=...), "schemaVersion is None"),
    (image(mediaType="text/html"), "not supported"),
    (image(mediaType=m.OCI_INDEX), "must have manifests"),
    (image(manifests=[]), "both layers and manifests"),
    (image(config=...), "config must be a descriptor"),
    (image(config=[]), "config must be a descriptor"),
    (image(layers=...), "layers must be a list"),
    (image(layers={}), "layers must be a list"),
    (image(layers=[1]), r"layers\[0\] must be a descriptor"),
    (image(layers=[descriptor(), {}]), r"layers\[1\] must have mediaType and digest"),
    (image(layers=[descriptor("sha256:../../../etc/passwd")]), "not a sha256 digest"),
    (image(layers=[descriptor("sha512:" + "1" * 128)]), "not a sha256 digest"),
    (image(layers=[descriptor(size=-1)]), "size -1 must be"),
    (image(layers=[descriptor(size=m.MAX_LAYER + 1)]), "must be 0 to"),
    (image(layers=[descriptor(size=10**30)]), "must be 0 to"),
    (image(layers=[descriptor() | {"size": "10"}]), "size '10' must be"),
    (image(layers=[descriptor() | {"size": True}]), "size True must be"),
    (image(layers=[descriptor() | {"size": 1.5}]), "size 1.5 must be"),
    (image(layers=[descriptor()] * (m.MAX_LAYERS + 1)), "at most 500"),
    (image(annotations={"a": 1}), "annotations"),
    (image(annotations=[]), "annotations"),
    (image(subject="x"), "subject must be a descriptor"),
    (image(subject={}), "subject must have"),
    (index(*[descriptor()] * (m.MAX_INDEX + 1)), "at most 1000"),
    (index(descriptor(size=-5)), "size -5"),
    (index(layers=[]), "both layers and manifests"),
]


@pytest.mark.parametrize(("data", "why"), HOSTILE)
def test_hostile_manifests_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        parse(data)


def test_a_media_type_that_contradicts_the_document() -> None:
    with pytest.raises(ManifestError, match="but it was sent as"):
        parse(image(), m.DOCKER_MANIFEST)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = (
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "annotations",
    "subject",
    "artifactType",
)


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.sampled_from(["", m.OCI_MANIFEST, m.OCI_INDEX]))
@settings(max_examples=300)
def test_any_document_is_a_manifest_or_refused(changes: dict[str, Any], media_type: str) -> None:
    base = json.loads(image()) | changes
    try:
        found = parse(json.dumps(base).encode(), media_type)
    except ManifestError:
        return
    assert all(0 <= layer.size <= m.MAX_LAYER for layer in found.layers)


@given(st.dictionaries(st.sampled_from(["config", "rootfs", "architecture", "os"]), JSON))
@settings(max_examples=200)
def test_any_config_is_read_or_refused(changes: dict[str, Any]) -> None:
    base = {"architecture": "amd64", "rootfs": {"diff_ids": [D1]}, "config": {}} | changes
    try:
        facts, diff_ids, architecture = parse_config(json.dumps(base).encode())
    except ManifestError:
        return
    assert isinstance(architecture, str) and isinstance(facts.env, tuple)
    assert all(d.startswith("sha256:") for d in diff_ids)


@pytest.mark.parametrize(
    ("entries", "chosen"),
    [
        ([entry(D1, "linux", "arm64"), entry(D2, "linux", "amd64")], D2),
        ([entry(D1, "windows", "amd64"), entry(D2, "linux", "amd64")], D2),
        ([entry(D1, "windows", "amd64"), entry(D2, "linux", "s390x")], None),
        ([entry(D1, "linux", "amd64", "v3"), entry(D2, "linux", "amd64")], D2),
        ([entry(D1, "linux", "amd64", "v2")], D1),
        ([entry(D1, "linux", "amd64"), entry(D2, "linux", "amd64")], D1),
        ([descriptor(D1, 1, m.OCI_MANIFEST), entry(D2, "linux", "amd64")], D2),
        ([descriptor(D1, 1, m.OCI_MANIFEST)], D1),
        ([entry(D1, "unknown", "unknown"), entry(D2, "linux", "amd64")], D2),  # attestations of buildx
        ([entry(D1, "linux", "amd64", kind="application/octet-stream")], None),
        ([entry(D1, "linux", "amd64", kind=m.DOCKER_INDEX)], D1),
        ([], None),
    ],
)
def test_the_platform_of_an_index(entries: list[Any], chosen: str | None) -> None:
    found = choose(parse(index(*entries)), "amd64")
    assert (found.digest if found else None) == chosen


def test_arm_v8_is_plain_arm64() -> None:
    entries = (entry(D1, "linux", "arm64", "v9"), entry(D2, "linux", "arm64", "v8"))
    found = choose(parse(index(*entries)), "arm64")
    assert found is not None and found.digest == D2


def test_a_whole_config() -> None:
    inner = {
        "Entrypoint": ["/bin/app"],
        "Cmd": ["-v"],
        "Env": ["A=1", "B=2"],
        "WorkingDir": "/srv",
        "User": "web:web",
        "StopSignal": "SIGQUIT",
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"k": "v"},
        "Volumes": {"/data": {}},
    }
    document = {"architecture": "arm64", "rootfs": {"diff_ids": [D1, D2]}, "config": inner}
    facts, diff_ids, architecture = parse_config(json.dumps(document).encode())
    assert facts == m.ImageConfig(
        ("/bin/app",),
        ("-v",),
        ("A=1", "B=2"),
        "/srv",
        "web:web",
        "SIGQUIT",
        ("80/tcp",),
        {"k": "v"},
        ("/data",),
    )
    assert (diff_ids, architecture) == ((D1, D2), "arm64")


def test_a_config_that_says_nothing() -> None:
    facts, _, _ = parse_config(json.dumps({"rootfs": {"diff_ids": []}, "config": None}).encode())
    assert facts == m.ImageConfig()


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "no rootfs.diff_ids"),
        ({"rootfs": {"diff_ids": ["x"]}}, "no rootfs.diff_ids"),
        ({"rootfs": {"diff_ids": [D1]}, "config": {"Env": "A=1"}}, "Env must be a list"),
        ({"rootfs": {"diff_ids": [D1]}, "config": {"Cmd": [1]}}, "Cmd must be a list"),
        ({"rootfs": {"diff_ids": [D1]}, "config": {"User": 5}}, "User must be a string"),
        ({"rootfs": {"diff_ids": [D1]}, "config": [1]}, "config must be an object"),
    ],
)
def test_hostile_configs_are_refused(document: Any, why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        parse_config(json.dumps(document).encode())
