"""A small registry on loopback, over real HTTP or TLS, that misbehaves as a test tells it to.

Used by test_client.py and test_images.py. It answers from memory; what `faults` holds for a path comes first.
"""

import base64
import json
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from neargate.oci import digest as digests
from neargate.oci.manifest import OCI_MANIFEST

Fault = Callable[["Handler"], None]


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    query: dict[str, list[str]] = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: "Registry"

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.registry.requests.append(Request(path.path, headers, parse_qs(path.query)))
        waiting = self.registry.faults[path.path]
        if waiting:
            waiting.popleft()(self)
        else:
            self.registry.answer(self, path.path)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that refuses the certificate, or goes away: what these tests are about."""


class Registry:
    """auth -- "", "basic" or "bearer" (user:secret). Use as a context manager."""

    def __init__(self, auth: str = "", tls: tuple[Path, Path] | None = None, ranges: bool = True) -> None:
        self.auth = auth
        self.ranges = ranges
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.requests: list[Request] = []
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.tokens = ["token-1"]
        handler = type("Bound", (Handler,), {"registry": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put_blob(self, data: bytes) -> str:
        digest = digests.of(data)
        self.blobs[digest] = data
        return digest

    def put_manifest(self, tag: str, data: bytes, media_type: str = OCI_MANIFEST) -> str:
        digest = digests.of(data)
        self.manifests[tag] = self.manifests[digest] = (data, media_type)
        return digest

    def load(self, layout: Path, tag: str = "latest") -> str:
        """Have all of an OCI layout; the digest of its manifest."""
        index = json.loads((layout / "index.json").read_text())
        for path in (layout / "blobs/sha256").iterdir():
            self.put_blob(path.read_bytes())
        entry = index["manifests"][0]
        return self.put_manifest(tag, self.blobs[entry["digest"]], entry["mediaType"])

    def paths(self, part: str = "") -> list[str]:
        return [r.path for r in self.requests if part in r.path]

    def answer(self, handler: Handler, path: str) -> None:
        if path == "/token":
            return self._token(handler)
        if not self._welcome(handler):
            return self.challenge(handler)
        kind, _, name = path.removeprefix("/v2/team/web/").partition("/")
        if kind == "manifests" and name in self.manifests:
            data, media_type = self.manifests[name]
            return handler.reply(200, data, Content_Type=media_type)
        if kind == "blobs" and name in self.blobs:
            return self._blob(handler, self.blobs[name])
        handler.reply(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')

    def _blob(self, handler: Handler, data: bytes) -> None:
        wanted = handler.headers.get("Range", "")
        if not wanted or not self.ranges:
            return handler.reply(200, data)
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        handler.reply(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")

    def _welcome(self, handler: Handler) -> bool:
        said = handler.headers.get("Authorization", "")
        if self.auth == "basic":
            return said == BASIC
        return self.auth != "bearer" or said == f"Bearer {self.tokens[-1]}"

    def challenge(self, handler: Handler) -> None:
        if self.auth == "basic":
            return handler.reply(401, WWW_Authenticate='Basic realm="registry"')
        scope = "repository:team/web:pull"
        header = f'Bearer realm="{self.url}/token",service="the registry",scope="{scope}"'
        handler.reply(401, WWW_Authenticate=header)

    def _token(self, handler: Handler) -> None:
        if handler.headers.get("Authorization") != BASIC:
            return handler.reply(401, b"{}")
        handler.reply(200, json.dumps({"token": self.tokens[-1], "expires_in": 60}).encode())


BASIC = "Basic " + base64.b64encode(b"user:secret").decode()


def status(code: int, **headers: str) -> Fault:
    return lambda handler: handler.reply(code, b"fault", **headers)


def cut(data: bytes, after: int) -> Fault:
    """Promise all of `data`, send `after` bytes of it and close."""

    def fault(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:after])
        handler.close_connection = True

    return fault


def hang_up(handler: Handler) -> None:
    """Close without an answer."""
    handler.close_connection = True


def body(data: bytes, **headers: str) -> Fault:
    return lambda handler: handler.reply(200, data, **headers)
