"""Instances: register, deregister, get, list. Called by gateway/dispatch; control/discovery has its own."""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.discovery import HEALTHY, INIT_HEALTH, DiscoveryService, Instance, instance_key
from neargate.model.discovery_rules import check_instance
from neargate.services.call import Call, Params, Result
from neargate.services.servicediscovery.names import done, need_instance, need_service, page, text
from neargate.state.catalog_discovery import DISCOVERY_SERVICE, INSTANCE
from neargate.state.store import Tx

_MOST = 1000


async def register_instance(call: Call, params: Params) -> Result:
    id, attributes = params["InstanceId"], dict(params["Attributes"])
    creator = text(params.get("CreatorRequestId"), "CreatorRequestId") or call.ids.uuid()

    def body(tx: Tx) -> str:
        service = need_service(tx, call.scope, params["ServiceId"])
        check_instance(service, id, attributes)
        old = tx.get(INSTANCE, instance_key(service.id, id))
        if old is None and tx.count(INSTANCE, "service", service.id) >= _MOST:
            raise ApiError("ResourceLimitExceeded", f"A service can have at most {_MOST} instances.")
        made = Instance(
            account=service.account,
            region=service.region,
            service_id=service.id,
            id=id,
            attributes=attributes,
            health=attributes.get(INIT_HEALTH, HEALTHY),
            creator_request_id=creator,
            registered_at=old.registered_at if old else call.now(),
        )
        tx.put(INSTANCE, made)
        if old is None or old.attributes != attributes:
            tx.put(DISCOVERY_SERVICE, replace(service, revision=service.revision + 1))
        return done(call, tx, "REGISTER_INSTANCE", _targets(service, id)).id

    return {"OperationId": await call.store.write(body)}


def _targets(service: DiscoveryService, instance_id: str) -> dict[str, str]:
    return {"NAMESPACE": service.namespace_id, "SERVICE": service.id, "INSTANCE": instance_id}


async def deregister_instance(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> str:
        service = need_service(tx, call.scope, params["ServiceId"])
        instance = need_instance(tx, service, params["InstanceId"])
        tx.delete(INSTANCE, instance_key(service.id, instance.id))
        tx.put(DISCOVERY_SERVICE, replace(service, revision=service.revision + 1))
        return done(call, tx, "DEREGISTER_INSTANCE", _targets(service, instance.id)).id

    return {"OperationId": await call.store.write(body)}


async def get_instance(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Instance:
        service = need_service(tx, call.scope, params["ServiceId"])
        return need_instance(tx, service, params["InstanceId"])

    instance = await call.store.read(body)
    shown = _shown(instance) | {"CreatorRequestId": instance.creator_request_id}
    return {"ResourceOwner": instance.account, "Instance": shown}


async def list_instances(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> list[Instance]:
        return tx.find(INSTANCE, "service", need_service(tx, call.scope, params["ServiceId"]).id)

    found = await call.store.read(body)
    token, limit = params.get("NextToken"), params.get("MaxResults")
    owner = {"ResourceOwner": call.scope.account}
    return page(found, lambda i: i.id, token, limit, _shown, "Instances") | owner


def _shown(instance: Instance) -> dict[str, Any]:
    return {"Id": instance.id, "Attributes": instance.attributes, "CreatedByAccount": instance.account}
