"""The door's certificate: the operator's, or one we make and sign ourselves, kept in the data directory.

Called by server.py.
"""

import datetime
import ipaddress
import os
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from neargate.kit.settings import Settings, SettingsError

GENERATE = "generate"
_DAYS = 825  # the longest that Apple's clients accept


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context of the door; None where it speaks clear text. Raises SettingsError."""
    if not settings.tls_cert:
        if settings.tls_key:
            raise SettingsError("NEARGATE_TLS_KEY is set without NEARGATE_TLS_CERT: they go together")
        return None
    if settings.tls_cert == GENERATE:
        cert, key = generated_certificate(settings)
    else:
        cert, key = Path(settings.tls_cert), Path(settings.tls_key or settings.tls_cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the certificate {cert} with key {key} cannot be used: {error}") from None
    return context


def generated_certificate(settings: Settings) -> tuple[Path, Path]:
    """Paths of a self-signed certificate and its key; made when there is none, it expires soon, or it lacks
    the address the door listens on."""
    cert_path, key_path = settings.data_dir / "door.crt", settings.data_dir / "door.key"
    names = _names(settings.host)
    if cert_path.exists() and key_path.exists() and _still_good(cert_path, names):
        return cert_path, key_path
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key, names)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    key_path.unlink(missing_ok=True)
    handle = os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return cert_path, key_path


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(socket.gethostname())]
    addresses = ["127.0.0.1", "::1"]
    try:
        address = ipaddress.ip_address(host)
        if not address.is_unspecified and host not in addresses:
            addresses.append(host)
    except ValueError:
        if host not in ("localhost", socket.gethostname()):
            names.append(x509.DNSName(host))
    return names + [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]


def _certificate(key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName]) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "neargate")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _still_good(path: Path, names: list[x509.GeneralName]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
    return certificate.not_valid_after_utc > soon and all(name in list(alternative) for name in names)
