"""Certificates: import (and again), describe, list, get, delete. Called by gateway/dispatch."""

from collections.abc import Mapping
from typing import Any, Final

from neargate.kit.errors import ApiError
from neargate.model import certificate as rules
from neargate.model.balancer import Certificate
from neargate.model.sealed import NONCE_BYTES
from neargate.services import paging
from neargate.services.acm import tags
from neargate.services.call import Call, Params, Result
from neargate.state import certificates
from neargate.state.catalog_balancers import CERTIFICATE
from neargate.state.store import Tx

_MOST: Final = 2500
_PAGE: Final = 1000
_LISTED_BY_DEFAULT: Final = ("RSA_1024", "RSA_2048")
_NAMES_SHOWN: Final = 100


async def import_certificate(call: Call, params: Params) -> Result:
    now, chain = call.now(), params.get("CertificateChain")
    read = rules.imported(params["Certificate"], params["PrivateKey"], chain, now)
    names, given_arn = read.names, params.get("CertificateArn")
    if given_arn and params.get("Tags"):
        raise rules.invalid("Tags cannot be specified when a certificate is imported again.")
    arn = given_arn or call.scope.arn("acm", f"certificate/{call.ids.uuid()}")
    nonce = bytes.fromhex(call.ids.hex(2 * NONCE_BYTES))
    sealed = rules.seal(call.house.signing_key, arn, bytes(params["PrivateKey"]), nonce)

    def body(tx: Tx) -> None:
        old = tags.need(tx, call.scope, arn) if given_arn else None
        if old is None and len(tx.all(CERTIFICATE, call.scope)) >= _MOST:
            raise ApiError("LimitExceededException", f"You have {_MOST} certificates, which is the limit.")
        made = Certificate(
            account=call.scope.account,
            region=call.scope.region,
            arn=arn,
            certificate=bytes(params["Certificate"]).decode(),
            chain=bytes(chain).decode() if chain else "",
            key=sealed,
            domain=names[0] if names else "",
            names=names,
            facts=read.facts,
            tags=old.tags if old else tags.read(params.get("Tags")),
            imported_at=now,
            created_at=old.created_at if old else now,
        )
        tx.put(CERTIFICATE, made)

    await call.store.write(body)
    return {"CertificateArn": arn}


async def describe_certificate(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> tuple[Certificate, tuple[str, ...]]:
        certificate = tags.need(tx, call.scope, params["CertificateArn"])
        return certificate, certificates.in_use_by(tx, certificate)

    certificate, users = await call.store.read(body)
    detail = {
        **_common(certificate, call.now()),
        **certificate.facts,
        "SubjectAlternativeNames": list(certificate.names),
        "InUseBy": list(users),
        "Options": {"CertificateTransparencyLoggingPreference": "DISABLED"},
    }
    return {"Certificate": detail}


def _common(certificate: Certificate, now: float) -> dict[str, Any]:
    """What is told of a certificate wherever it is."""
    return {
        "CertificateArn": certificate.arn,
        "DomainName": certificate.domain,
        "Status": _status(certificate, now),
        "Type": "IMPORTED",
        "CreatedAt": certificate.created_at,
        "ImportedAt": certificate.imported_at,
        "RenewalEligibility": "INELIGIBLE",
        "CertificateKeyPairOrigin": "CUSTOMER_PROVIDED",
    }


def _status(certificate: Certificate, now: float) -> str:
    return "EXPIRED" if now >= certificate.facts["NotAfter"] else "ISSUED"


async def list_certificates(call: Call, params: Params) -> Result:
    if (params.get("SortBy") is None) != (params.get("SortOrder") is None):
        raise rules.invalid("SortBy and SortOrder must be specified together.")
    after = paging.place(params.get("NextToken"), lambda: rules.invalid("The NextToken is not valid."))
    limit, now = params.get("MaxItems") or _PAGE, call.now()

    def body(tx: Tx) -> list[dict[str, Any]]:
        found = [c for c in tx.all(CERTIFICATE, call.scope) if _is_wanted(c, params, now)]
        by_time = params.get("SortBy") is not None
        found.sort(key=lambda c: (c.created_at if by_time else 0.0, c.arn))
        if params.get("SortOrder") == "DESCENDING":
            found.reverse()
        arns = [certificate.arn for certificate in found]
        start = arns.index(after) + 1 if after in arns else 0
        return [_summary(tx, certificate, now) for certificate in found[start : start + limit + 1]]

    shown = await call.store.read(body)
    answer: Result = {"CertificateSummaryList": shown[:limit]}
    if len(shown) > limit:
        answer["NextToken"] = paging.token(shown[limit - 1]["CertificateArn"])
    return answer


def _is_wanted(certificate: Certificate, params: Params, now: float) -> bool:
    statuses = params.get("CertificateStatuses")
    origins = params.get("CertificateKeyPairOrigins")
    includes: Mapping[str, Any] = params.get("Includes") or {}
    facts = certificate.facts
    usages = {usage["Name"] for usage in facts["KeyUsages"]}
    extended = {usage["Name"] for usage in facts["ExtendedKeyUsages"]}
    return (
        (not statuses or _status(certificate, now) in statuses)
        and (not origins or "CUSTOMER_PROVIDED" in origins)
        and facts["KeyAlgorithm"].replace("-", "_") in (includes.get("keyTypes") or _LISTED_BY_DEFAULT)
        and set(includes.get("keyUsage") or ()) <= usages
        and set(includes.get("extendedKeyUsage") or ()) <= extended
        and includes.get("exportOption", "DISABLED") == "DISABLED"
        and includes.get("managedBy") is None
    )


def _summary(tx: Tx, certificate: Certificate, now: float) -> dict[str, Any]:
    facts = certificate.facts
    return {
        **_common(certificate, now),
        **{member: facts[member] for member in ("KeyAlgorithm", "NotBefore", "NotAfter")},
        "SubjectAlternativeNameSummaries": list(certificate.names[:_NAMES_SHOWN]),
        "HasAdditionalSubjectAlternativeNames": len(certificate.names) > _NAMES_SHOWN,
        "KeyUsages": [usage["Name"] for usage in facts["KeyUsages"]],
        "ExtendedKeyUsages": [usage["Name"] for usage in facts["ExtendedKeyUsages"]],
        "InUse": bool(certificates.in_use_by(tx, certificate)),
        "Exported": False,
    }


async def get_certificate(call: Call, params: Params) -> Result:
    arn = params["CertificateArn"]
    certificate = await call.store.read(lambda tx: tags.need(tx, call.scope, arn))
    answer: Result = {"Certificate": certificate.certificate}
    return answer | ({"CertificateChain": certificate.chain} if certificate.chain else {})


async def delete_certificate(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        certificate = tags.need(tx, call.scope, params["CertificateArn"])
        if certificates.in_use_by(tx, certificate):
            raise ApiError("ResourceInUseException", f"Certificate {certificate.arn} is in use.")
        tx.delete(CERTIFICATE, certificate.arn)

    await call.store.write(body)
    return {}
