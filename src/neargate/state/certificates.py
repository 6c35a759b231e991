"""Certificates by ARN, and who uses them: what services/acm and services/elbv2 share.

Each function takes a transaction. Their keys are opened by model/certificate, for the data plane only.
"""

from neargate.model.balancer import Certificate
from neargate.model.record import Scope
from neargate.state.catalog_balancers import CERTIFICATE, LISTENER
from neargate.state.store import Tx


def find(tx: Tx, scope: Scope, arn: str) -> Certificate | None:
    found = tx.get(CERTIFICATE, arn)
    is_of = found is not None and (found.account, found.region) == (scope.account, scope.region)
    return found if is_of else None


def in_use_by(tx: Tx, certificate: Certificate) -> tuple[str, ...]:
    """ARNs of the load balancers whose listeners serve it."""
    listeners = tx.all(LISTENER, Scope(certificate.account, certificate.region))
    return tuple(
        dict.fromkeys(item.balancer_arn for item in listeners if certificate.arn in item.certificates)
    )
