"""Tags of namespaces and services, by ARN. Called by gateway/dispatch."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.discovery import DiscoveryService, Namespace, bare_id
from neargate.services.call import Call, Params, Result
from neargate.services.servicediscovery.names import is_of, is_text, read_tags
from neargate.state.catalog_discovery import DISCOVERY_SERVICE, NAMESPACE
from neargate.state.store import Tx


def _need(tx: Tx, call: Call, arn: str) -> Namespace | DiscoveryService:
    found: Namespace | DiscoveryService | None = None
    if is_text(arn):
        found = tx.get(NAMESPACE, bare_id(arn)) or tx.get(DISCOVERY_SERVICE, bare_id(arn))
    if found is None or found.arn != arn or not is_of(call.scope, found):
        shown = arn if is_text(arn) else ascii(arn)
        raise ApiError("ResourceNotFoundException", f"Resource not found: {shown}")
    return found


async def _change(call: Call, arn: str, change: Callable[[Mapping[str, str]], dict[str, str]]) -> Result:
    def body(tx: Tx) -> None:
        found = _need(tx, call, arn)
        if isinstance(found, Namespace):
            tx.put(NAMESPACE, replace(found, tags=change(found.tags)))
        else:
            tx.put(DISCOVERY_SERVICE, replace(found, tags=change(found.tags)))

    await call.store.write(body)
    return {}


async def tag_resource(call: Call, params: Params) -> Result:
    arn = params["ResourceARN"]
    return await _change(call, arn, lambda old: read_tags(params["Tags"], arn, old))


async def untag_resource(call: Call, params: Params) -> Result:
    gone = frozenset(params["TagKeys"])
    return await _change(
        call, params["ResourceARN"], lambda old: {k: v for k, v in old.items() if k not in gone}
    )


async def list_tags_for_resource(call: Call, params: Params) -> Result:
    found = await call.store.read(lambda tx: _need(tx, call, params["ResourceARN"]))
    return {"Tags": [{"Key": key, "Value": value} for key, value in found.tags.items()]}
