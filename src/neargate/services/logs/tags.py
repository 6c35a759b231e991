"""Tags of log groups, by ARN and by the older calls that name the group.

Called by gateway/dispatch; check_tags also by groups.py.
"""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.services.call import Call, Params, Result
from neargate.services.logs import names
from neargate.state.catalog import LOG_GROUP
from neargate.state.store import Tx

_MAX_TAGS = 50
Change = Callable[[dict[str, str]], dict[str, str]]


def check_tags(tags: Mapping[str, str], code: str = "InvalidParameterException") -> None:
    """Raise on reserved keys, and (as `code`) on more than AWS lets a resource have."""
    for key in tags:
        if key.lower().startswith("aws:"):
            raise names.invalid("aws: prefixed tag key names are not allowed for external use.")
    if len(tags) > _MAX_TAGS:
        raise ApiError(code, "The maximum number of tags per resource has been exceeded.")


async def tag_resource(call: Call, params: Params) -> Result:
    return await _tag(call, names.name_of(call.scope, params["resourceArn"]), params["tags"])


async def untag_resource(call: Call, params: Params) -> Result:
    return await _untag(call, names.name_of(call.scope, params["resourceArn"]), params["tagKeys"])


async def list_tags_for_resource(call: Call, params: Params) -> Result:
    return await _tags(call, names.name_of(call.scope, params["resourceArn"]))


async def tag_log_group(call: Call, params: Params) -> Result:
    return await _tag(call, params["logGroupName"], params["tags"])


async def untag_log_group(call: Call, params: Params) -> Result:
    return await _untag(call, params["logGroupName"], params["tags"])


async def list_tags_log_group(call: Call, params: Params) -> Result:
    return await _tags(call, params["logGroupName"])


async def _tag(call: Call, name: str, tags: Mapping[str, str]) -> Result:
    check_tags(tags)

    def change(old: dict[str, str]) -> dict[str, str]:
        new = {**old, **tags}
        check_tags(new, "TooManyTagsException")
        return new

    return await _change(call, name, change)


async def _untag(call: Call, name: str, keys: list[str]) -> Result:
    return await _change(call, name, lambda old: {k: v for k, v in old.items() if k not in keys})


async def _tags(call: Call, name: str) -> Result:
    group = await call.logs.read(lambda tx: names.need_group(tx, call.scope, name))
    return {"tags": dict(group.tags)}


async def _change(call: Call, name: str, change: Change) -> Result:
    def body(tx: Tx) -> None:
        group = names.need_group(tx, call.scope, name)
        tx.put(LOG_GROUP, replace(group, tags=change(group.tags)))

    await call.logs.write(body)
    return {}
