"""How instances are: told by whoever watches them (custom health checks), and asked for.

Called by gateway/dispatch. A change counts at once; AWS waits for 30 seconds.
"""

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.discovery import Instance
from neargate.model.discovery_rules import health_of
from neargate.services.call import Call, Params, Result
from neargate.services.servicediscovery.names import need_instance, need_service, page
from neargate.state.catalog_discovery import INSTANCE
from neargate.state.store import Tx


async def update_instance_custom_health_status(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        service = need_service(tx, call.scope, params["ServiceId"])
        instance = need_instance(tx, service, params["InstanceId"])
        if not service.custom_health:
            message = f"Service {service.id} does not have a custom health check."
            raise ApiError("CustomHealthNotFound", message)
        tx.put(INSTANCE, replace(instance, health=params["Status"]))

    await call.store.write(body)
    return {}


async def get_instances_health_status(call: Call, params: Params) -> Result:
    named: list[str] | None = params.get("Instances")

    def body(tx: Tx) -> dict[str, str]:
        service = need_service(tx, call.scope, params["ServiceId"])
        found: list[Instance] = (
            [need_instance(tx, service, id) for id in named]
            if named
            else tx.find(INSTANCE, "service", service.id)
        )
        return {instance.id: health_of(service, instance) for instance in found}

    found = await call.store.read(body)
    token, limit = params.get("NextToken"), params.get("MaxResults")
    listed = page(found.items(), lambda pair: pair[0], token, limit, lambda pair: pair, "Status")
    return listed | {"Status": dict(listed["Status"])}
