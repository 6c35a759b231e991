"""The registry client against a registry that answers on loopback: logins, faults, redirects, ranges, TLS."""

import datetime
import ipaddress
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from neargate.oci import digest as digests
from neargate.oci.auth import Credentials
from neargate.oci.client import RegistryClient
from neargate.oci.errors import ImageError, Interrupted
from neargate.oci.manifest import MAX_MANIFEST, OCI_MANIFEST
from neargate.oci.reference import parse
from tests.unit.oci.registry import BASIC, Handler, Registry, body, cut, hang_up, status

USER = Credentials("user", "secret")
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}).encode()
AT = "/v2/team/web/manifests/v1"
DATA = os.urandom(300_000)
BLOB = f"/v2/team/web/blobs/{digests.of(DATA)}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as it:
        it.put_manifest("v1", MANIFEST)
        it.put_blob(DATA)
        yield it


def client(registry: Registry, credentials: Credentials | None = None, **more: Any) -> RegistryClient:
    more.setdefault("insecure_hosts", ["127.0.0.1"])
    reference = parse(f"{registry.host}/team/web:v1")
    return RegistryClient(reference, credentials=credentials, backoff=0.001, **more)


async def manifest(registry: Registry, credentials: Credentials | None = None, **more: Any) -> bytes:
    async with client(registry, credentials, **more) as it:
        data, media_type, digest = await it.manifest(parse(f"{registry.host}/team/web:v1"))
    assert (media_type, digest) == (OCI_MANIFEST, digests.of(data))
    return data


async def blob(registry: Registry, offset: int = 0, size: int = len(DATA), digest: str = "") -> bytes:
    async with client(registry, USER) as it:
        return b"".join([chunk async for chunk in it.blob(digest or digests.of(DATA), size, offset)])


# -- manifests and logins ------------------------------------------------------------------------------------


async def test_no_login_is_tried_where_none_is_asked_for(registry: Registry) -> None:
    assert await manifest(registry, USER) == MANIFEST
    assert "authorization" not in registry.requests[0].headers
    assert OCI_MANIFEST in registry.requests[0].headers["accept"]


async def test_basic(registry: Registry) -> None:
    registry.auth = "basic"
    assert await manifest(registry, USER) == MANIFEST
    assert [r.headers.get("authorization") for r in registry.requests] == [None, BASIC]


async def test_bearer(registry: Registry) -> None:
    registry.auth = "bearer"
    assert await manifest(registry, USER) == MANIFEST
    _, token, again = registry.requests
    assert token.query == {"service": ["the registry"], "scope": ["repository:team/web:pull"]}
    assert token.headers["authorization"] == BASIC
    assert again.headers["authorization"] == "Bearer token-1"


async def test_a_token_that_ran_out_is_fetched_anew(registry: Registry) -> None:
    registry.auth = "bearer"
    async with client(registry, USER) as it:
        await it.manifest(parse(f"{registry.host}/team/web:v1"))
        registry.tokens.append("token-2")
        got = b"".join([c async for c in it.blob(digests.of(DATA), len(DATA), 0)])
    assert got == DATA
    assert registry.requests[-1].headers["authorization"] == "Bearer token-2"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("credentials", [None, Credentials("user", "wrong")])
async def test_a_login_that_fails(registry: Registry, auth: str, credentials: Credentials | None) -> None:
    registry.auth = auth
    why = "pull access denied, repository does not exist or may require authorization"
    with pytest.raises(ImageError, match=why) as caught:
        await manifest(registry, credentials)
    assert "retried 1 time" in caught.value.reason
    assert "secret" not in str(caught.value) and "wrong" not in str(caught.value)
    with pytest.raises(ImageError):
        async with client(registry, credentials) as it:
            [c async for c in it.blob(digests.of(DATA), len(DATA), 0)]


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(USER)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (body(b"no json"), "the answer has no token"),
        (body(b"[]"), "the answer has no token"),
        (body(b'{"token": 5}'), "the answer has no token"),
        (body(b'{"token": "a\\r\\nX-Evil: 1"}'), "the answer has no token"),
        (body(b'{"token": "' + b"t" * 300_000 + b'"}'), "the answer is too long"),
        (status(403), "403 Forbidden"),
        (status(302, Location="/token"), "redirect"),
    ],
)
async def test_faults_of_a_token_endpoint(registry: Registry, fault: Any, why: str) -> None:
    registry.auth = "bearer"
    registry.faults["/token"].extend([fault] * 10)
    with pytest.raises(ImageError, match=f"failed to fetch oauth token.*{why}"):
        await manifest(registry, USER)


async def test_a_token_endpoint_is_asked_again_when_that_may_help(registry: Registry) -> None:
    registry.auth = "bearer"
    registry.faults["/token"].extend([status(503), hang_up])
    assert await manifest(registry, USER) == MANIFEST


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "/token", "gopher://x", ""])
async def test_a_realm_that_is_no_url(registry: Registry, realm: str) -> None:
    registry.faults[AT].append(status(401, WWW_Authenticate=f'Bearer realm="{realm}"'))
    with pytest.raises(ImageError, match="is no URL"):
        await manifest(registry, USER)


