"""X.509 certificates as ACM imports them: what is checked, what is told of them, how keys are sealed. Pure.

Called by services/acm and state/certificates. A private key is in clear only on its way to the data plane.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from neargate.kit.errors import ApiError
from neargate.model import sealed
from neargate.model.balancer import Certificate

_MAX_KEY: Final = 5120
_RSA_SIZES: Final = (1024, 2048, 3072, 4096)
_CURVES: Final = {"secp256r1": "prime256v1", "secp384r1": "secp384r1", "secp521r1": "secp521r1"}
_USAGES: Final = {
    "digital_signature": "DIGITAL_SIGNATURE",
    "content_commitment": "NON_REPUDIATION",
    "key_encipherment": "KEY_ENCIPHERMENT",
    "data_encipherment": "DATA_ENCIPHERMENT",
    "key_agreement": "KEY_AGREEMENT",
    "key_cert_sign": "CERTIFICATE_SIGNING",
    "crl_sign": "CRL_SIGNING",
}
_EXTENDED: Final = {
    ExtendedKeyUsageOID.SERVER_AUTH: "TLS_WEB_SERVER_AUTHENTICATION",
    ExtendedKeyUsageOID.CLIENT_AUTH: "TLS_WEB_CLIENT_AUTHENTICATION",
    ExtendedKeyUsageOID.CODE_SIGNING: "CODE_SIGNING",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "EMAIL_PROTECTION",
    ExtendedKeyUsageOID.TIME_STAMPING: "TIME_STAMPING",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSP_SIGNING",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "ANY",
}


def invalid(message: str) -> ApiError:
    return ApiError("ValidationException", message)


@dataclass(frozen=True, slots=True)
class Imported:
    """What is known of a certificate whose import is in order."""

    names: tuple[str, ...]
    """The domain names that it is for; first the common name."""
    facts: dict[str, Any]
    """What DescribeCertificate shows, in its members' names."""


def imported(certificate: bytes, key: bytes, chain: bytes | None, now: float) -> Imported:
    """Of an import all of which fits together. Raise ValidationException."""
    try:
        leaf = _checked(certificate, key, chain, now)
        return Imported(_names(leaf), _facts(leaf))
    except (ValueError, UnsupportedAlgorithm):  # Fields are read when they are asked for.
        raise invalid("The certificate is not PEM-encoded or is not valid.") from None


def _checked(certificate: bytes, key: bytes, chain: bytes | None, now: float) -> x509.Certificate:
    found = _load(certificate, "certificate")
    if len(found) > 1:
        raise invalid(
            "The certificate field contains more than one certificate. You can specify only one certificate"
            " in this field."
        )
    leaf = found[0]
    _check_key(leaf, key)
    if now >= leaf.not_valid_after_utc.timestamp():
        raise invalid("The certificate has expired, is not valid.")
    if now < leaf.not_valid_before_utc.timestamp():
        raise invalid("The certificate is not in effect yet, is not valid.")
    if leaf.serial_number <= 0:
        raise invalid("The serial number of the certificate must be positive.")
    if not leaf.issuer:
        raise invalid("The Issuer field of the certificate must not be empty.")
    _check_chain(leaf, _load(chain, "certificate chain") if chain else [])
    return leaf


def _load(pem: bytes, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise invalid(f"The {what} is not PEM-encoded or is not valid.") from None


def _check_key(leaf: x509.Certificate, pem: bytes) -> None:
    if len(pem) > _MAX_KEY:
        raise invalid(f"The private key must be no larger than {_MAX_KEY} bytes.")
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise invalid("The private key is protected by a passphrase and cannot be imported.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise invalid("The private key is not PEM-encoded or is not valid.") from None
    _algorithm(leaf)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise invalid("The private key does not match the public key of the certificate.")


def _algorithm(certificate: x509.Certificate) -> str:
    """In ACM's words. Raise ValidationException for a key that load balancers cannot use."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_SIZES:
        return f"RSA-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return f"EC-{_CURVES[key.curve.name]}"
    raise invalid("The private key is not supported.")


def _check_chain(leaf: x509.Certificate, chain: Sequence[x509.Certificate]) -> None:
    if not chain and not _is_signed_by(leaf, leaf):
        raise invalid(
            "Provided certificate is not a valid self signed. Please provide either a valid self-signed"
            " certificate or certificate chain."
        )
    signed = [leaf, *chain]
    for certificate, signer in zip(signed, chain, strict=False):
        if not _is_signed_by(certificate, signer):
            raise invalid("Could not validate the certificate with the certificate chain.")


def _is_signed_by(certificate: x509.Certificate, signer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    names = [_text(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names += extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        pass
    return tuple(dict.fromkeys(names))


def _facts(certificate: x509.Certificate) -> dict[str, Any]:
    issuer = [
        attribute.value
        for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
        for attribute in certificate.issuer.get_attributes_for_oid(oid)
    ]
    digits = f"{certificate.serial_number:x}"
    digits = digits.zfill(len(digits) + len(digits) % 2)
    return {
        "Serial": ":".join(digits[place : place + 2] for place in range(0, len(digits), 2)),
        "Subject": _text(certificate.subject.rfc4514_string()),
        "Issuer": _text(issuer[0]) if issuer else certificate.issuer.rfc4514_string(),
        "NotBefore": certificate.not_valid_before_utc.timestamp(),
        "NotAfter": certificate.not_valid_after_utc.timestamp(),
        "KeyAlgorithm": _algorithm(certificate),
        "SignatureAlgorithm": _signature(certificate),
        "KeyUsages": [{"Name": name} for name in _key_usages(certificate)],
        "ExtendedKeyUsages": _extended_key_usages(certificate),
    }


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _signature(certificate: x509.Certificate) -> str:
    digest = certificate.signature_hash_algorithm
    kind = "ECDSA" if isinstance(certificate.signature_algorithm_parameters, ec.ECDSA) else "RSA"
    return f"{digest.name.upper()}WITH{kind}" if digest else "ED25519"


def _key_usages(certificate: x509.Certificate) -> list[str]:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return []
    return [name for member, name in _USAGES.items() if getattr(usage, member)]


def _extended_key_usages(certificate: x509.Certificate) -> list[dict[str, str]]:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []
    return [{"Name": _EXTENDED.get(oid, "CUSTOM"), "OID": oid.dotted_string} for oid in usages]


def seal(key: bytes, arn: str, pem: bytes, nonce: bytes) -> bytes:
    """A private key for a record: bound to the certificate's ARN."""
    return sealed.seal(key, _context(arn), pem, nonce)


def unseal(key: bytes, certificate: Certificate) -> bytes:
    """The private key in PEM. Raise SealError."""
    return sealed.unseal(key, _context(certificate.arn), certificate.key)


def _context(arn: str) -> bytes:
    return f"certificate\0{arn}".encode()
