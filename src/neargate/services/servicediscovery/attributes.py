"""Attributes of services, which DiscoverInstances does not show. Called by gateway/dispatch."""

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.discovery_rules import bad
from neargate.services.call import Call, Params, Result
from neargate.services.servicediscovery.names import need_service, text
from neargate.state.catalog_discovery import DISCOVERY_SERVICE
from neargate.state.store import Tx

_MOST = 30


async def get_service_attributes(call: Call, params: Params) -> Result:
    service = await call.store.read(lambda tx: need_service(tx, call.scope, params["ServiceId"]))
    return {
        "ServiceAttributes": {
            "ServiceArn": service.arn,
            "ResourceOwner": service.account,
            "Attributes": service.attributes,
        }
    }


async def update_service_attributes(call: Call, params: Params) -> Result:
    given = {text(k, "An attribute"): text(v, "An attribute") for k, v in params["Attributes"].items()}
    if not all(given):
        raise bad("An attribute must have a name.")

    def body(tx: Tx) -> None:
        service = need_service(tx, call.scope, params["ServiceId"])
        attributes = service.attributes | given
        if len(attributes) > _MOST:
            message = f"A service can have at most {_MOST} attributes."
            raise ApiError("ServiceAttributesLimitExceededException", message)
        tx.put(DISCOVERY_SERVICE, replace(service, attributes=attributes))

    await call.store.write(body)
    return {}


async def delete_service_attributes(call: Call, params: Params) -> Result:
    gone = frozenset(params["Attributes"])

    def body(tx: Tx) -> None:
        service = need_service(tx, call.scope, params["ServiceId"])
        kept = {name: value for name, value in service.attributes.items() if name not in gone}
        tx.put(DISCOVERY_SERVICE, replace(service, attributes=kept))

    await call.store.write(body)
    return {}
