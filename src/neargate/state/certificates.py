"""Certificates by ARN, who uses them, and their private keys: for services/acm, services/elbv2's listeners
and the way of the data plane (services/cell). Each function takes a transaction or a record.
"""

from neargate.model import certificate as rules
from neargate.model.balancer import Certificate
from neargate.model.record import Scope
from neargate.state.catalog_balancers import CERTIFICATE, LISTENER
from neargate.state.store import Tx


def find(tx: Tx, scope: Scope, arn: str) -> Certificate | None:
    found = tx.get(CERTIFICATE, arn)
    return (
        found
        if found is not None and (found.account, found.region) == (scope.account, scope.region)
        else None
    )


def in_use_by(tx: Tx, certificate: Certificate) -> tuple[str, ...]:
    """ARNs of the load balancers whose listeners serve it."""
    listeners = tx.all(LISTENER, Scope(certificate.account, certificate.region))
    return tuple(
        dict.fromkeys(item.balancer_arn for item in listeners if certificate.arn in item.certificates)
    )


def private_key(signing_key: bytes, certificate: Certificate) -> bytes:
    """The private key in PEM, in clear. signing_key -- the daemon's. Raise model.sealed.SealError."""
    return rules.unseal(signing_key, certificate)


def served(certificate: Certificate) -> str:
    """What a server shows to its clients: the certificate, and after it its chain."""
    return "\n".join(part.strip() for part in (certificate.certificate, certificate.chain) if part) + "\n"
