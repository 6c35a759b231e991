"""How S3's requests are signed and addressed: presigned URLs of both versions, chunks, hosts' names."""

import base64
import hashlib
import hmac
import http.client
import time
import urllib.error
import urllib.request
import zlib
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.client import Config
from botocore.credentials import Credentials

from neargate.gateway.sigv4 import derive_key
from tests.api.test_s3 import body, put, s3
from tests.support.door import Door

__all__ = ["s3"]
URLS = ("s3", "s3v4")


def client(door: Door, version: str) -> Any:
    return door.client("s3", config=Config(signature_version=version, retries={"total_max_attempts": 1}))


def asked(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=data, method=method, headers=given)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("version", URLS)
def test_presigned_reads(s3: Any, door: Door, version: str) -> None:
    put(s3, "a b/é+c", b"hello")
    params = {"Bucket": "bucket", "Key": "a b/é+c", "ResponseContentType": "text/x-y"}
    url = client(door, version).generate_presigned_url("get_object", Params=params)
    assert ("X-Amz-Signature" in url) == (version == "s3v4")
    assert asked(url) == (200, b"hello")
    assert asked(url, Range="bytes=1-2") == (206, b"el")
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.headers["content-type"] == "text/x-y"
    for changed in (url.replace("bucket/a", "bucket/b"), url.replace("x-y", "x-z"), url + "&uploads"):
        status, text = asked(changed)
        assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in text, changed
    assert asked(url, method="DELETE")[0] == 403
    assert body(s3, "a b/é+c") == b"hello"


@pytest.mark.parametrize("version", URLS)
def test_presigned_writes(s3: Any, door: Door, version: str) -> None:
    params = {"Bucket": "bucket", "Key": "k", "ContentType": "text/plain", "Metadata": {"m": "1"}}
    url = client(door, version).generate_presigned_url("put_object", Params=params)
    headers = {"Content_Type": "text/plain"} | ({"x_amz_meta_m": "1"} if version == "s3v4" else {})
    assert asked(url, "PUT", b"hello", **headers)[0] == 200
    got = s3.get_object(Bucket="bucket", Key="k")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (b"hello", "text/plain", {"m": "1"})
    assert asked(url, "PUT", b"x", **{**headers, "Content_Type": "text/html"})[0] == 403


@pytest.mark.parametrize("version", URLS)
def test_presigned_urls_end(s3: Any, door: Door, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(s3, "k")
    import botocore.auth

    past = time.time() - 100
    monkeypatch.setattr(botocore.auth.time, "time", lambda: past)
    params = {"Bucket": "bucket", "Key": "k"}
    url = client(door, version).generate_presigned_url("get_object", Params=params, ExpiresIn=50)
    monkeypatch.undo()
    if version == "s3v4":  # botocore takes this one's date elsewhere
        url = _presigned_v4(door, "/bucket/k", past, 50)
    status, text = asked(url)
    assert status == 403 and b"<Code>AccessDenied</Code><Message>Request has expired</Message>" in text


def _presigned_v4(door: Door, path: str, at: float, seconds: int) -> str:
    keys, place = door.daemon.credential, urlsplit(door.endpoint)
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    scope = f"{date[:8]}/us-east-1/s3/aws4_request"
    credential = quote(f"{keys.access_key_id}/{scope}", safe="")
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}"
        f"&X-Amz-Date={date}&X-Amz-Expires={seconds}&X-Amz-SignedHeaders=host"
    )
    canonical = f"GET\n{path}\n{query}\nhost:{place.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = derive_key(keys.secret_access_key, date[:8], "us-east-1", "s3")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return f"{door.endpoint}{path}?{query}&X-Amz-Signature={signature}"


def test_an_object_asked_for_without_a_signature(s3: Any, door: Door) -> None:
    put(s3, "x", b"hello")
    for method, data in (("GET", None), ("PUT", b"other"), ("DELETE", None)):
        status, text = asked(f"{door.endpoint}/bucket/x", method, data)
        assert status == 403 and b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message>" in text
    assert body(s3, "x") == b"hello"
    status, text = asked(f"{door.endpoint}/?Action=GetCallerIdentity&Version=2011-06-15")
    assert status == 403 and b"<Code>MissingAuthenticationToken</Code>" in text


