"""The small images that tests and the quick start use: the same bytes each time, readable by skopeo."""

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from neargate.oci import digest as digests
from neargate.oci.builder import decompress
from neargate.oci.layout import BUSYBOX, Compression, busybox_image, busybox_layer
from neargate.oci.manifest import parse, parse_config


def blobs(layout: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (layout / "blobs/sha256").iterdir()}


@pytest.mark.parametrize("compress", ["gzip", "zstd", None])
def test_a_layout_is_what_it_says(tmp_path: Path, compress: Compression) -> None:
    files = {"/bin/hi": "#!/bin/sh\n", "etc/x": b"1"}
    layout = busybox_image(tmp_path / "image", compress=compress, files=files)
    found = blobs(layout)
    assert all(digests.of(data) == f"sha256:{name}" for name, data in found.items())
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = parse(found[digests.hex_of(entry["digest"])], entry["mediaType"])
    assert manifest.config is not None
    config, diff_ids, _ = parse_config(found[digests.hex_of(manifest.config.digest)])
    (layer,) = manifest.layers
    assert layer.media_type == "application/vnd.oci.image.layer.v1.tar" + (f"+{compress}" if compress else "")
    content = b"".join(decompress(io.BytesIO(found[digests.hex_of(layer.digest)])))
    assert diff_ids == (digests.of(content),)
    assert (config.entrypoint, config.exposed_ports) == (("/bin/web",), ("80/tcp",))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        modes = {member.name: member.mode for member in archive.getmembers()}
    assert (modes["bin/hi"], modes["etc/x"], modes["tmp"]) == (0o755, 0o644, 0o1777)


def test_the_same_arguments_make_the_same_bytes(tmp_path: Path) -> None:
    assert blobs(busybox_image(tmp_path / "a")) == blobs(busybox_image(tmp_path / "b"))
    assert blobs(busybox_image(tmp_path / "c", cmd=["x"])) != blobs(
        tmp_path / "a" and busybox_image(tmp_path / "d")
    )


def test_every_link_leads_to_an_applet_that_is_there() -> None:
    known = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(fileobj=io.BytesIO(busybox_layer())) as archive:
        links = [member.name.removeprefix("bin/") for member in archive if member.issym()]
    assert links and set(links) <= set(known)


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_skopeo_reads_it(tmp_path: Path, compress: Compression) -> None:
    layout = busybox_image(tmp_path / "image", compress=compress, labels={"a": "b"})
    command = ["skopeo", "inspect", f"oci:{layout}:latest"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert told["Labels"] == {"org.opencontainers.image.title": "web", "a": "b"}
