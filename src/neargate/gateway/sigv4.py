"""AWS Signature Version 4, verified: in the Authorization header or in a presigned URL's query.

Called by app.py for every request but the registry's and /_neargate/health. Canonicalisation is in
canonical.py. Everything refused is an ApiError whose code is spelled as the service's protocol spells it.
"""

import hashlib
import hmac
import re
import time
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_tz

from neargate.gateway.auth_errors import Dialect, Refusal
from neargate.gateway.canonical import canonical_request, query_pairs
from neargate.gateway.credentials import Credential, Credentials
from neargate.wire.http import Request

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SKEW = 15 * 60
MAX_EXPIRES = 7 * 24 * 3600
UNSIGNED = "UNSIGNED-PAYLOAD"
_EMPTY_HASH = hashlib.sha256(b"").hexdigest()
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM}\s+Credential=([^\s,]+)\s*,\s*SignedHeaders=([^\s,]+)\s*,\s*Signature=([^\s,]+)\s*"
)
_DATE = re.compile(r"\d{8}T\d{6}Z")
_KEYS_KEPT = 512


@dataclass(frozen=True, slots=True)
class CredentialScope:
    """`<key id>/<yyyymmdd>/<region>/<service>/aws4_request`, taken apart; not yet believed."""

    access_key_id: str
    date: str
    region: str
    service: str

    @property
    def text(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its signature; `verify` finds out whether it is true."""

    scope: CredentialScope
    signed_headers: tuple[str, ...]
    signature: str
    date: str
    token: str
    expires: int | None = None
    """Seconds a presigned URL is good for; None for a signature in headers."""


@dataclass(frozen=True, slots=True)
class Verified:
    credential: Credential
    region: str
    service: str
    """The signing name in the credential scope."""
    signing_key: bytes
    """Signs the chunks of an aws-chunked body."""
    signature: str
    date: str


def parse_scope(text: str) -> CredentialScope | None:
    # A key id may hold slashes in nobody's world but S3's ancient one: count from the right.
    parts = text.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request" or not all(parts):
        return None
    return CredentialScope(*parts[:4])


def peek_scope(request: Request) -> CredentialScope | None:
    """The credential scope a request claims, to find its service by; None where there is none to read."""
    header = request.headers.get("authorization")
    if header is not None:
        found = _AUTHORIZATION.fullmatch(header) or re.search(r"\bCredential=([^\s,]+)", header)
        return parse_scope(found[1]) if found else None
    if "X-Amz-Credential" in request.query:
        value = dict(query_pairs(request.query)).get("X-Amz-Credential")
        return parse_scope(value) if value else None
    return None


def read_claim(request: Request, dialect: Dialect) -> Claim:
    """The claim of a signed request. Raises a Refusal where it is missing or incomplete."""
    header = request.headers.get("authorization")
    if header is not None:
        return _claim_of_header(request, header, dialect)
    if "X-Amz-" in request.query:
        query = dict(query_pairs(request.query))
        if "X-Amz-Algorithm" in query or "X-Amz-Signature" in query:
            return _claim_of_query(query, dialect)
    raise Refusal.missing(dialect)


def _claim_of_header(request: Request, header: str, dialect: Dialect) -> Claim:
    found = _AUTHORIZATION.fullmatch(header)
    date = request.headers.get("x-amz-date") or _from_http_date(request.headers.get("date", ""))
    if found is None:
        fields = _fields_of(header, dialect)
        credential, signed, signature = (
            fields.get(k, "") for k in ("Credential", "SignedHeaders", "Signature")
        )
        problems = [f"Authorization header requires '{k}' parameter." for k in fields if not fields[k]]
        if not date:
            problems.append(_NO_DATE)
        if problems:
            raise Refusal.incomplete(dialect, f"{' '.join(problems)} Authorization={_shown(header)}")
    else:
        credential, signed, signature = found.groups()
        if not date:
            raise Refusal.incomplete(dialect, f"{_NO_DATE} Authorization={_shown(header)}")
    scope = _scope(credential, dialect)
    if not _DATE.fullmatch(date):
        raise Refusal.incomplete(
            dialect,
            f"Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601",
        )
    token = request.headers.get("x-amz-security-token", "")
    return Claim(scope, tuple(signed.lower().split(";")), signature, date, token)


_NO_DATE = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."


def _shown(header: str) -> str:
    """An Authorization header as an error may repeat it: without the signature."""
    return re.sub(r"(Signature=)\S+", r"\1…", header)[:200]


def _fields_of(header: str, dialect: Dialect) -> dict[str, str]:
    """The parameters of an Authorization header in any order; absent ones are empty."""
    algorithm, _, rest = header.strip().partition(" ")
    if algorithm != ALGORITHM:
        if algorithm.startswith("AWS"):
            raise Refusal.incomplete(dialect, f"Unsupported AWS 'algorithm': '{algorithm[:60]}'.")
        raise Refusal.missing(dialect)
    fields = {"Credential": "", "Signature": "", "SignedHeaders": ""}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals:
            raise Refusal.incomplete(
                dialect,
                f"'{part.strip()[:60]}' not a valid key=value pair (missing equal-sign) "
                "in Authorization header.",
            )
        if name in fields:
            fields[name] = value
    return fields


def _claim_of_query(query: Mapping[str, str], dialect: Dialect) -> Claim:
    needed = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature")
    missing = [
        f"AWS query-string parameters must include '{name}'." for name in needed if not query.get(name)
    ]
    if missing:
        raise Refusal.incomplete(dialect, " ".join(missing) + " Re-examine the query-string parameters.")
    if query["X-Amz-Algorithm"] != ALGORITHM:
        raise Refusal.incomplete(dialect, f"Unsupported AWS 'algorithm': '{query['X-Amz-Algorithm'][:60]}'.")
    date = query["X-Amz-Date"]
    if not _DATE.fullmatch(date):
        raise Refusal.incomplete(
            dialect, f"X-Amz-Date must be in ISO-8601 'basic format'. Got '{date[:60]}'."
        )
    # Services other than S3 take a URL without X-Amz-Expires for one that lasts the skew of 15 minutes.
    expires = query.get("X-Amz-Expires", str(MAX_SKEW))
    if not (re.fullmatch(r"[0-9]{1,6}", expires) and 0 < int(expires) <= MAX_EXPIRES):
        raise Refusal.incomplete(
            dialect, "X-Amz-Expires must be a positive number of seconds less than a week (604800)."
        )
    signed = tuple(query["X-Amz-SignedHeaders"].lower().split(";"))
    scope = _scope(query["X-Amz-Credential"], dialect)
    token = query.get("X-Amz-Security-Token", "")
    return Claim(scope, signed, query["X-Amz-Signature"], date, token, int(expires))


def _scope(credential: str, dialect: Dialect) -> CredentialScope:
    scope = parse_scope(credential)
    if scope is None:
        raise Refusal.incomplete(
            dialect,
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{credential[:128]}'",
        )
    return scope


def _from_http_date(text: str) -> str:
    if _DATE.fullmatch(text):
        return text
    parsed = parsedate_tz(text) if text else None
    if parsed is None:
        return ""
    try:
        return _stamp(timegm((*parsed[:6], 0, 0, 0)) - (parsed[9] or 0))
    except (ValueError, OverflowError):
        return ""


def _stamp(at: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))


class Verifier:
    """Checks claims against the credentials known. Keeps derived signing keys, not verdicts."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._keys: dict[tuple[str, str, str, str, str], bytes] = {}
        self._times: tuple[str, float] = ("", 0.0)

    def verify(self, request: Request, claim: Claim, dialect: Dialect, now: float) -> Verified:
        """The credential behind a true claim. Raises a Refusal, in AWS's order of checks."""
        credential = self._credential(claim, dialect, now)
        self._check_signed_headers(request, claim, dialect)
        self._check_time(claim, dialect, now)
        scope = claim.scope
        payload = _payload_hash(request, claim, s3=dialect.s3)
        canonical = canonical_request(request, claim.signed_headers, payload, s3=dialect.s3)
        to_sign = f"{ALGORITHM}\n{claim.date}\n{scope.text}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = self._key(credential, scope)
        expected = hmac.digest(key, to_sign.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
            raise Refusal.mismatch(dialect, canonical, to_sign)
        self._check_payload(request, payload, dialect)
        return Verified(credential, scope.region, scope.service, key, claim.signature, claim.date)

    def _credential(self, claim: Claim, dialect: Dialect, now: float) -> Credential:
        credential = self._credentials.find(claim.scope.access_key_id, claim.token)
        if credential is None:
            raise Refusal.unknown_key(dialect)
        if not hmac.compare_digest(credential.session_token.encode(), claim.token.encode()):
            raise Refusal.bad_token(dialect)
        if credential.session is not None and credential.session.expires_at <= now:
            raise Refusal.expired(dialect)
        return credential

    def _check_signed_headers(self, request: Request, claim: Claim, dialect: Dialect) -> None:
        signed = claim.signed_headers
        if "host" not in signed:
            raise Refusal.signature(
                dialect, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
            )
        for name in request.headers:
            if name.startswith("x-amz-") and name not in signed and name != "x-amz-security-token":
                raise Refusal.signature(
                    dialect, f"'{name}' must be a 'SignedHeader' in the AWS Authorization."
                )

    def _check_time(self, claim: Claim, dialect: Dialect, now: float) -> None:
        stamp, at = self._times
        if stamp != claim.date:
            try:
                at = float(timegm(time.strptime(claim.date, "%Y%m%dT%H%M%SZ")))
            except ValueError:
                raise Refusal.incomplete(dialect, f"'{claim.date}' is not a date.") from None
            self._times = (claim.date, at)
        if claim.scope.date != claim.date[:8]:
            raise Refusal.signature(
                dialect,
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{claim.scope.date}' != '{claim.date[:8]}', from '{claim.date}'.",
            )
        life = MAX_SKEW if claim.expires is None else claim.expires
        if at > now + MAX_SKEW:
            raise Refusal.early(dialect, claim.date, _stamp(now + MAX_SKEW), _stamp(now), MAX_SKEW // 60)
        if at < now - life:
            presigned = claim.expires is not None
            raise Refusal.late(dialect, claim.date, _stamp(now - life), _stamp(now), life // 60, presigned)

    def _key(self, credential: Credential, scope: CredentialScope) -> bytes:
        # The secret is part of the name: a key id whose secret was changed must not verify by the old one.
        name = (scope.access_key_id, credential.secret_access_key, scope.date, scope.region, scope.service)
        key = self._keys.get(name)
        if key is None:
            if len(self._keys) >= _KEYS_KEPT:
                self._keys.clear()
            key = self._keys[name] = derive_key(
                credential.secret_access_key, scope.date, scope.region, scope.service
            )
        return key

    def _check_payload(self, request: Request, signed_hash: str, dialect: Dialect) -> None:
        """S3 signs the hash it was told; see that the body has it. Elsewhere the body was hashed itself."""
        if not dialect.s3 or signed_hash == UNSIGNED or signed_hash.startswith("STREAMING-"):
            return
        if not hmac.compare_digest(hashlib.sha256(request.body).hexdigest(), signed_hash):
            raise Refusal.body_changed(dialect)


def _payload_hash(request: Request, claim: Claim, *, s3: bool) -> str:
    if s3:
        if claim.expires is not None:
            return UNSIGNED
        return request.headers.get("x-amz-content-sha256", UNSIGNED)
    return hashlib.sha256(request.body).hexdigest() if request.body else _EMPTY_HASH


def derive_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = hmac.digest(b"AWS4" + secret.encode(), date.encode(), "sha256")
    for part in (region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
