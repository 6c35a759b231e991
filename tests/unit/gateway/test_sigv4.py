"""Every way in which a signature can fail, by protocol; and that whatever botocore signs is believed."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from neargate.gateway import auth_errors, sigv4
from neargate.gateway.auth_errors import Dialect, Refusal
from neargate.gateway.credentials import Credential, KeyRing
from neargate.wire.http import Request

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ROOT = Credential(KEY, SECRET, "000000000000", "arn:aws:iam::000000000000:root")
TEMPORARY = Credential("ASIAIOSFODNN7EXAMPLE", SECRET, "000000000000", "arn", "the-token")
RING = KeyRing(ROOT, TEMPORARY)
JSON, QUERY, EC2, S3 = auth_errors.JSON, auth_errors.QUERY, auth_errors.EC2, auth_errors.S3


def signed(
    signer: Callable[[Credentials], Any] | None = None,
    *,
    key: str = KEY,
    secret: str = SECRET,
    token: str | None = None,
    url: str = "http://door/",
    body: bytes = b"{}",
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> Request:
    """A request as botocore's signer makes it, and as our server hands it over."""
    make = signer or (lambda c: auth.SigV4Auth(c, "ecs", "us-east-1"))
    request = AWSRequest(method, url, headers=headers or {"X-Amz-Target": "T.Op"}, data=body)
    make(Credentials(key, secret, token)).add_auth(request)
    sent = request.prepare()
    parts = urlsplit(sent.url)
    lower = {k.lower(): v.decode() if isinstance(v, bytes) else v for k, v in sent.headers.items()}
    return Request(method, parts.path, parts.query, {"host": parts.netloc, **lower}, body)


def presigned(service: str = "sts", expires: int = 60, token: str | None = None) -> Request:
    def signer(credentials: Credentials) -> Any:
        kind = auth.S3SigV4QueryAuth if service == "s3" else auth.SigV4QueryAuth
        return kind(credentials, service, "us-east-1", expires=expires)

    key = TEMPORARY.access_key_id if token else KEY
    url = "http://door/a%2Fb//c?Action=GetCallerIdentity&Version=2011-06-15"
    return signed(signer, url=url, body=b"", method="GET", headers={"x": "y"}, token=token, key=key)


def verify(request: Request, dialect: Dialect = JSON, *, ago: float = 0.0) -> sigv4.Verified:
    """`ago`: how many seconds after its signing the request arrives."""
    claim = sigv4.read_claim(request, dialect)
    return sigv4.Verifier(RING).verify(request, claim, dialect, time.time() + ago)


def refused(request: Request, dialect: Dialect = JSON, *, ago: float = 0.0) -> Refusal:
    with pytest.raises(Refusal) as caught:
        verify(request, dialect, ago=ago)
    return caught.value


def changed(request: Request, **values: Any) -> Request:
    fields = {name: getattr(request, name) for name in ("method", "path", "query", "headers", "body")}
    headers = {**fields["headers"], **values.pop("headers", {})}
    fields.update(values)
    fields["headers"] = {name: value for name, value in headers.items() if value is not None}
    return Request(**fields)


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
UNRESERVED = "-_.~"


@given(
    path=st.lists(TEXT, max_size=4),
    query=st.dictionaries(TEXT.filter(bool), TEXT, max_size=4),
    header=st.text("abc ,;=/", max_size=20),
    body=st.binary(max_size=64),
)
def test_what_botocore_signs_is_believed(
    path: list[str], query: dict[str, str], header: str, body: bytes
) -> None:
    url = "http://door/" + "/".join(quote(part, safe=UNRESERVED) for part in path)
    if query:
        url += "?" + "&".join(
            f"{quote(k, safe=UNRESERVED)}={quote(v, safe=UNRESERVED)}" for k, v in query.items()
        )
    headers = {"x-thing": header, "x-amz-target": "T.Op"}
    assert verify(signed(url=url, body=body, headers=headers)).region == "us-east-1"


@pytest.mark.parametrize("service", ["sts", "s3"])
def test_presigned_url(service: str) -> None:
    assert verify(presigned(service), S3 if service == "s3" else QUERY).credential is ROOT


