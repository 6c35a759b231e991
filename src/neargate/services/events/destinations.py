"""API destinations: URLs that events are sent to. Only hosts that the operator named are called.

Called by gateway/dispatch; control/event_targets sends the requests.
"""

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.event_http import DEFAULT_RATE, ApiDestination, is_allowed
from neargate.services.call import Call, Params, Result
from neargate.services.events import names
from neargate.state.catalog_events import EVENT_API_DESTINATION, EVENT_CONNECTION
from neargate.state.store import Tx


def find(tx: Tx, call: Call, name: str) -> ApiDestination | None:
    prefix = call.scope.arn("events", f"api-destination/{name}/")
    found = tx.all(EVENT_API_DESTINATION, call.scope, after=prefix, limit=1)
    return found[0] if found and found[0].arn.startswith(prefix) else None


def _need(tx: Tx, call: Call, name: str) -> ApiDestination:
    found = find(tx, call, name)
    if found is None:
        raise names.missing(f"An api-destination '{name}' does not exist.")
    return found


def _check(tx: Tx, call: Call, destination: ApiDestination) -> None:
    if tx.get(EVENT_CONNECTION, destination.connection_arn) is None:
        raise names.missing(f"Connection '{destination.connection_arn[:300]}' does not exist.")
    if not is_allowed(destination.endpoint, call.settings.event_http_hosts):
        raise names.invalid(
            "Parameter InvocationEndpoint is not valid. Reason: its host is none of those that the operator"
            " named in NEARGATE_EVENT_HTTP_HOSTS."
        )


async def create_api_destination(call: Call, params: Params) -> Result:
    name = params["Name"]

    def body(tx: Tx) -> ApiDestination:
        if find(tx, call, name) is not None:
            raise ApiError("ResourceAlreadyExistsException", f"An api-destination '{name}' already exists.")
        made = ApiDestination(
            account=call.scope.account,
            region=call.scope.region,
            arn=call.scope.arn("events", f"api-destination/{name}/{call.ids.uuid()}"),
            name=name,
            description=params.get("Description") or "",
            connection_arn=params["ConnectionArn"],
            endpoint=params["InvocationEndpoint"],
            method=params["HttpMethod"],
            rate=params.get("InvocationRateLimitPerSecond") or DEFAULT_RATE,
            created_at=call.now(),
            modified_at=call.now(),
        )
        _check(tx, call, made)
        return tx.insert(EVENT_API_DESTINATION, made)

    return _state(await call.store.write(body))


def _state(found: ApiDestination) -> Result:
    return {
        "ApiDestinationArn": found.arn,
        "ApiDestinationState": "ACTIVE",
        "CreationTime": found.created_at,
        "LastModifiedTime": found.modified_at,
    }


async def update_api_destination(call: Call, params: Params) -> Result:

    def body(tx: Tx) -> ApiDestination:
        old = _need(tx, call, params["Name"])
        changed = replace(
            old,
            description=params.get("Description", old.description),
            connection_arn=params.get("ConnectionArn") or old.connection_arn,
            endpoint=params.get("InvocationEndpoint") or old.endpoint,
            method=params.get("HttpMethod") or old.method,
            rate=params.get("InvocationRateLimitPerSecond") or old.rate,
            modified_at=call.now(),
        )
        _check(tx, call, changed)
        return tx.put(EVENT_API_DESTINATION, changed)

    return _state(await call.store.write(body))


def _shown(found: ApiDestination) -> Result:
    return {
        **_state(found),
        "Name": found.name,
        "ConnectionArn": found.connection_arn,
        "InvocationEndpoint": found.endpoint,
        "HttpMethod": found.method,
        "InvocationRateLimitPerSecond": found.rate,
    }


async def describe_api_destination(call: Call, params: Params) -> Result:
    found = await call.store.read(lambda tx: _need(tx, call, params["Name"]))
    return {**_shown(found), **names.present(Description=found.description)}


async def list_api_destinations(call: Call, params: Params) -> Result:
    prefix, connection = params.get("NamePrefix") or "", params.get("ConnectionArn")
    found = await call.store.read(lambda tx: tx.all(EVENT_API_DESTINATION, call.scope))
    rows = [
        row
        for row in found
        if row.name.startswith(prefix) and (not connection or row.connection_arn == connection)
    ]
    return names.page(rows, lambda row: row.name, params, _shown, "ApiDestinations")


async def delete_api_destination(call: Call, params: Params) -> Result:
    await call.store.write(lambda tx: tx.delete(EVENT_API_DESTINATION, _need(tx, call, params["Name"]).arn))
    return {}