@pytest.mark.parametrize(
    "challenge", ["", "Bearer", "Negotiate", '"', "Basic", "Digest realm=x", "Bearer realm="]
)
async def test_challenges_that_cannot_be_answered(registry: Registry, challenge: str) -> None:
    registry.faults[AT].extend([status(401, WWW_Authenticate=challenge)] * 2)
    with pytest.raises(ImageError, match=r"access denied|is no URL"):
        await manifest(registry)


async def test_a_storage_that_it_redirects_to_gets_no_password(registry: Registry) -> None:
    with Registry() as storage:
        storage.faults["/steal"].extend([status(401, WWW_Authenticate='Basic realm="x"')] * 2)
        steal = f'Bearer realm="{storage.url}/token",service="x"'
        storage.faults["/steal2"].extend([status(401, WWW_Authenticate=steal)] * 2)
        registry.auth = "basic"
        for path in ("/steal", "/steal2"):
            registry.faults[AT].append(registry.challenge)
            registry.faults[AT].append(status(307, Location=f"{storage.url}{path}"))
            with pytest.raises(ImageError, match="access denied"):
                await manifest(registry, USER)
            registry.faults[AT].clear()
        assert storage.paths() == ["/steal", "/steal2"]
        assert all("authorization" not in r.headers for r in storage.requests)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
async def test_passing_faults_are_tried_again(registry: Registry, code: int) -> None:
    registry.faults[AT].extend([status(code), hang_up])
    assert await manifest(registry) == MANIFEST
    registry.faults[AT].extend([status(code)] * 3)
    with pytest.raises(ImageError, match=f"retried 3 time.*unexpected status from GET request to .*: {code}"):
        await manifest(registry)


@pytest.mark.parametrize(("code", "why"), [(404, ":v1: not found"), (403, "access denied"), (418, "418")])
async def test_lasting_faults_are_not(registry: Registry, code: int, why: str) -> None:
    registry.faults[AT].append(status(code))
    with pytest.raises(ImageError, match=why):
        await manifest(registry)
    assert registry.paths() == [AT]


async def test_a_manifest_without_end(registry: Registry) -> None:
    registry.faults[AT].append(body(b" " * (MAX_MANIFEST + 1)))
    with pytest.raises(ImageError, match=f"more than {MAX_MANIFEST} bytes"):
        await manifest(registry)


async def test_redirects_in_a_circle(registry: Registry) -> None:
    registry.faults[AT].extend([status(302, Location=AT)] * 20)
    with pytest.raises(ImageError, match="redirects"):
        await manifest(registry)
    registry.faults[BLOB].extend([status(302, Location=BLOB)] * 20)
    with pytest.raises(ImageError, match="too many redirects"):
        await blob(registry)


async def test_a_manifest_of_another_digest(registry: Registry) -> None:
    wanted = f"sha256:{'1' * 64}"
    registry.manifests[wanted] = (MANIFEST, OCI_MANIFEST)
    async with client(registry) as it:
        with pytest.raises(ImageError, match=f"sent a manifest with digest {digests.of(MANIFEST)}"):
            await it.manifest(parse(f"{registry.host}/team/web@{wanted}"))


async def test_nobody_listens() -> None:
    with Registry() as gone:
        pass
    with pytest.raises(ImageError, match=r"dial tcp 127.0.0.1:\d+: connect: connection refused"):
        await manifest(gone)


async def test_a_host_without_an_address() -> None:
    reference = parse("registry.invalid/team/web:v1")
    async with RegistryClient(reference, backoff=0.001) as it:
        with pytest.raises(ImageError, match=r"failed to resolve ref registry\.invalid/team/web:v1"):
            await it.manifest(reference)


async def test_another_endpoint_instead_of_the_reference_s_own_host(registry: Registry) -> None:
    reference = parse("000000000000.dkr.ecr.us-east-1.amazonaws.com/team/web:v1")
    async with RegistryClient(reference, endpoint=registry.url + "/") as it:
        assert (await it.manifest(reference))[0] == MANIFEST


# -- blobs ---------------------------------------------------------------------------------------------------


async def test_a_blob_whole_and_from_an_offset(registry: Registry) -> None:
    assert await blob(registry) == DATA
    assert await blob(registry, 299_999) == DATA[299_999:]
    assert [r.headers.get("range") for r in registry.requests] == [None, "bytes=299999-"]


async def test_a_registry_without_ranges_sends_it_all_again(registry: Registry) -> None:
    registry.ranges = False
    assert await blob(registry, 123_456) == DATA[123_456:]


async def test_a_blob_by_a_redirect_goes_without_the_login(registry: Registry) -> None:
    registry.auth = "basic"
    with Registry() as storage:
        storage.put_blob(DATA)
        registry.faults[BLOB] += [registry.challenge, status(307, Location=storage.url + BLOB)]
        assert await blob(registry, 1000) == DATA[1000:]
        assert storage.requests[0].headers["range"] == "bytes=1000-"
        assert "authorization" not in storage.requests[0].headers


