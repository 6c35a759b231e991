"""Connections: how API destinations log in. What is secret is sealed, and shown to nobody.

Called by gateway/dispatch. BASIC and API_KEY; OAuth, and private connectivity, are not built.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import event_http
from neargate.model.event_http import Connection
from neargate.model.sealed import NONCE_BYTES, SealError
from neargate.services.call import Call, Params, Result
from neargate.services.events import names
from neargate.state.catalog_events import EVENT_CONNECTION
from neargate.state.store import Tx

_MEMBERS = {"BASIC": "BasicAuthParameters", "API_KEY": "ApiKeyAuthParameters"}


def find(tx: Tx, call: Call, name: str) -> Connection | None:
    prefix = call.scope.arn("events", f"connection/{name}/")
    found = tx.all(EVENT_CONNECTION, call.scope, after=prefix, limit=1)
    return found[0] if found and found[0].arn.startswith(prefix) else None


def _need(tx: Tx, call: Call, name: str) -> Connection:
    found = find(tx, call, name)
    if found is None:
        raise names.missing(f"Connection '{name}' does not exist.")
    return found


async def create_connection(call: Call, params: Params) -> Result:
    name, kind, given = params["Name"], params["AuthorizationType"], params["AuthParameters"]
    _check(kind, given, params)
    arn = call.scope.arn("events", f"connection/{name}/{call.ids.uuid()}")
    sealed = _sealed(call, arn, given)

    def body(tx: Tx) -> Connection:
        if find(tx, call, name) is not None:
            raise ApiError("ResourceAlreadyExistsException", f"Connection {name} already exists.")
        connection = Connection(
            account=call.scope.account,
            region=call.scope.region,
            arn=arn,
            name=name,
            description=params.get("Description") or "",
            authorization=kind,
            sealed=sealed,
            created_at=call.now(),
            modified_at=call.now(),
        )
        return tx.insert(EVENT_CONNECTION, connection)

    return _state(await call.store.write(body), "CREATED")


def _check(kind: str, given: Mapping[str, Any], params: Params) -> None:
    if kind not in _MEMBERS:
        raise names.invalid("AuthorizationType OAUTH_CLIENT_CREDENTIALS is not built into neargate.")
    if given.get("ConnectivityParameters") or params.get("InvocationConnectivityParameters"):
        raise names.invalid("Private connectivity of connections is not built into neargate.")
    if not given.get(_MEMBERS[kind]):
        raise names.invalid(f"Parameter {_MEMBERS[kind]} must be specified for authorization type {kind}.")
    for other, member in _MEMBERS.items():
        if other != kind and given.get(member):
            raise names.invalid(f"Parameter {member} is not valid for authorization type {kind}.")


def _sealed(call: Call, arn: str, given: Mapping[str, Any]) -> bytes:
    nonce = bytes.fromhex(call.ids.hex(2 * NONCE_BYTES))
    return event_http.seal(call.house.signing_key, arn, given, nonce)


def _state(connection: Connection, verb: str) -> Result:
    state = "DELETING" if verb == "DELETED" else "AUTHORIZED"
    return {
        "ConnectionArn": connection.arn,
        "ConnectionState": state,
        "CreationTime": connection.created_at,
        "LastModifiedTime": connection.modified_at,
        "LastAuthorizedTime": connection.modified_at,
    }


async def update_connection(call: Call, params: Params) -> Result:
    """What is not given stays."""

    def body(tx: Tx) -> Connection:
        old = _need(tx, call, params["Name"])
        kind = params.get("AuthorizationType") or old.authorization
        sealed = old.sealed
        if kind != old.authorization or params.get("AuthParameters"):
            merged = _merged(_opened(call, old), params.get("AuthParameters") or {}, kind)
            _check(kind, merged, params)
            sealed = _sealed(call, old.arn, merged)
        changed = replace(
            old,
            authorization=kind,
            sealed=sealed,
            description=params.get("Description", old.description),
            modified_at=call.now(),
        )
        return tx.put(EVENT_CONNECTION, changed)

    return _state(await call.store.write(body), "UPDATED")


def _merged(old: Mapping[str, Any], given: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind not in _MEMBERS:
        return dict(given)
    kept = {n: v for n, v in old.items() if n in (_MEMBERS[kind], "InvocationHttpParameters")}
    merged = {**kept, **given}
    member = _MEMBERS[kind]
    if member in merged:
        merged[member] = {**(kept.get(member) or {}), **(given.get(member) or {})}
    return merged


def _opened(call: Call, connection: Connection) -> dict[str, Any]:
    try:
        return event_http.opened(call.house.signing_key, connection)
    except SealError as error:
        raise ApiError("InternalException", f"Connection {connection.name}: {error}", status=500) from None


async def describe_connection(call: Call, params: Params) -> Result:
    found = await call.store.read(lambda tx: _need(tx, call, params["Name"]))
    shown = {
        **_state(found, "DESCRIBED"),
        "Name": found.name,
        "AuthorizationType": found.authorization,
        "AuthParameters": event_http.shown(_opened(call, found)),
    }
    return {**shown, **names.present(Description=found.description)}


async def list_connections(call: Call, params: Params) -> Result:
    prefix, state = params.get("NamePrefix") or "", params.get("ConnectionState") or "AUTHORIZED"
    found = await call.store.read(lambda tx: tx.all(EVENT_CONNECTION, call.scope))
    rows = [row for row in found if row.name.startswith(prefix) and state == "AUTHORIZED"]

    def shown(row: Connection) -> Result:
        return {**_state(row, "LISTED"), "Name": row.name, "AuthorizationType": row.authorization}

    return names.page(rows, lambda row: row.name, params, shown, "Connections")


async def delete_connection(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Connection:
        found = _need(tx, call, params["Name"])
        tx.delete(EVENT_CONNECTION, found.arn)
        return found

    return _state(await call.store.write(body), "DELETED")
