"""Event buses and their policies, which are recorded only: there is one account.

Called by gateway/dispatch.
"""

import json
from typing import Any

from msgspec.structs import replace

from neargate.kit import inner_json
from neargate.kit.errors import ApiError
from neargate.model.event import DEFAULT_BUS, EventBus, bus_id
from neargate.services.call import Call, Params, Result
from neargate.services.events import names
from neargate.state.catalog_events import EVENT_BUS, EVENT_RULE
from neargate.state.store import Tx

_MAX_POLICY = 10_240
_MAX_BUSES = 100


async def create_event_bus(call: Call, params: Params) -> Result:
    name = params["Name"]
    if "/" in name:
        raise names.invalid(f"Event bus name {name} is invalid: partners' event sources are not built.")
    tags = names.read_tags(params.get("Tags"), {})

    def body(tx: Tx) -> EventBus:
        if names.find_bus(tx, call.scope, name) is not None:
            raise ApiError("ResourceAlreadyExistsException", f"Event bus {name} already exists.")
        if len(tx.all(EVENT_BUS, call.scope)) >= _MAX_BUSES:
            raise names.too_many()
        bus = EventBus(
            account=call.scope.account,
            region=call.scope.region,
            arn=bus_id(call.scope.account, call.scope.region, name),
            name=name,
            description=params.get("Description") or "",
            kms_key=params.get("KmsKeyIdentifier") or "",
            dead_letter_arn=(params.get("DeadLetterConfig") or {}).get("Arn") or "",
            tags=tags,
            created_at=call.now(),
            modified_at=call.now(),
        )
        return tx.insert(EVENT_BUS, bus)

    bus = await call.store.write(body)
    return {"EventBusArn": bus.arn, **_configured(bus)}


def _configured(bus: EventBus) -> Result:
    dead = {"Arn": bus.dead_letter_arn} if bus.dead_letter_arn else None
    return names.present(Description=bus.description, KmsKeyIdentifier=bus.kms_key, DeadLetterConfig=dead)


async def update_event_bus(call: Call, params: Params) -> Result:

    def body(tx: Tx) -> EventBus:
        bus = names.need_bus(tx, call.scope, params.get("Name") or DEFAULT_BUS)
        dead = (params.get("DeadLetterConfig") or {}).get("Arn")
        changed = replace(
            bus,
            description=params.get("Description", bus.description),
            kms_key=params.get("KmsKeyIdentifier", bus.kms_key),
            dead_letter_arn=bus.dead_letter_arn if dead is None else dead,
            modified_at=call.now(),
        )
        return tx.put(EVENT_BUS, changed)

    bus = await call.store.write(body)
    return {"Arn": bus.arn, "Name": bus.name, **_configured(bus)}


async def describe_event_bus(call: Call, params: Params) -> Result:
    name = names.bus_name(params.get("Name"), call.scope)
    bus = await call.store.read(lambda tx: names.need_bus(tx, call.scope, name))
    return {**_shown(bus), **_configured(bus)}


def _shown(bus: EventBus) -> Result:
    policy = {"Version": "2012-10-17", "Statement": list(bus.statements)} if bus.statements else None
    return {
        "Name": bus.name,
        "Arn": bus.arn,
        **names.present(
            Description=bus.description,
            Policy=json.dumps(policy) if policy else None,
            CreationTime=bus.created_at or None,
            LastModifiedTime=bus.modified_at or None,
        ),
    }


async def list_event_buses(call: Call, params: Params) -> Result:
    prefix = params.get("NamePrefix") or ""

    def body(tx: Tx) -> list[EventBus]:
        stored = [bus for bus in tx.all(EVENT_BUS, call.scope) if bus.name != DEFAULT_BUS]
        return [names.need_bus(tx, call.scope, DEFAULT_BUS), *stored]

    found = [bus for bus in await call.store.read(body) if bus.name.startswith(prefix)]
    return names.page(found, lambda bus: bus.name, params, _shown, "EventBuses")


async def delete_event_bus(call: Call, params: Params) -> Result:
    name = params["Name"]
    if name == DEFAULT_BUS:
        raise names.invalid("Cannot delete event bus default.")

    def body(tx: Tx) -> None:
        value = f"{call.scope.account}/{call.scope.region}/{name}"
        if tx.count(EVENT_RULE, "bus", value):
            raise names.invalid("Event bus can't be deleted since it has rules.")
        tx.delete(EVENT_BUS, bus_id(call.scope.account, call.scope.region, name))

    await call.store.write(body)
    return {}


async def put_permission(call: Call, params: Params) -> Result:
    """A whole policy, or one statement of it."""

    def body(tx: Tx) -> None:
        bus = names.need_bus(tx, call.scope, params.get("EventBusName") or DEFAULT_BUS)
        statements = (
            _policy(params["Policy"]) if params.get("Policy") else _with(bus, _statement(bus, params))
        )
        if len(json.dumps(statements)) > _MAX_POLICY:
            raise ApiError("PolicyLengthExceededException", "The event bus policy is too long.")
        tx.put(EVENT_BUS, replace(bus, statements=tuple(statements), modified_at=call.now()))

    await call.store.write(body)
    return {}


def _policy(text: str) -> list[dict[str, Any]]:
    try:
        policy = inner_json.read(text)
    except ValueError:
        policy = None
    found = policy.get("Statement") if isinstance(policy, dict) else None
    statements: list[Any] = found if isinstance(found, list) else [found]
    if not statements or not all(isinstance(item, dict) for item in statements):
        raise names.invalid("Parameter Policy is not valid. Reason: it is no JSON policy with statements.")
    return statements


def _statement(bus: EventBus, params: Params) -> dict[str, Any]:
    given = [params.get(name) for name in ("Action", "Principal", "StatementId")]
    if not all(given):
        raise names.invalid("Parameters Action, Principal and StatementId, or Policy, must be specified.")
    action, principal, id = given
    account = principal if principal == "*" else {"AWS": f"arn:aws:iam::{principal}:root"}
    statement = {
        "Sid": id,
        "Effect": "Allow",
        "Principal": account,
        "Action": action,
        "Resource": bus.arn,
    }
    if condition := params.get("Condition"):
        statement["Condition"] = {condition["Type"]: {condition["Key"]: condition["Value"]}}
    return statement


def _with(bus: EventBus, statement: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(each for each in bus.statements if each.get("Sid") != statement["Sid"]), statement]


async def remove_permission(call: Call, params: Params) -> Result:
    id = params.get("StatementId")

    def body(tx: Tx) -> None:
        bus = names.need_bus(tx, call.scope, params.get("EventBusName") or DEFAULT_BUS)
        if params.get("RemoveAllPermissions"):
            tx.put(EVENT_BUS, replace(bus, statements=(), modified_at=call.now()))
            return
        kept = tuple(each for each in bus.statements if each.get("Sid") != id)
        if len(kept) == len(bus.statements):
            raise names.missing(f"Statement with the provided id does not exist: {str(id)[:64]}")
        tx.put(EVENT_BUS, replace(bus, statements=kept, modified_at=call.now()))

    await call.store.write(body)
    return {}
