"""Schedule groups and their tags. Called by gateway/dispatch."""

from msgspec.structs import replace

from neargate.model.event_schedule import DEFAULT_GROUP, ScheduleGroup
from neargate.services.call import Call, Params, Result
from neargate.services.scheduler import names
from neargate.state.catalog_events import EVENT_SCHEDULE, EVENT_SCHEDULE_GROUP
from neargate.state.store import Tx

_MAX_TAGS = 50


async def create_schedule_group(call: Call, params: Params) -> Result:
    name, token = params["Name"], params.get("ClientToken") or ""
    tags = {item["Key"]: item["Value"] for item in params.get("Tags") or ()}

    def body(tx: Tx) -> str:
        arn = names.group_arn(call.scope, name)
        known = tx.get(EVENT_SCHEDULE_GROUP, arn)
        if known is not None and token and known.token == token:
            return arn
        if known is not None or name == DEFAULT_GROUP:
            raise names.conflict(f"Schedule group {name} already exists.")
        group = ScheduleGroup(
            account=call.scope.account,
            region=call.scope.region,
            arn=arn,
            name=name,
            tags=tags,
            token=token,
            created_at=call.now(),
            modified_at=call.now(),
        )
        tx.insert(EVENT_SCHEDULE_GROUP, group)
        return arn

    return {"ScheduleGroupArn": await call.store.write(body)}


def _shown(group: ScheduleGroup) -> Result:
    shown: Result = {"Arn": group.arn, "Name": group.name, "State": "ACTIVE"}
    if group.created_at:
        shown |= {"CreationDate": group.created_at, "LastModificationDate": group.modified_at}
    return shown


async def get_schedule_group(call: Call, params: Params) -> Result:
    return _shown(await call.store.read(lambda tx: names.need_group(tx, call.scope, params["Name"])))


async def list_schedule_groups(call: Call, params: Params) -> Result:
    prefix = params.get("NamePrefix") or ""

    def body(tx: Tx) -> list[ScheduleGroup]:
        stored = [group for group in tx.all(EVENT_SCHEDULE_GROUP, call.scope) if group.name != DEFAULT_GROUP]
        return [names.need_group(tx, call.scope, DEFAULT_GROUP), *stored]

    found = [group for group in await call.store.read(body) if group.name.startswith(prefix)]
    return names.page(found, lambda group: group.name, params, _shown, "ScheduleGroups")


async def delete_schedule_group(call: Call, params: Params) -> Result:
    """With all of its schedules."""
    name = params["Name"]
    if name == DEFAULT_GROUP:
        raise names.invalid("The default schedule group cannot be deleted.")

    def body(tx: Tx) -> None:
        group = names.need_group(tx, call.scope, name)
        for schedule in tx.find(EVENT_SCHEDULE, "group", group.arn):
            tx.delete(EVENT_SCHEDULE, schedule.arn)
        tx.delete(EVENT_SCHEDULE_GROUP, group.arn)

    await call.store.write(body)
    return {}


def _tagged(tx: Tx, call: Call, params: Params) -> ScheduleGroup:
    arn = params["ResourceArn"]
    name = arn.rpartition("/")[2]
    if names.group_arn(call.scope, name) != arn:
        raise names.missing(f"Schedule group {arn[:300]} does not exist.")
    return names.need_group(tx, call.scope, name)


async def list_tags_for_resource(call: Call, params: Params) -> Result:
    group = await call.store.read(lambda tx: _tagged(tx, call, params))
    return {"Tags": [{"Key": key, "Value": value} for key, value in group.tags.items()]}


async def tag_resource(call: Call, params: Params) -> Result:

    def body(tx: Tx) -> None:
        group = _tagged(tx, call, params)
        tags = {**group.tags, **{item["Key"]: item["Value"] for item in params["Tags"]}}
        if len(tags) > _MAX_TAGS:
            raise names.invalid(f"A schedule group can have {_MAX_TAGS} tags at most.")
        tx.put(EVENT_SCHEDULE_GROUP, replace(group, tags=tags))

    await call.store.write(body)
    return {}


async def untag_resource(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        group = _tagged(tx, call, params)
        kept = {key: value for key, value in group.tags.items() if key not in params["TagKeys"]}
        tx.put(EVENT_SCHEDULE_GROUP, replace(group, tags=kept))

    await call.store.write(body)
    return {}
