"""Log groups: create, delete, describe, retention, deletion protection.

Called by gateway/dispatch. Deleting forgets at once; the events go in slices (expiry.py).
"""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.logs import RETENTION_DAYS, LogGroup, group_id
from neargate.services.call import Call, Params, Result
from neargate.services.logs import names
from neargate.services.logs.tags import check_tags
from neargate.state import log_events
from neargate.state.catalog import LOG_GROUP
from neargate.state.store import Tx

_PAGE = 50
_BRIEF = ("arn", "creationTime", "logGroupName")
"""What an answer to logGroupNamePattern shows of a group."""


async def create_log_group(call: Call, params: Params) -> Result:
    tags = dict(params.get("tags") or {})
    check_tags(tags)
    name = params["logGroupName"]

    def body(tx: Tx) -> None:
        if tx.get(LOG_GROUP, group_id(call.scope.account, call.scope.region, name)) is not None:
            raise ApiError("ResourceAlreadyExistsException", "The specified log group already exists")
        tx.put(
            LOG_GROUP,
            LogGroup(
                account=call.scope.account,
                region=call.scope.region,
                name=name,
                number=tx.next("log-group"),
                created_at=names.now_ms(call),
                group_class=params.get("logGroupClass") or "STANDARD",
                kms_key_id=params.get("kmsKeyId"),
                deletion_protection=bool(params.get("deletionProtectionEnabled")),
                tags=tags,
            ),
        )

    await call.logs.write(body)
    return {}


async def delete_log_group(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        group = names.need_group(tx, call.scope, params["logGroupName"])
        if group.deletion_protection:
            raise ApiError("ValidationException", "The specified log group has deletion protection enabled.")
        log_events.delete_streams(tx, group.number)
        tx.delete(LOG_GROUP, LOG_GROUP.id(group))

    await call.logs.write(body)
    return {}


async def describe_log_groups(call: Call, params: Params) -> Result:
    prefix, pattern = params.get("logGroupNamePrefix"), params.get("logGroupNamePattern")
    identifiers = params.get("logGroupIdentifiers")
    if sum(1 for given in (prefix, pattern, identifiers) if given) > 1:
        raise names.invalid(
            "Only one of logGroupNamePrefix, logGroupNamePattern and logGroupIdentifiers may be specified."
        )
    wanted = {names.name_of(call.scope, i) for i in identifiers} if identifiers else None
    after = names.untoken(params["nextToken"], (str,))[0] if params.get("nextToken") else ""
    limit = params.get("limit") or _PAGE

    def chosen(group: LogGroup) -> bool:
        return (
            group.name > after
            and group.name.startswith(prefix or "")
            and (pattern or "") in group.name
            and (wanted is None or group.name in wanted)
            and params.get("logGroupClass") in (None, group.group_class)
        )

    def body(tx: Tx) -> tuple[list[LogGroup], dict[int, int]]:
        groups = [group for group in tx.all(LOG_GROUP, call.scope) if chosen(group)]
        return groups[: limit + 1], log_events.stored_bytes(tx)

    found, sizes = await call.logs.scan(body)
    shown = [_shown(group, sizes.get(group.number, 0)) for group in found[:limit]]
    if pattern:
        shown = [{k: v for k, v in group.items() if k in _BRIEF} for group in shown]
    result: Result = {"logGroups": shown}
    if len(found) > limit:
        result["nextToken"] = names.token([found[limit - 1].name])
    return result


def _shown(group: LogGroup, size: int) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "logGroupName": group.name,
        "creationTime": group.created_at,
        "metricFilterCount": 0,
        "arn": f"{group.arn}:*",
        "storedBytes": size,
        "logGroupClass": group.group_class,
        "logGroupArn": group.arn,
        "deletionProtectionEnabled": group.deletion_protection,
    }
    if group.retention_days is not None:
        shown["retentionInDays"] = group.retention_days
    if group.kms_key_id is not None:
        shown["kmsKeyId"] = group.kms_key_id
    return shown


async def put_retention_policy(call: Call, params: Params) -> Result:
    days = params["retentionInDays"]
    if days not in RETENTION_DAYS:
        allowed = ", ".join(str(d) for d in RETENTION_DAYS)
        raise names.invalid(
            f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint:"
            f" Member must satisfy enum value set: [{allowed}]"
        )
    return await _change(call, params["logGroupName"], retention_days=days)


async def delete_retention_policy(call: Call, params: Params) -> Result:
    return await _change(call, params["logGroupName"], retention_days=None)


async def put_log_group_deletion_protection(call: Call, params: Params) -> Result:
    name = names.name_of(call.scope, params["logGroupIdentifier"])
    return await _change(call, name, deletion_protection=params["deletionProtectionEnabled"])


async def _change(call: Call, name: str, **fields: Any) -> Result:
    def body(tx: Tx) -> None:
        tx.put(LOG_GROUP, replace(names.need_group(tx, call.scope, name), **fields))

    await call.logs.write(body)
    return {}