async def test_a_truncated_blob_is_an_interruption(registry: Registry) -> None:
    registry.faults[BLOB].append(cut(DATA, 100_000))
    got: list[bytes] = []
    async with client(registry) as it:
        with pytest.raises(Interrupted):
            async for chunk in it.blob(digests.of(DATA), len(DATA), 0):
                got.append(chunk)
    assert b"".join(got) == DATA[:100_000]
    assert b"".join(got) + await blob(registry, 100_000) == DATA


async def test_a_blob_that_ends_early_without_saying_so(registry: Registry) -> None:
    registry.faults[BLOB].append(body(DATA[:100]))
    with pytest.raises(Interrupted, match="unexpected EOF after 100 of 300000 bytes"):
        await blob(registry)


async def test_a_blob_longer_than_its_descriptor(registry: Registry) -> None:
    with pytest.raises(ImageError, match="more than the 1000 bytes it should have") as caught:
        await blob(registry, size=1000)
    assert not isinstance(caught.value, Interrupted)


@pytest.mark.parametrize(
    ("code", "again"), [(503, True), (429, True), (404, False), (403, False), (400, False)]
)
async def test_status_codes_of_blobs(registry: Registry, code: int, again: bool) -> None:
    registry.faults[BLOB].append(status(code))
    with pytest.raises(ImageError, match=str(code)) as caught:
        await blob(registry)
    assert isinstance(caught.value, Interrupted) is again


async def test_a_registry_that_answers_nonsense(registry: Registry) -> None:
    def nonsense(handler: Handler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        handler.close_connection = True

    registry.faults[AT].extend([nonsense] * 3)
    with pytest.raises(ImageError, match="failed to do request: Get"):
        await manifest(registry)


# -- TLS -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A CA of our own, and certificates by it: one for 127.0.0.1, one for another host, one outdated."""
    place = tmp_path_factory.mktemp("ca")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    files = {"ca": place / "ca.pem"}
    files["ca"].write_bytes(
        _certificate(name, key, name, key, [], 1).public_bytes(serialization.Encoding.PEM)
    )
    for what, host, days in (
        ("good", x509.IPAddress(ipaddress.ip_address("127.0.0.1")), 1),
        ("other", x509.DNSName("elsewhere.example"), 1),
        ("outdated", x509.IPAddress(ipaddress.ip_address("127.0.0.1")), -1),
    ):
        own = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, what)])
        certificate = _certificate(subject, own, name, key, [host], days)
        files[what] = place / f"{what}.pem"
        files[what].write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
    return files


def _certificate(
    subject: x509.Name, key: Any, issuer: x509.Name, signer: Any, hosts: list[x509.GeneralName], days: int
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    return builder.sign(signer, hashes.SHA256())


async def test_tls_with_a_ca_of_our_own(ca: dict[str, Path]) -> None:
    with Registry("basic", tls=(ca["good"], ca["good"])) as registry:
        registry.put_manifest("v1", MANIFEST)
        assert await manifest(registry, USER, insecure_hosts=(), ca_file=str(ca["ca"])) == MANIFEST


@pytest.mark.parametrize(("certificate", "trusted"), [("good", False), ("other", True), ("outdated", True)])
async def test_certificates_that_are_refused(ca: dict[str, Path], certificate: str, trusted: bool) -> None:
    with Registry(tls=(ca[certificate], ca[certificate])) as registry:
        registry.put_manifest("v1", MANIFEST)
        more = {"insecure_hosts": (), "ca_file": str(ca["ca"]) if trusted else ""}
        with pytest.raises(ImageError, match="tls: failed to verify certificate"):
            await manifest(registry, USER, **more)
        assert registry.requests == []
        assert await manifest(registry, verify=False, **more) == MANIFEST


async def test_a_password_is_not_sent_to_a_realm_without_tls(ca: dict[str, Path]) -> None:
    with Registry(tls=(ca["good"], ca["good"])) as registry, Registry() as plain:
        registry.faults[AT].append(status(401, WWW_Authenticate=f'Bearer realm="{plain.url}/token"'))
        with pytest.raises(ImageError, match="would get the password unencrypted"):
            await manifest(registry, USER, insecure_hosts=(), ca_file=str(ca["ca"]))
        assert plain.requests == []


async def test_a_ca_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for path in (tmp_path / "empty.pem", tmp_path / "missing.pem"):
        with pytest.raises(ImageError, match=r"registry_ca_file .* cannot be read"):
            async with RegistryClient(parse("a.example/b"), ca_file=str(path)):
                pass


async def test_plain_http_only_where_told(registry: Registry) -> None:
    with pytest.raises(ImageError, match="failed to do request"):
        await manifest(registry, insecure_hosts=())
    assert registry.requests == []
    assert await manifest(registry, insecure_hosts=[registry.host]) == MANIFEST
