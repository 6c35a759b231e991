"""Task sets: the deployments of services whose deployment controller is EXTERNAL.

Called by gateway/dispatch. control/services keeps their tasks, and forgets the ones that were deleted.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.service import Service, TaskSet
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, service_names, service_render, service_requests, service_workload
from neargate.state.catalog_services import SERVICE, TASK_SET
from neargate.state.store import Tx

_MAX_SETS = 5
_MAX_DESCRIBED = 100
_MAX_EXTERNAL_ID = 255


async def create_task_set(call: Call, params: Params) -> Result:
    """Idempotent by clientToken."""
    service_requests.check_common(params)
    service_requests.check_token(params)
    arn = service_names.asked_service(call, params)
    scale = _scale(params.get("scale") or {"value": 100.0})
    tags = names.read_tags(params.get("tags"))
    token, digest = params.get("clientToken") or "", service_requests.digest(params)
    if len(params.get("externalId") or "") > _MAX_EXTERNAL_ID:
        raise names.invalid(f"externalId can have at most {_MAX_EXTERNAL_ID} characters.")

    def body(tx: Tx) -> Result:
        service = _external(tx, arn)
        sets = tx.find(TASK_SET, "service", arn)
        again = next((s for s in sets if token and s.client_token == token), None)
        if again is not None:
            if again.request_digest != digest:
                raise names.invalid("Creation of task set was not idempotent.")
            return {"taskSet": service_render.task_set(tx, service, again)}
        if len(sets) >= _MAX_SETS:
            raise names.invalid(f"A service can have at most {_MAX_SETS} task sets.")
        made = _made(tx, call, params, service, scale)
        made = replace(made, tags=tags, client_token=token, request_digest=digest)
        return {"taskSet": service_render.task_set(tx, service, tx.insert(TASK_SET, made))}

    return await call.store.write(body)


def _external(tx: Tx, arn: str) -> Service:
    service = service_names.need_active(tx, arn)
    if service.body["deploymentController"]["type"] != "EXTERNAL":
        raise names.invalid(
            "Task sets are only supported for services with an EXTERNAL deployment controller."
        )
    return service


def _made(tx: Tx, call: Call, params: Params, service: Service, scale: float) -> TaskSet:
    definition = names.active_definition(tx, call.scope, params["taskDefinition"])
    cluster = names.need_cluster(tx, service.cluster_arn)
    ground = service_workload.Ground(
        tx,
        call,
        cluster,
        definition,
        service.arn,
        enable_execute_command=service.body["enableExecuteCommand"],
    )
    id = f"ecs-svc/{call.ids.digits(19)}"
    now = call.now()
    return TaskSet(
        account=service.account,
        region=service.region,
        arn=call.scope.arn("ecs", f"task-set/{service.arn.split('/', 1)[1]}/{id}"),
        id=id,
        service_arn=service.arn,
        cluster_arn=service.cluster_arn,
        external_id=params.get("externalId") or "",
        definition_arn=definition.arn,
        scale=scale,
        body=service_workload.task_set_body(service_workload.complete(ground, params)),
        stability_at=now,
        created_at=now,
        updated_at=now,
    )


def _scale(given: Mapping[str, Any]) -> float:
    value = given.get("value")
    if value is None or not 0 <= value <= 100:
        raise names.invalid("The value of scale must be between 0.0 and 100.0.")
    return float(value)


async def update_task_set(call: Call, params: Params) -> Result:
    scale = _scale(params["scale"])
    return await _change(call, params, lambda s: replace(s, scale=scale, stability="STABILIZING"))


async def delete_task_set(call: Call, params: Params) -> Result:
    """The set is DRAINING until its tasks have stopped, then gone."""
    force = bool(params.get("force"))

    def drained(found: TaskSet) -> TaskSet:
        if found.status == "PRIMARY" and not force:
            raise names.invalid("The primary task set of a service cannot be deleted. Use force to do so.")
        if found.scale and found.status != "DRAINING" and not force:
            raise names.invalid("The task set cannot be deleted while it is scaled above 0.")
        return replace(found, status="DRAINING", scale=0.0)

    return await _change(call, params, drained)


async def _change(call: Call, params: Params, change: Callable[[TaskSet], TaskSet]) -> Result:
    names.storable(params)
    service_arn = service_names.asked_service(call, params)
    arn = service_names.task_set_arn(params["taskSet"], service_arn, call.scope)

    def body(tx: Tx) -> Result:
        service = _external(tx, service_arn)
        before = service_names.need_task_set(tx, arn)
        found = change(before)
        if found != before:
            found = tx.put(TASK_SET, replace(found, updated_at=call.now()))
        return {"taskSet": service_render.task_set(tx, service, found)}

    return await call.store.write(body)


async def describe_task_sets(call: Call, params: Params) -> Result:
    names.storable(params)
    service_arn = service_names.asked_service(call, params)
    asked = params.get("taskSets") or ()
    if len(asked) > _MAX_DESCRIBED:
        raise names.invalid(f"Task sets can have at most {_MAX_DESCRIBED} items.")
    arns = list(dict.fromkeys(_described_arn(call, text, service_arn) for text in asked))
    tags = "TAGS" in (params.get("include") or ())

    def body(tx: Tx) -> Result:
        service = _external(tx, service_arn)
        found = {s.arn: s for s in tx.find(TASK_SET, "service", service_arn)}
        return {
            "taskSets": [
                service_render.task_set(tx, service, found[arn], tags=tags)
                for arn in arns or found
                if arn in found
            ],
            "failures": [names.missing(arn) for arn in arns if arn not in found],
        }

    return await call.store.read(body)


def _described_arn(call: Call, text: str, service_arn: str) -> str:
    """What cannot be a task set of this service is missing, not an error."""
    try:
        return service_names.task_set_arn(text, service_arn, call.scope)
    except ApiError:
        return text


async def update_service_primary_task_set(call: Call, params: Params) -> Result:
    """One set is PRIMARY; the one before it is ACTIVE again."""
    names.storable(params)
    service_arn = service_names.asked_service(call, params)
    arn = service_names.task_set_arn(params["primaryTaskSet"], service_arn, call.scope)

    def body(tx: Tx) -> Result:
        service = _external(tx, service_arn)
        found, now = service_names.need_task_set(tx, arn), call.now()
        if found.status == "DRAINING":
            raise names.invalid("A task set that is draining cannot be the primary one.")
        for other in tx.find(TASK_SET, "service", service_arn):
            if other.status == "PRIMARY" and other.arn != arn:
                tx.put(TASK_SET, replace(other, status="ACTIVE", updated_at=now))
        if found.status != "PRIMARY":
            found = tx.put(TASK_SET, replace(found, status="PRIMARY", updated_at=now))
            tx.put(SERVICE, replace(service, changed_at=now))
        return {"taskSet": service_render.task_set(tx, service, found)}

    return await call.store.write(body)
