"""Certificates of listeners beside the default one, found by the name that a client asks for (SNI).

Called by gateway/dispatch. The certificates themselves are ACM's (services/acm, state/certificates).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.balancer import Listener
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import names
from neargate.services.elbv2.listeners import ENCRYPTED, need_certificate
from neargate.state.catalog_balancers import LISTENER
from neargate.state.store import Tx

MOST: Final = 25
"""Beside the default one."""


def _need_encrypted(tx: Tx, call: Call, params: Params) -> Listener:
    listener = names.need_listener(tx, call.scope, params["ListenerArn"])
    if listener.protocol not in ENCRYPTED:
        raise names.not_configurable(f"{listener.protocol} listeners have no certificates")
    return listener


def _read(given: Sequence[Mapping[str, Any]]) -> list[str]:
    if not given:
        raise names.invalid("At least one certificate must be specified")
    if any(item.get("IsDefault") is not None for item in given):
        raise names.invalid("IsDefault cannot be specified: the default certificate is set by ModifyListener")
    return [item.get("CertificateArn") or "" for item in given]


async def add_listener_certificates(call: Call, params: Params) -> Result:
    given = _read(params["Certificates"])

    def body(tx: Tx) -> None:
        listener = _need_encrypted(tx, call, params)
        added = [need_certificate(tx, listener, arn) for arn in given]
        certificates = tuple(dict.fromkeys((*listener.certificates, *added)))
        if len(certificates) > MOST + 1:
            message = f"A listener can have {MOST} certificates beside the default one"
            raise ApiError("TooManyCertificates", message)
        tx.put(LISTENER, replace(listener, certificates=certificates))

    await call.store.write(body)
    return {"Certificates": [{"CertificateArn": arn, "IsDefault": False} for arn in given]}


async def remove_listener_certificates(call: Call, params: Params) -> Result:
    given = _read(params["Certificates"])

    def body(tx: Tx) -> None:
        listener = _need_encrypted(tx, call, params)
        if listener.certificates[0] in given:
            raise ApiError("OperationNotPermitted", "The default certificate of a listener cannot be removed")
        left = tuple(arn for arn in listener.certificates if arn not in given)
        tx.put(LISTENER, replace(listener, certificates=left))

    await call.store.write(body)
    return {}


async def describe_listener_certificates(call: Call, params: Params) -> Result:
    arn = params["ListenerArn"]
    listener = await call.store.read(lambda tx: names.need_listener(tx, call.scope, arn))
    places = [f"{place:03d}" for place in range(len(listener.certificates))]

    def show(place: str) -> dict[str, Any]:
        return {"CertificateArn": listener.certificates[int(place)], "IsDefault": int(place) == 0}

    return names.page(params, "Certificates", places, lambda place: place, show)
