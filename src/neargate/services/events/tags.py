"""Tags of rules and event buses. Called by gateway/dispatch."""

from collections.abc import Callable

from msgspec.structs import replace

from neargate.model.event import EventBus, Rule
from neargate.services.call import Call, Params, Result
from neargate.services.events import names
from neargate.state.catalog_events import EVENT_BUS, EVENT_RULE
from neargate.state.store import Tx


def _need(tx: Tx, call: Call, arn: str) -> Rule | EventBus:
    found: Rule | EventBus | None = tx.get(EVENT_RULE, arn)
    if found is None and ":event-bus/" in arn:
        found = names.find_bus(tx, call.scope, names.bus_name(arn, call.scope))
    if found is None or (found.account, found.region) != (call.scope.account, call.scope.region):
        raise names.missing(f"Resource {arn[:300]} does not exist.")
    return found


async def list_tags_for_resource(call: Call, params: Params) -> Result:
    found = await call.store.read(lambda tx: _need(tx, call, params["ResourceARN"]))
    return {"Tags": [{"Key": key, "Value": value} for key, value in found.tags.items()]}


async def tag_resource(call: Call, params: Params) -> Result:
    return await _change(call, params, lambda tags: names.read_tags(params["Tags"], tags))


async def untag_resource(call: Call, params: Params) -> Result:
    gone = params["TagKeys"]
    return await _change(call, params, lambda tags: {k: v for k, v in tags.items() if k not in gone})


async def _change(call: Call, params: Params, change: Callable[[dict[str, str]], dict[str, str]]) -> Result:

    def body(tx: Tx) -> None:
        found = _need(tx, call, params["ResourceARN"])
        if isinstance(found, Rule):
            tx.put(EVENT_RULE, replace(found, tags=change(found.tags)))
        else:
            tx.put(EVENT_BUS, replace(found, tags=change(found.tags)))

    await call.store.write(body)
    return {}
