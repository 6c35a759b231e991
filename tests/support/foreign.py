"""Foreign registries of our own: Debian's docker-registry with TLS, with or without a login, and a proxy that
counts, and breaks, what passes.

Used by tests/e2e/test_registry.py. Everything listens on loopback and ends with its `with` block.
"""

import base64
import contextlib
import datetime
import http.client
import json
import socket
import ssl
import subprocess
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.real import eventually, free_port

USER, PASSWORD = "somebody", "a good password"
ISSUER, SERVICE = "the tests", "a registry"


@dataclass(frozen=True)
class Pki:
    """An authority and a certificate of 127.0.0.1 that it signed; PEM files."""

    ca: Path
    cert: Path
    key: Path
    private: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make_pki(directory: Path) -> Pki:
    directory.mkdir(parents=True)
    now = datetime.datetime.now(datetime.UTC)

    def sign(name: str, key: Any, issuer: str, by: Any, *more: tuple[Any, bool]) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension, critical in more:
            builder = builder.add_extension(extension, critical)
        return builder.sign(by, SHA256())

    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = f"authority {directory.name}"
    ca = sign(name, authority, name, authority, (x509.BasicConstraints(ca=True, path_length=0), True))
    alternative = x509.SubjectAlternativeName(
        [x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost")]
    )
    cert = sign("127.0.0.1", key, name, authority, (alternative, False))
    pki = Pki(directory / "ca.pem", directory / "cert.pem", directory / "key.pem", key, cert)
    pki.ca.write_bytes(ca.public_bytes(Encoding.PEM))
    pki.cert.write_bytes(cert.public_bytes(Encoding.PEM))
    pki.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pki


@contextlib.contextmanager
def registry(directory: Path, storage: Path, pki: Pki, auth: dict[str, Any] | None = None) -> Iterator[str]:
    """A docker-registry on `storage`; its host:port."""
    directory.mkdir(parents=True)
    port = free_port()
    config = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": {"addr": f"127.0.0.1:{port}", "tls": {"certificate": str(pki.cert), "key": str(pki.key)}},
    }
    if auth:
        config["auth"] = auth
    (directory / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(directory / "config.yml")], stdout=log, stderr=log
        )
        try:
            eventually(lambda: _listens(port), f"docker-registry listens: {directory}/log")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def basic_auth(directory: Path) -> dict[str, Any]:
    """Configuration of a login by user name and password."""
    file = directory / "htpasswd"
    done = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], capture_output=True, check=True)
    file.write_bytes(done.stdout.strip() + b"\n")
    return {"htpasswd": {"realm": "tests", "path": str(file)}}


@contextlib.contextmanager
def token_auth(pki: Pki) -> Iterator[dict[str, Any]]:
    """Configuration of a login by tokens, and the server that gives them to USER."""

    class Handler(_Quiet):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            login = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if self.headers.get("authorization") != login:
                self.answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})
                return
            self.answer(200, {"token": _token(pki, query.get("scope", []))})

    with _serving(Handler, pki) as port:
        yield {
            "token": {
                "realm": f"https://127.0.0.1:{port}/token",
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(pki.ca),
            }
        }


def _token(pki: Pki, scopes: list[str]) -> str:
    """A JWT that grants what is asked for, in the form that docker-registry reads."""
    access = []
    for scope in scopes:
        kind, name, actions = scope.split(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(datetime.datetime.now(datetime.UTC).timestamp())
    chain = [base64.b64encode(pki.certificate.public_bytes(Encoding.DER)).decode()]
    claims = {
        **{"iss": ISSUER, "sub": USER, "aud": SERVICE, "jti": str(uuid.uuid4()), "access": access},
        **{"iat": now - 60, "nbf": now - 60, "exp": now + 300},
    }
    parts = [
        _b64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ES256", "x5c": chain}, claims)
    ]
    r, s = decode_dss_signature(pki.private.sign(".".join(parts).encode(), ec.ECDSA(SHA256())))
    return ".".join((*parts, _b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))))


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler], pki: Pki) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.cert, pki.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class Proxy:
    """What passed: (path, Range header or "") of each GET. `cut`: a blob whose first answer ends midway."""

    def __init__(self) -> None:
        self.host = ""
        self.asked: list[tuple[str, str]] = []
        self.cut = ""
        self.was_cut_at = 0

    def asked_for(self, digest: str) -> list[str]:
        return [ranges for path, ranges in self.asked if path.endswith(digest)]


@contextlib.contextmanager
def proxy(upstream: str, pki: Pki) -> Iterator[Proxy]:
    """A registry that is another one's, seen through a Proxy."""
    passed = Proxy()
    trust = ssl.create_default_context(cafile=str(pki.ca))

    class Handler(_Quiet):
        def do_GET(self) -> None:
            ranges = self.headers.get("range", "")
            passed.asked.append((self.path, ranges))
            connection = http.client.HTTPSConnection(upstream, context=trust, timeout=30)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("date", "connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if passed.cut and self.path.endswith(passed.cut) and not passed.was_cut_at:
                passed.was_cut_at = len(body) // 2
                self.wfile.write(body[: passed.was_cut_at])
                self.close_connection = True
                return
            self.wfile.write(body)

    with _serving(Handler, pki) as port:
        passed.host = f"127.0.0.1:{port}"
        yield passed