def test_presigned_url_with_session_token() -> None:
    assert verify(presigned(token="the-token"), QUERY).credential is TEMPORARY


def test_temporary_credential() -> None:
    assert verify(signed(key=TEMPORARY.access_key_id, token="the-token")).credential is TEMPORARY


@pytest.mark.parametrize(
    ("dialect", "code", "status"),
    [
        (JSON, "UnrecognizedClientException", 400),
        (auth_errors.REST_JSON, "UnrecognizedClientException", 403),
        (QUERY, "InvalidClientTokenId", 403),
        (EC2, "AuthFailure", 401),
        (S3, "InvalidAccessKeyId", 403),
    ],
)
def test_unknown_key(dialect: Dialect, code: str, status: int) -> None:
    error = refused(signed(key="AKIANOBODY"), dialect)
    assert (error.code, error.status) == (code, status)


@pytest.mark.parametrize(
    ("dialect", "code"),
    [
        (JSON, "InvalidSignatureException"),
        (QUERY, "SignatureDoesNotMatch"),
        (EC2, "AuthFailure"),
        (S3, "SignatureDoesNotMatch"),
    ],
)
def test_wrong_secret(dialect: Dialect, code: str) -> None:
    assert refused(signed(secret="wrong"), dialect).code == code


def test_mismatch_shows_what_should_have_been_signed() -> None:
    message = refused(signed(secret="wrong")).message
    assert message.startswith(
        "The request signature we calculated does not match the signature you provided."
    )
    assert "The Canonical String for this request should have been\n'POST\n/\n" in message
    assert "The String-to-Sign should have been\n'AWS4-HMAC-SHA256\n" in message


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": "/x"},
        {"query": "a=b"},
        {"body": b"{} "},
        {"body": b""},
        {"headers": {"host": "elsewhere"}},
        {"headers": {"x-amz-target": "T.Other"}},
    ],
)
def test_anything_changed_is_noticed(change: dict[str, Any]) -> None:
    assert refused(changed(signed(), **change)).code == "InvalidSignatureException"


def test_a_header_of_aws_added_on_the_way_is_noticed() -> None:
    error = refused(changed(signed(), headers={"x-amz-extra": "1"}))
    assert (error.code, "'x-amz-extra'" in error.message) == ("InvalidSignatureException", True)


def test_unsigned_payload_is_for_s3_only() -> None:
    marked = signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD", "x-amz-target": "T.Op"})
    assert refused(changed(marked, body=b"other")).code == "InvalidSignatureException"


def s3_signer(credentials: Credentials) -> Any:
    return auth.S3SigV4Auth(credentials, "s3", "us-east-1")


def test_s3_body_is_held_against_its_signed_hash() -> None:
    request = signed(s3_signer, url="http://door/b//a%20b/../c", headers={"x": "y"})
    assert verify(request, S3).service == "s3"
    assert refused(changed(request, body=b"other"), S3).code == "XAmzContentSHA256Mismatch"


@pytest.mark.parametrize("ago", [-14 * 60, 0, 14 * 60])
def test_small_skew_is_allowed(ago: float) -> None:
    verify(signed(), ago=ago)


@pytest.mark.parametrize(
    ("ago", "dialect", "code", "text"),
    [
        (16 * 60, JSON, "InvalidSignatureException", "Signature expired: "),
        (-16 * 60, JSON, "InvalidSignatureException", "Signature not yet current: "),
        (16 * 60, QUERY, "SignatureDoesNotMatch", "Signature expired: "),
        (16 * 60, EC2, "RequestExpired", "Request has expired."),
        (-16 * 60, EC2, "RequestExpired", "Request has expired."),
        (16 * 60, S3, "RequestTimeTooSkewed", "The difference between"),
        (-16 * 60, S3, "RequestTimeTooSkewed", "The difference between"),
    ],
)
def test_large_skew(ago: float, dialect: Dialect, code: str, text: str) -> None:
    error = refused(signed(), dialect, ago=ago)
    assert error.code == code
    assert error.message.startswith(text)
    if "Signature expired" in text:
        assert " is now earlier than " in error.message
        assert error.message.endswith(" - 15 min.)")