def test_a_presigned_url_of_nobody(s3: Any, door: Door) -> None:
    put(s3, "k")
    url = client(door, "s3").generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"})
    status, text = asked(url.replace("AWSAccessKeyId=AKIA", "AWSAccessKeyId=AKIB"))
    assert status == 403 and b"<Code>InvalidAccessKeyId</Code>" in text
    for part in ("Expires=x", "Expires=" + "9" * 400):
        assert asked(url.partition("Expires=")[0] + part)[0] == 403


# --- chunks


class Chunks:
    """A PUT of /bucket/k in signed chunks, made by the rules of the documentation, not by the code's."""

    def __init__(self, door: Door, kind: str, data: bytes, trailers: dict[str, str], size: int = 8) -> None:
        self.door = door
        self.kind = kind
        self.parts = [data[i : i + size] for i in range(0, len(data), size)] + [b""]
        self.trailers = trailers
        self.headers = {
            "x-amz-content-sha256": kind,
            "x-amz-decoded-content-length": str(len(data)),
            "Content-Encoding": "aws-chunked",
        }
        if trailers:
            self.headers["x-amz-trailer"] = ",".join(trailers)

    def send(self, spoil: Any = None) -> tuple[int, bytes]:
        """spoil -- changes the finished body."""
        keys = self.door.daemon.credential
        request = AWSRequest("PUT", f"{self.door.endpoint}/bucket/k", headers=self.headers, data=b"")
        signer = _Signer(Credentials(keys.access_key_id, keys.secret_access_key), "s3", "us-east-1")
        signer.kind = self.kind
        signer.add_auth(request)
        headers = dict(request.prepare().headers.items())
        headers.pop("Content-Length", None)
        text = self._body(headers)
        if spoil is not None:
            text = spoil(text)
        place = urlsplit(self.door.endpoint)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
        connection.request("PUT", "/bucket/k", text, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def _body(self, headers: dict[str, str]) -> bytes:
        date = headers["X-Amz-Date"]
        scope = f"{date[:8]}/us-east-1/s3/aws4_request"
        key = derive_key(self.door.daemon.credential.secret_access_key, date[:8], "us-east-1", "s3")
        last = headers["Authorization"].rpartition("Signature=")[2]
        signed, out = "UNSIGNED" not in self.kind, b""

        def sign(what: str, hashes: str) -> str:
            text = f"AWS4-HMAC-SHA256-{what}\n{date}\n{scope}\n{last}\n{hashes}"
            return hmac.digest(key, text.encode(), "sha256").hex()

        for part in self.parts:
            empty = hashlib.sha256(b"").hexdigest()
            last = sign("PAYLOAD", f"{empty}\n{hashlib.sha256(part).hexdigest()}")
            out += f"{len(part):x}{f';chunk-signature={last}' if signed else ''}\r\n".encode()
            out += part + (b"\r\n" if part else b"")
        for name, value in self.trailers.items():
            out += f"{name}:{value}\r\n".encode()
        if self.trailers and signed:
            lines = "".join(f"{name}:{value}\n" for name, value in sorted(self.trailers.items()))
            last = sign("TRAILER", hashlib.sha256(lines.encode()).hexdigest())
            out += f"x-amz-trailer-signature:{last}\r\n".encode()
        return out + b"\r\n"


class _Signer(SigV4Auth):  # type: ignore[misc]
    kind = ""

    def _normalize_url_path(self, path: str) -> str:
        return path

    def payload(self, request: Any) -> str:
        return self.kind


DATA = b"0123456789abcdef!"
SUM = {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()}
SIGNED, TRAILER, PLAIN = (
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
)


@pytest.mark.parametrize(("kind", "trailers"), [(SIGNED, {}), (TRAILER, SUM), (PLAIN, SUM), (PLAIN, {})])
def test_chunked_bodies(s3: Any, door: Door, kind: str, trailers: dict[str, str]) -> None:
    status, text = Chunks(door, kind, DATA, trailers).send()
    assert status == 200, text
    got = s3.get_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == DATA
    assert got.get("ChecksumCRC32") == trailers.get("x-amz-checksum-crc32")
    assert "ContentEncoding" not in got
    assert Chunks(door, kind, b"", {}).send()[0] == 200
    assert body(s3, "k") == b""


@pytest.mark.parametrize(
    ("kind", "trailers", "spoil", "code"),
    [
        (SIGNED, {}, lambda t: t.replace(b"01234567", b"01234568"), b"SignatureDoesNotMatch"),
        (
            SIGNED,
            {},
            lambda t: t.replace(b";chunk-signature=", b";chunk-signature=0")[:-1],
            b"IncompleteBody",
        ),
        (SIGNED, {}, lambda t: t[:40], b"IncompleteBody"),
        (SIGNED, {}, lambda t: b"zz\r\n" + t, b"IncompleteBody"),
        (SIGNED, {}, lambda t: b"", b"IncompleteBody"),
        (TRAILER, SUM, lambda t: t.replace(b"crc32:", b"crc32:A"), b"SignatureDoesNotMatch"),
        (TRAILER, SUM, lambda t: t[: t.index(b"x-amz-trailer-sig")] + b"\r\n", b"SignatureDoesNotMatch"),
        (PLAIN, SUM, lambda t: t.replace(b"01234567", b"01234568"), b"BadDigest"),
        (PLAIN, SUM, lambda t: t.replace(b"x-amz-checksum", b"x-amz-chucksum"), b"MalformedTrailerError"),
        (PLAIN, SUM, lambda t: t[: t.index(b"x-amz-checksum")] + b"\r\n", b"MalformedTrailerError"),
        (PLAIN, SUM, lambda t: t.replace(b"8\r\n", b"ffffffffffffffff\r\n", 1), b"IncompleteBody"),
        (PLAIN, {}, lambda t: t.replace(b"\r\n", b"\n"), b"IncompleteBody"),
    ],
)
def test_chunked_bodies_that_are_refused(
    s3: Any, door: Door, kind: str, trailers: dict[str, str], spoil: Any, code: bytes
) -> None:
    status, text = Chunks(door, kind, DATA, trailers).send(spoil)
    assert status in (400, 403) and b"<Code>%b</Code>" % code in text, text
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0


def test_the_length_that_was_told_is_held(s3: Any, door: Door) -> None:
    for told, code in (("16", b"IncompleteBody"), ("x", b"MissingContentLength")):
        chunks = Chunks(door, SIGNED, DATA, {})
        chunks.headers["x-amz-decoded-content-length"] = told
        assert b"<Code>%b</Code>" % code in chunks.send()[1]


def test_another_body_than_was_signed(s3: Any, door: Door) -> None:
    chunks = Chunks(door, hashlib.sha256(b"data").hexdigest(), DATA, {})
    status, text = chunks.send(lambda _: b"date")
    assert status == 400 and b"<Code>XAmzContentSHA256Mismatch</Code>" in text
    assert chunks.send(lambda _: b"data")[0] == 200


def test_a_kind_of_body_that_is_not_built(s3: Any, door: Door) -> None:
    status, text = Chunks(door, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", DATA, {}).send()
    assert status == 501 and b"not built into neargate" in text


# --- buckets in the host's name


@pytest.mark.parametrize(
    "host",
    [
        "bucket.localhost",
        "bucket.s3.localhost",
        "bucket.s3.amazonaws.com",
        "bucket.s3.us-east-1.amazonaws.com",
    ],
)
def test_buckets_in_the_hosts_name(s3: Any, door: Door, host: str) -> None:
    keys, place = door.daemon.credential, urlsplit(door.endpoint)

    def send(method: str, target: str, data: bytes = b"") -> tuple[int, bytes]:
        request = AWSRequest(method, f"http://{host}:{place.port}{target}", data=data)
        signer = _Signer(Credentials(keys.access_key_id, keys.secret_access_key), "s3", "us-east-1")
        signer.kind = hashlib.sha256(data).hexdigest()
        request.headers["x-amz-content-sha256"] = signer.kind
        signer.add_auth(request)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
        headers = {**dict(request.prepare().headers.items()), "Host": f"{host}:{place.port}"}
        connection.request(method, target, data, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    assert send("PUT", "/a/b", b"hello")[0] == 200
    assert send("GET", "/a/b") == (200, b"hello")
    status, text = send("GET", "/?list-type=2")
    assert status == 200 and b"<Key>a/b</Key>" in text and b"<ListBucketResult" in text
    assert body(s3, "a/b") == b"hello"
    digest = hmac.digest(keys.secret_access_key.encode(), b"GET\n\n\n9999999999\n/bucket/a/b", "sha1")
    signature = quote(base64.b64encode(digest), safe="")
    query = f"AWSAccessKeyId={keys.access_key_id}&Signature={signature}&Expires=9999999999"
    url = f"{door.endpoint}/a/b?{query}"
    assert asked(url, Host=f"{host}:{place.port}") == (200, b"hello")
