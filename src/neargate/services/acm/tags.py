"""Tags of certificates. Called by gateway/dispatch, and by certificates.py for those of an import."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.balancer import Certificate
from neargate.model.record import Scope
from neargate.services.call import Call, Params, Result
from neargate.state import certificates
from neargate.state.catalog_balancers import CERTIFICATE
from neargate.state.store import Tx

_MOST: Final = 50


def need(tx: Tx, scope: Scope, arn: str) -> Certificate:
    found = certificates.find(tx, scope, arn)
    if found is None:
        message = f"Could not find certificate {arn} in account {scope.account}."
        raise ApiError("ResourceNotFoundException", message)
    return found


def read(given: Iterable[Mapping[str, str]] | None, old: Mapping[str, str] | None = None) -> dict[str, str]:
    """Tags of a request on top of old ones. Raise InvalidTagException, TooManyTagsException."""
    tags: dict[str, str] = {}
    for item in given or ():
        key = item["Key"]
        if key.lower().startswith("aws:"):
            raise ApiError("InvalidTagException", f"AWS internal tags cannot be changed with this API: {key}")
        if key in tags:
            raise ApiError("InvalidTagException", f"The tag key {key} is given twice.")
        tags[key] = item.get("Value") or ""
    merged = {**(old or {}), **tags}
    if len(merged) > _MOST:
        raise ApiError("TooManyTagsException", f"A certificate can have {_MOST} tags at most.")
    return merged


async def add_tags_to_certificate(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        certificate = need(tx, call.scope, params["CertificateArn"])
        tx.put(CERTIFICATE, replace(certificate, tags=read(params["Tags"], certificate.tags)))

    await call.store.write(body)
    return {}


async def remove_tags_from_certificate(call: Call, params: Params) -> Result:
    """With a value, only a tag that has it."""

    def body(tx: Tx) -> None:
        certificate = need(tx, call.scope, params["CertificateArn"])
        tags = dict(certificate.tags)
        for item in params["Tags"]:
            if item.get("Value") is None or tags.get(item["Key"]) == item["Value"]:
                tags.pop(item["Key"], None)
        tx.put(CERTIFICATE, replace(certificate, tags=tags))

    await call.store.write(body)
    return {}


async def list_tags_for_certificate(call: Call, params: Params) -> Result:
    arn = params["CertificateArn"]
    certificate = await call.store.read(lambda tx: need(tx, call.scope, arn))
    return {"Tags": [{"Key": key, "Value": value} for key, value in certificate.tags.items()]}