def test_presigned_url_expires() -> None:
    verify(presigned(expires=60), QUERY, ago=55)
    assert refused(presigned(expires=60), QUERY, ago=65).code == "SignatureDoesNotMatch"
    error = refused(presigned("s3", expires=60), S3, ago=65)
    assert (error.code, error.message) == ("AccessDenied", "Request has expired")


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "9999999999999", "x", "٣"])
def test_presigned_url_for_too_long(expires: str) -> None:
    request = presigned()
    query = request.query.replace("X-Amz-Expires=60", f"X-Amz-Expires={quote(expires)}")
    assert refused(changed(request, query=query), QUERY).code == "IncompleteSignature"


@pytest.mark.parametrize("token", [None, "another"])
def test_session_token_must_be_the_keys(token: str | None) -> None:
    request = signed(key=TEMPORARY.access_key_id, token=token)
    assert refused(request).code == "UnrecognizedClientException"


def test_root_has_no_session_token() -> None:
    assert refused(signed(token="x")).code == "UnrecognizedClientException"


@pytest.mark.parametrize(
    ("dialect", "code"),
    [
        (JSON, "MissingAuthenticationTokenException"),
        (QUERY, "MissingAuthenticationToken"),
        (EC2, "MissingParameter"),
        (S3, "AccessDenied"),
    ],
)
@pytest.mark.parametrize("header", [None, "Basic abc", "Bearer x"])
def test_unsigned(dialect: Dialect, code: str, header: str | None) -> None:
    assert refused(changed(signed(), headers={"authorization": header}), dialect).code == code


GOOD = (
    f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/ecs/aws4_request, SignedHeaders=host, Signature=00"
)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("AWS4-HMAC-SHA256 ", "not a valid key=value pair"),
        (GOOD.replace("SignedHeaders=host, ", ""), "requires 'SignedHeaders' parameter"),
        (GOOD.replace(", Signature=00", ""), "requires 'Signature' parameter"),
        (GOOD.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "Unsupported AWS 'algorithm'"),
        (GOOD.replace("/aws4_request", ""), "exactly 5 slash-delimited elements"),
        (GOOD.replace("aws4_request", "aws5_request"), "exactly 5 slash-delimited elements"),
    ],
)
def test_incomplete(header: str, text: str) -> None:
    error = refused(changed(signed(), headers={"authorization": header}))
    assert error.code == "IncompleteSignatureException"
    assert text in error.message


def test_date_is_needed_and_must_be_one() -> None:
    assert refused(changed(signed(), headers={"x-amz-date": None})).code == "IncompleteSignatureException"
    assert refused(changed(signed(), headers={"x-amz-date": "today"})).code == "IncompleteSignatureException"
    assert refused(changed(signed(), headers={"x-amz-date": "20269999T999999Z"})).code in (
        "IncompleteSignatureException",
        "InvalidSignatureException",
    )


def test_host_must_be_signed() -> None:
    header = signed().headers["authorization"].replace("SignedHeaders=host;", "SignedHeaders=")
    assert "'Host'" in refused(changed(signed(), headers={"authorization": header})).message


@given(st.text(max_size=200))
def test_no_authorization_header_breaks_the_door(header: str) -> None:
    for value in (header, f"AWS4-HMAC-SHA256 {header}", GOOD + header):
        refused(changed(signed(), headers={"authorization": value}))


@given(st.text(max_size=100))
def test_no_query_breaks_the_door(text: str) -> None:
    query = presigned().query
    refused(changed(presigned(), query=f"{query[:-20]}{quote(text, safe='&=%')}"), QUERY)


def test_keys_are_derived_once() -> None:
    verifier = sigv4.Verifier(RING)
    request = signed()
    claim = sigv4.read_claim(request, JSON)
    first = verifier.verify(request, claim, JSON, time.time())
    assert verifier.verify(request, claim, JSON, time.time()).signing_key is first.signing_key
