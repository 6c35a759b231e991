"""One revision of a task definition: register, describe, deregister, delete. Lists are in families.py.

Called by gateway/dispatch. The rules are in model/definition; a Family record keeps the newest revision.
"""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.definition import normalise
from neargate.model.task import Family, TaskDefinition
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, render, roles
from neargate.state.catalog import FAMILY, TASK_DEFINITION
from neargate.state.catalog_services import is_in_use
from neargate.state.store import Tx

_MAX_REVISION = 1_000_000
_MAX_DELETED = 10


async def register_task_definition(call: Call, params: Params) -> Result:
    tags = names.read_tags(params.get("tags"))
    definition = normalise(names.with_role_arns(params, call.scope), large=call.settings.large_tasks)
    scope, family = call.scope, definition["family"]

    def body(tx: Tx) -> TaskDefinition:
        roles.check_named(tx, call, definition)
        known = tx.get(FAMILY, names.family_id(scope, family))
        known = known or Family(account=scope.account, region=scope.region, name=family, latest=0)
        revision = known.latest + 1
        if revision > _MAX_REVISION:
            raise names.client_error(f"Too many revisions of family {family}.")
        tx.put(FAMILY, replace(known, latest=revision, active=revision, count=known.count + 1))
        return tx.put(
            TASK_DEFINITION,
            TaskDefinition(
                account=scope.account,
                region=scope.region,
                arn=names.definition_arn(scope, family, revision),
                family=family,
                revision=revision,
                body=definition,
                tags=tags,
                registered_at=call.now(),
                registered_by=call.principal_arn,
            ),
        )

    record = await call.store.write(body)
    result: Result = {"taskDefinition": render.definition(record)}
    if tags:
        result["tags"] = render.tag_list(tags)
    return result


async def describe_task_definition(call: Call, params: Params) -> Result:
    record = await call.store.read(lambda tx: _need(tx, call, params["taskDefinition"]))
    result: Result = {"taskDefinition": render.definition(record)}
    if "TAGS" in (params.get("include") or ()):
        result["tags"] = render.tag_list(record.tags)
    return result


def _need(tx: Tx, call: Call, text: str) -> TaskDefinition:
    record = names.find_definition(tx, call.scope, text)
    if record is None:
        raise names.no_definition()
    return record


async def deregister_task_definition(call: Call, params: Params) -> Result:
    if names.definition_name(params["taskDefinition"], call.scope)[1] is None:
        raise names.client_error("Revision is missing.")

    def body(tx: Tx) -> TaskDefinition:
        record = names.find_definition(tx, call.scope, params["taskDefinition"])
        if record is None:
            raise names.client_error("The specified task definition does not exist.")
        if record.status != "ACTIVE":
            return record
        record = tx.put(TASK_DEFINITION, replace(record, status="INACTIVE", deregistered_at=call.now()))
        _find_newest(tx, call, record)
        return record

    return {"taskDefinition": render.definition(await call.store.write(body))}


def _find_newest(tx: Tx, call: Call, gone: TaskDefinition) -> None:
    """If the newest ACTIVE revision of the family is ACTIVE no more, the next one below it is."""
    family = tx.get(FAMILY, names.family_id(call.scope, gone.family))
    if family is None or family.active != gone.revision:
        return
    for revision in range(gone.revision - 1, 0, -1):
        record = tx.get(TASK_DEFINITION, names.definition_arn(call.scope, gone.family, revision))
        if record is not None and record.status == "ACTIVE":
            break
    else:
        revision = 0
    tx.put(FAMILY, replace(family, active=revision))


async def delete_task_definitions(call: Call, params: Params) -> Result:
    """INACTIVE revisions become DELETE_IN_PROGRESS, and go at once if nothing has them any more."""
    asked = list(dict.fromkeys(params["taskDefinitions"]))
    if not asked:
        raise names.invalid("Size of TaskDefinition references list must be greater than 0")
    if len(asked) > _MAX_DELETED:
        raise names.invalid(f"Size of TaskDefinition references list cannot exceed {_MAX_DELETED}")
    names.storable(params)

    def body(tx: Tx) -> Result:
        deleted: list[dict[str, Any]] = []
        failures: list[dict[str, Any]] = []
        for text in asked:
            found = _deletable(tx, call, text)
            if isinstance(found, TaskDefinition):
                deleted.append(render.definition(_delete(tx, call, found)))
            else:
                failures.append({"arn": text, "reason": found})
        return {"taskDefinitions": deleted, "failures": failures}

    return await call.store.write(body)


def _deletable(tx: Tx, call: Call, text: str) -> TaskDefinition | str:
    """The revision to delete, or why there is none."""
    try:
        family, revision = names.definition_name(text, call.scope)
    except ApiError:
        revision = None
    if revision is None:
        return (
            "The specified task definition identifier is invalid. Specify a valid name or ARN and try again."
        )
    record = tx.get(TASK_DEFINITION, names.definition_arn(call.scope, family, revision))
    if record is None:
        return (
            "The specified task definition does not exist. Specify a valid account, family, revision and try"
            " again."
        )
    if record.status == "ACTIVE":
        return (
            "The specified task definition is still in ACTIVE status. Please deregister the target and try"
            " again."
        )
    return record


def _delete(tx: Tx, call: Call, record: TaskDefinition) -> TaskDefinition:
    if record.status == "INACTIVE":
        record = replace(record, status="DELETE_IN_PROGRESS", delete_requested_at=call.now())
        family = tx.get(FAMILY, names.family_id(call.scope, record.family))
        if family is not None:
            tx.put(FAMILY, replace(family, count=family.count - 1))
    if is_in_use(tx, record.arn):
        return tx.put(TASK_DEFINITION, record)
    tx.delete(TASK_DEFINITION, record.arn)
    return record
