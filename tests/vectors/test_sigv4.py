"""AWS's own suite for Signature Version 4 (botocore's sdist, aws4_testsuite): each request's canonical form,
and its signature held by the same Verifier that guards the door. All vectors run; none is left out.
"""

from calendar import timegm
from pathlib import Path

import pytest

from neargate.gateway import auth_errors, sigv4
from neargate.gateway.auth_errors import Refusal
from neargate.gateway.canonical import canonical_request
from neargate.gateway.credentials import Credential, KeyRing
from neargate.wire.http import Request
from tests.support.botocore_sdist import unpacked

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = float(timegm((2015, 8, 30, 12, 36, 0, 0, 0, 0)))
SUITE = unpacked() / "tests" / "unit" / "auth" / "aws4_testsuite"
VECTORS = sorted(path.parent.relative_to(SUITE).as_posix() for path in SUITE.rglob("*.authz"))


def text_of(vector: str, ending: str) -> str:
    path = SUITE / vector / f"{Path(vector).name}.{ending}"
    return path.read_text("utf-8").replace("\r", "")


def request_of(text: str) -> Request:
    """A request as the suite writes it down; some are no HTTP that a server would take."""
    head, _, body = text.partition("\n\n")
    first, *lines = head.split("\n")
    method, _, rest = first.partition(" ")
    path, _, query = rest.removesuffix(" HTTP/1.1").partition("?")
    pairs: list[tuple[str, str]] = []
    for line in lines:
        if line[:1].isspace():  # a folded header goes on
            name, value = pairs.pop()
            pairs.append((name, f"{value}\n{line}"))
        else:
            name, _, value = line.partition(":")
            pairs.append((name.lower(), value.strip()))
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return Request(method, path, query, headers, body.encode())


def signed_request(vector: str) -> Request:
    request = request_of(text_of(vector, "req"))
    headers = {**request.headers, "authorization": text_of(vector, "authz")}
    sent = request_of(text_of(vector, "sreq")).headers
    if "x-amz-security-token" in sent:  # the signer adds it, in one vector after signing
        headers["x-amz-security-token"] = sent["x-amz-security-token"]
    return Request(request.method, request.path, request.query, headers, request.body)


def verify(request: Request) -> sigv4.Verified:
    token = request.headers.get("x-amz-security-token", "")
    credential = Credential("AKIDEXAMPLE", SECRET, "000000000000", "arn:aws:iam::000000000000:root", token)
    claim = sigv4.read_claim(request, auth_errors.QUERY)
    return sigv4.Verifier(KeyRing(credential)).verify(request, claim, auth_errors.QUERY, NOW)


def test_the_suite_is_whole() -> None:
    assert len(VECTORS) >= 30


@pytest.mark.parametrize("vector", VECTORS)
def test_canonical_form(vector: str) -> None:
    request = signed_request(vector)
    claim = sigv4.read_claim(request, auth_errors.QUERY)
    expected = text_of(vector, "creq")
    payload = expected.rsplit("\n", 1)[1]
    assert canonical_request(request, claim.signed_headers, payload, s3=False) == expected


@pytest.mark.parametrize("vector", VECTORS)
def test_signature_holds(vector: str) -> None:
    assert verify(signed_request(vector)).credential.access_key_id == "AKIDEXAMPLE"


@pytest.mark.parametrize("vector", VECTORS)
def test_signature_fails_once_anything_is_changed(vector: str) -> None:
    good = signed_request(vector)
    wrong_signature = good.headers["authorization"][:-1] + (
        "0" if good.headers["authorization"][-1] != "0" else "1"
    )
    changed = [
        Request("DELETE", good.path, good.query, good.headers, good.body),
        Request(good.method, good.path + "x", good.query, good.headers, good.body),
        Request(good.method, good.path, good.query + "&x=1", good.headers, good.body),
        Request(good.method, good.path, good.query, good.headers, good.body + b"x"),
        Request(good.method, good.path, good.query, {**good.headers, "host": "example.org"}, good.body),
        Request(
            good.method, good.path, good.query, {**good.headers, "authorization": wrong_signature}, good.body
        ),
    ]
    for request in changed:
        with pytest.raises(Refusal) as refusal:
            verify(request)
        assert refusal.value.code == "SignatureDoesNotMatch"
