"""Tags of the network's records: CreateTags, DeleteTags, DescribeTags. Called by gateway/dispatch."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.network import Interface, SecurityGroup, Subnet, Vpc
from neargate.services.call import Call, Params, Result
from neargate.services.ec2.listing import Json, Listing, check_dry_run, invalid, select
from neargate.state.catalog import INTERFACE, SECURITY_GROUP, SUBNET, VPC
from neargate.state.store import Kind, Tx

Tagged = Vpc | Subnet | SecurityGroup | Interface
Change = Callable[[dict[str, str]], dict[str, str]]
_MAX_TAGS: Final = 50
_MAX_KEY: Final = 128
_MAX_VALUE: Final = 256
_UNWRITABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that no XML answer can carry."""


@dataclass(frozen=True, slots=True)
class _Type:
    name: str
    kind: Kind[Any]
    code: str
    noun: str


_TYPES: Final = {
    "vpc": _Type("vpc", VPC, "InvalidVpcID.NotFound", "vpc ID"),
    "subnet": _Type("subnet", SUBNET, "InvalidSubnetID.NotFound", "subnet ID"),
    "sg": _Type("security-group", SECURITY_GROUP, "InvalidGroup.NotFound", "security group"),
    "eni": _Type("network-interface", INTERFACE, "InvalidNetworkInterfaceID.NotFound", "networkInterface ID"),
}
_UNTAGGED: Final = {"rtb": "route tables", "igw": "internet gateways", "sgr": "security group rules"}


def _identity(item: Json) -> str:
    return f"{item['ResourceType']}/{item['ResourceId']}/{item['Key']}"


_TAGS: Final = Listing(
    "Tags",
    _identity,
    {},
    {
        "key": "Key",
        "resource-id": "ResourceId",
        "resource-type": "ResourceType",
        "value": "Value",
    },
    tags=lambda item: [item],
)


async def create_tags(call: Call, params: Params) -> Result:
    check_dry_run(params)
    tags = _read_tags(params["Tags"])

    def change(old: dict[str, str]) -> dict[str, str]:
        new = {**old, **tags}
        if len(new) > _MAX_TAGS:
            raise ApiError(
                "TagLimitExceeded",
                f"The maximum number of Tags for a resource ({_MAX_TAGS}) has been reached.",
            )
        return new

    return await _change(call, params, change)


async def delete_tags(call: Call, params: Params) -> Result:
    """Without tags all go; a tag that has a value goes only if it has that value."""
    check_dry_run(params)
    asked = params.get("Tags") or ()
    _no_reserved(tag.get("Key") or "" for tag in asked)

    def goes(key: str, value: str) -> bool:
        return not asked or any(tag.get("Key") == key and tag.get("Value", value) == value for tag in asked)

    return await _change(call, params, lambda old: {k: v for k, v in old.items() if not goes(k, v)})


async def describe_tags(call: Call, params: Params) -> Result:
    check_dry_run(params)

    def body(tx: Tx) -> list[Json]:
        return [
            {"ResourceId": record.id, "ResourceType": type.name, "Key": key, "Value": value}
            for type in _TYPES.values()
            for record in tx.all(type.kind, call.scope)
            if getattr(record, "status", "") != "released"
            for key, value in record.tags.items()
        ]

    return select(_TAGS, params, await call.store.scan(body))


def _read_tags(asked: list[Json]) -> dict[str, str]:
    tags = {tag.get("Key") or "": tag.get("Value") or "" for tag in asked}
    _no_reserved(tags)
    for key, value in tags.items():
        if not key:
            raise invalid("Tag key cannot be empty.")
        if len(key) > _MAX_KEY:
            raise invalid(f"Tag key exceeds the maximum length of {_MAX_KEY} characters")
        if len(value) > _MAX_VALUE:
            raise invalid(f"Tag value exceeds the maximum length of {_MAX_VALUE} characters")
        if _UNWRITABLE.search(key + value):
            raise invalid("Tag keys and values can have letters, numbers, spaces and + - = . _ : / @")
    return tags


def _no_reserved(keys: Iterable[str]) -> None:
    if any(key.lower().startswith("aws:") for key in keys):
        raise invalid("Tag keys starting with 'aws:' are reserved for internal use")


async def _change(call: Call, params: Params, change: Change) -> Result:
    """Change the tags of all resources named, or of none."""

    def body(tx: Tx) -> None:
        for id in dict.fromkeys(params["Resources"]):
            kind, record = _find(tx, call, id)
            tx.put(kind, replace(record, tags=change(record.tags)))

    await call.store.write(body)
    return {}


def _find(tx: Tx, call: Call, id: str) -> tuple[Kind[Any], Tagged]:
    prefix = id.partition("-")[0]
    if prefix in _UNTAGGED:
        raise ApiError("UnsupportedOperation", f"Tags of {_UNTAGGED[prefix]} are not kept in this version.")
    type = _TYPES.get(prefix)
    if type is None:
        raise ApiError("InvalidID", f"The ID '{id}' is not valid")
    record: Tagged | None = tx.get(type.kind, id)
    if record is None or (record.account, record.region) != (call.scope.account, call.scope.region):
        raise ApiError(type.code, f"The {type.noun} '{id}' does not exist")
    if isinstance(record, Interface) and record.status == "released":
        raise ApiError(type.code, f"The {type.noun} '{id}' does not exist")
    return type.kind, record
