"""What a request that is not believed is told: each failure with AWS's code, status and text, by protocol.

Raised by sigv4.py, serialised by app.py like any other ApiError.
"""

from dataclasses import dataclass

from neargate.kit.errors import ApiError

_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
    "Access Key and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a service spells authentication errors: JSON services with an ending, EC2 and S3 their own way."""

    json: bool = False
    ec2: bool = False
    s3: bool = False
    status: int = 403


QUERY = Dialect()
JSON = Dialect(json=True, status=400)
REST_JSON = Dialect(json=True)
EC2 = Dialect(ec2=True)
S3 = Dialect(s3=True)


def dialect_of(service: str, protocol: str) -> Dialect:
    """The dialect of a service (botocore's name) asked in a protocol (botocore's name)."""
    if service == "s3":
        return S3
    if protocol == "ec2":
        return EC2
    if protocol == "rest-json":
        return REST_JSON
    return JSON if "json" in protocol or "cbor" in protocol else QUERY


class Refusal(ApiError):
    """A request whose signature does not hold."""

    @classmethod
    def missing(cls, dialect: Dialect) -> "Refusal":
        if dialect.s3:
            return cls("AccessDenied", "Access Denied", status=403)
        if dialect.ec2:
            return cls(
                "MissingParameter", "The request must contain the parameter AWSAccessKeyId", status=400
            )
        if dialect.json:
            return cls(
                "MissingAuthenticationTokenException", "Missing Authentication Token", status=dialect.status
            )
        return cls("MissingAuthenticationToken", "Request is missing Authentication Token", status=403)

    @classmethod
    def incomplete(cls, dialect: Dialect, message: str) -> "Refusal":
        if dialect.s3:
            return cls("AuthorizationHeaderMalformed", message, status=400)
        if dialect.json:
            return cls("IncompleteSignatureException", message, status=dialect.status)
        return cls("IncompleteSignature", message, status=400)

    @classmethod
    def unknown_key(cls, dialect: Dialect) -> "Refusal":
        if dialect.s3:
            message = "The AWS Access Key Id you provided does not exist in our records."
            return cls("InvalidAccessKeyId", message, status=403)
        return cls.bad_token(dialect)

    @classmethod
    def bad_token(cls, dialect: Dialect) -> "Refusal":
        """A session token that is not the key's, or none where the key has one; also a key nobody has."""
        if dialect.s3:
            message = "The provided token is malformed or otherwise invalid."
            return cls("InvalidToken", message, status=400)
        if dialect.ec2:
            message = "AWS was not able to validate the provided access credentials"
            return cls("AuthFailure", message, status=401)
        code = "UnrecognizedClientException" if dialect.json else "InvalidClientTokenId"
        return cls(code, "The security token included in the request is invalid.", status=dialect.status)

    @classmethod
    def expired(cls, dialect: Dialect) -> "Refusal":
        """Temporary credentials whose time is over, or whose task has stopped."""
        if dialect.s3:
            return cls("ExpiredToken", "The provided token has expired.", status=400)
        if dialect.ec2:
            return cls("RequestExpired", "Request has expired.", status=400)
        code = "ExpiredTokenException" if dialect.json else "ExpiredToken"
        return cls(code, "The security token included in the request is expired", status=dialect.status)

    @classmethod
    def signature(cls, dialect: Dialect, message: str) -> "Refusal":
        code = "InvalidSignatureException" if dialect.json else "SignatureDoesNotMatch"
        return cls(code, message, status=dialect.status)

    @classmethod
    def mismatch(cls, dialect: Dialect, canonical: str, to_sign: str) -> "Refusal":
        if dialect.ec2:
            message = "AWS was not able to validate the provided access credentials"
            return cls("AuthFailure", message, status=401)
        return cls.signature(
            dialect,
            f"{_MISMATCH}\n\nThe Canonical String for this request should have been\n'{canonical}'\n\n"
            f"The String-to-Sign should have been\n'{to_sign}'\n",
        )

    @classmethod
    def wrong_scope(cls, dialect: Dialect, message: str) -> "Refusal":
        if dialect.s3:
            return cls("AuthorizationHeaderMalformed", message, status=400)
        return cls.signature(dialect, message)

    @classmethod
    def body_changed(cls, dialect: Dialect) -> "Refusal":
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        return cls("XAmzContentSHA256Mismatch", message, status=400)

    @classmethod
    def late(
        cls, dialect: Dialect, signed: str, limit: str, now: str, minutes: int, presigned: bool
    ) -> "Refusal":
        """Signed longer ago than it may be. `limit` is the oldest time that would do."""
        if dialect.s3 and presigned:
            return cls("AccessDenied", "Request has expired", status=403)
        if dialect.ec2:
            return cls("RequestExpired", "Request has expired.", status=400)
        text = f"Signature expired: {signed} is now earlier than {limit} ({now} - {minutes} min.)"
        return cls._off(dialect, text)

    @classmethod
    def early(cls, dialect: Dialect, signed: str, limit: str, now: str, minutes: int) -> "Refusal":
        """Signed in the future."""
        if dialect.ec2:
            return cls("RequestExpired", "Request has expired.", status=400)
        text = f"Signature not yet current: {signed} is still later than {limit} ({now} + {minutes} min.)"
        return cls._off(dialect, text)

    @classmethod
    def _off(cls, dialect: Dialect, text: str) -> "Refusal":
        if dialect.s3:
            message = "The difference between the request time and the current time is too large."
            return cls("RequestTimeTooSkewed", message, status=403)
        return cls.signature(dialect, text)
