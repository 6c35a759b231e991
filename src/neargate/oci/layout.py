"""Small OCI images made of Debian's busybox-static, as layout directories that skopeo can push.

Called by the quick start (`python -m neargate.oci.layout DIR`) and by tests, never by the daemon.
    skopeo copy oci:DIR:latest docker://127.0.0.1:4566/web:latest
"""

import gzip
import io
import json
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import zstandard

from neargate.oci import digest as digests
from neargate.oci.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, host_architecture

Compression = Literal["gzip", "zstd"] | None
BUSYBOX = Path("/bin/busybox")
_APPLETS = (
    "sh ash cat cp mv rm ls ln mkdir rmdir chmod chown echo printf test true false sleep date env id "
    "whoami ps kill killall top free df du mount umount head tail grep sed awk cut sort uniq wc tr "
    "tee xargs find dd touch stat seq yes sync hostname uname nproc ip ifconfig route ping nc wget "
    "httpd nslookup telnet vi less more md5sum sha256sum base64 tar gzip gunzip timeout time "
    "readlink realpath dirname basename expr usleep watch which setsid mktemp od hexdump cmp "
    "diff"
)
_WEB = """#!/bin/sh
# A process with pid 1 ignores SIGTERM unless it handles it.
trap 'kill "$child" 2>/dev/null; echo "web: stopped"; exit 0' TERM INT
httpd -f -v -p "${PORT:-80}" -h /www & child=$!
echo "web: listening on port ${PORT:-80}"
wait "$child"
"""
_BASE: dict[str, str] = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/www:/bin/sh\n",
    "etc/group": "root:x:0:\nweb:x:1000:\n",
    "www/index.html": "<h1>Hello from neargate</h1>\n",
    "bin/web": _WEB,
}


def busybox_image(
    dest: Path,
    *,
    name: str = "web",
    entrypoint: Sequence[str] | None = ("/bin/web",),
    cmd: Sequence[str] | None = None,
    files: Mapping[str, str | bytes] | None = None,
    env: Sequence[str] = ("PATH=/bin",),
    user: str = "",
    working_dir: str = "/",
    compress: Compression = "gzip",
    labels: Mapping[str, str] | None = None,
    exposed_ports: Sequence[str] = ("80/tcp",),
) -> Path:
    """Write an OCI layout with one image, tag `latest`, to `dest`; returns `dest`.

    name -- recorded as a label only. files -- path in the image -> content; under bin/ they are executable.
    The same arguments make the same bytes.
    """
    inner: dict[str, Any] = {
        "Entrypoint": list(entrypoint) if entrypoint is not None else None,
        "Cmd": list(cmd) if cmd is not None else None,
        "Env": list(env),
        "User": user,
        "WorkingDir": working_dir,
        "ExposedPorts": {port: {} for port in exposed_ports},
        "Labels": {"org.opencontainers.image.title": name, **(labels or {})},
    }
    config = {k: v for k, v in inner.items() if v}
    return write_layout(dest, [busybox_layer(files or {})], config, compress=compress)


def busybox_layer(files: Mapping[str, str | bytes] = {}) -> bytes:
    """A tar with busybox, links for its applets, a few files of /etc, and `files` on top."""
    out = io.BytesIO()
    content = {"bin/busybox": BUSYBOX.read_bytes(), **_BASE, **{k.lstrip("/"): v for k, v in files.items()}}
    folders = {"bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var", "www"}
    for path in content:
        folders.update(str(parent) for parent in Path(path).parents if str(parent) != ".")
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in sorted(folders):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(member)
        for path, data in sorted(content.items()):
            raw = data.encode() if isinstance(data, str) else data
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(raw), 0o755 if path.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(raw))
        for applet in _APPLETS.split():
            if f"bin/{applet}" not in content:
                member = tarfile.TarInfo(f"bin/{applet}")
                member.type, member.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(member)
    return out.getvalue()


def write_layout(
    dest: Path,
    layers: Sequence[bytes],
    config: Mapping[str, Any],
    *,
    compress: Compression = "gzip",
    architecture: str = "",
    level: int = 6,
) -> Path:
    """Write an OCI layout with one image of these tar layers (lowest first), tag `latest`."""
    blobs = dest / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = digests.of(data)
        (blobs / digests.hex_of(digest)).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    suffix = f"+{compress}" if compress else ""
    packed = [
        put(_compress(layer, compress, level), f"application/vnd.oci.image.layer.v1.tar{suffix}")
        for layer in layers
    ]
    document = {
        "architecture": architecture or host_architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [digests.of(layer) for layer in layers]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "neargate"} for _ in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": put(json.dumps(document).encode(), OCI_CONFIG),
        "layers": packed,
    }
    entry = put(json.dumps(manifest).encode(), OCI_MANIFEST)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    (dest / "index.json").write_text(json.dumps(index))
    (dest / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return dest


def _compress(data: bytes, how: Compression, level: int) -> bytes:
    if how == "gzip":
        return gzip.compress(data, level, mtime=0)
    if how == "zstd":
        return zstandard.ZstdCompressor(level=min(level, 19), write_checksum=True).compress(data)
    return data


if __name__ == "__main__":
    print(busybox_image(Path(sys.argv[1])))
