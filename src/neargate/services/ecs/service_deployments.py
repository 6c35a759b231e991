"""Deployments of services and the revisions that they bring: describe, list, stop, answer a pause.

Called by gateway/dispatch. To stop and to answer is only to ask: control/services carries it out.
"""

import uuid
from collections.abc import Sequence

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.service import ServiceDeployment
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, pages, service_names, service_render
from neargate.services.ecs.service_render_deployments import brief, detail
from neargate.state.catalog_services import SERVICE, SERVICE_DEPLOYMENT, SERVICE_REVISION
from neargate.state.store import Kind, R, Tx

_MAX_DESCRIBED = 20
_USUAL = 20
_UNDER_WAY = ("PENDING", "IN_PROGRESS")
_REQUESTED = {"ABORT": "STOP_REQUESTED", "ROLLBACK": "ROLLBACK_REQUESTED"}
_HOOKS = uuid.UUID("6f0b4b8e-6a0f-4c0e-9d5b-6e4e1f5a7c11")


def hook_id(process: ServiceDeployment) -> str:
    """Of the pause that holds a deployment; each pause has another."""
    pause = process.paused
    assert pause is not None
    return str(uuid.uuid5(_HOOKS, f"{process.arn}/{pause.stage}/{pause.since}"))


async def describe_service_deployments(call: Call, params: Params) -> Result:
    arns = _asked(params["serviceDeploymentArns"], "ServiceDeploymentArns")

    def body(tx: Tx) -> Result:
        shown, failures = [], []
        for arn in arns:
            process = _own(tx, call, SERVICE_DEPLOYMENT, arn)
            if process is None:
                failures.append(names.missing(arn))
                continue
            id = hook_id(process) if process.paused is not None else ""
            shown.append(detail(tx, process, tx.get(SERVICE, process.service_arn), id))
        return {"serviceDeployments": shown, "failures": failures}

    return await call.store.read(body)


def _own(tx: Tx, call: Call, kind: Kind[R], arn: str) -> R | None:
    """The record, unless it is another account's or region's."""
    found = tx.get(kind, arn)
    mine = found is not None and (found.account, found.region) == (call.scope.account, call.scope.region)
    return found if mine else None


def _asked(given: Sequence[str], what: str) -> list[str]:
    if not given:
        raise names.invalid(f"{what} cannot be empty.")
    if len(given) > _MAX_DESCRIBED:
        raise names.invalid(f"{what} can have at most {_MAX_DESCRIBED} items.")
    names.storable({"arns": given})
    return list(dict.fromkeys(given))


async def list_service_deployments(call: Call, params: Params) -> Result:
    """The newest first."""
    names.storable({"service": params["service"]})
    page = pages.read(call, params, "ListServiceDeployments", usual=_USUAL)
    arn = service_names.asked_service(call, params)
    statuses = frozenset(params.get("status") or ())
    created = params.get("createdAt") or {}
    after, before = created.get("after"), created.get("before")

    def wanted(process: ServiceDeployment) -> bool:
        return (
            (not statuses or process.status in statuses)
            and (after is None or process.created_at >= after)
            and (before is None or process.created_at <= before)
            and (not page.after or _place(process) < page.after)
        )

    def body(tx: Tx) -> list[ServiceDeployment]:
        service_names.known(tx, arn)
        found = [p for p in tx.find(SERVICE_DEPLOYMENT, "service", arn) if wanted(p)]
        return sorted(found, key=_place, reverse=True)[: page.limit + 1]

    found = await call.store.read(body)
    answer = page.answer("serviceDeployments", found, _place)
    return {**answer, "serviceDeployments": [brief(process) for process in answer["serviceDeployments"]]}


def _place(process: ServiceDeployment) -> str:
    """Where it stands in the list: text that sorts by age."""
    return f"{process.created_at:020.6f}/{process.arn}"


async def stop_service_deployment(call: Call, params: Params) -> Result:
    """Ask for the end of a deployment, or for the way back; asked again, nothing changes."""
    arn = params["serviceDeploymentArn"]
    kind = params.get("stopType") or "ROLLBACK"

    def body(tx: Tx) -> None:
        process = _need(tx, call, arn)
        if process.stop_type == kind and process.status == _REQUESTED[kind]:
            return
        if process.status not in _UNDER_WAY:
            raise ApiError(
                "ConflictException",
                f"The service deployment cannot be stopped: its status is {process.status}.",
                fields={"resourceIds": [process.arn]},
            )
        asked = replace(process, status=_REQUESTED[kind], stop_type=kind, updated_at=call.now())
        tx.put(SERVICE_DEPLOYMENT, asked)

    await call.store.write(body)
    return {"serviceDeploymentArn": arn}


def _need(tx: Tx, call: Call, arn: str) -> ServiceDeployment:
    names.storable({"arn": arn})
    process = _own(tx, call, SERVICE_DEPLOYMENT, arn)
    if process is None:
        raise ApiError(
            "ServiceDeploymentNotFoundException", "The specified service deployment was not found."
        )
    return process


async def continue_service_deployment(call: Call, params: Params) -> Result:
    """Answer the pause that holds a deployment; the first answer counts."""
    arn, id = params["serviceDeploymentArn"], params["hookId"]
    action = params.get("action") or "CONTINUE"

    def body(tx: Tx) -> None:
        process = _need(tx, call, arn)
        pause = process.paused
        if process.status not in _UNDER_WAY or pause is None or hook_id(process) != id:
            raise names.invalid(f"The lifecycle hook {id[:100]} is not awaiting an action.")
        if pause.answer not in ("", action):
            raise names.invalid(f"The lifecycle hook {id[:100]} was already answered with {pause.answer}.")
        answered = replace(process, paused=replace(pause, answer=action), updated_at=call.now())
        tx.put(SERVICE_DEPLOYMENT, answered)

    await call.store.write(body)
    return {"serviceDeploymentArn": arn}


async def describe_service_revisions(call: Call, params: Params) -> Result:
    arns = _asked(params["serviceRevisionArns"], "ServiceRevisionArns")

    def body(tx: Tx) -> Result:
        shown, failures = [], []
        for arn in arns:
            revision = _own(tx, call, SERVICE_REVISION, arn)
            if revision is None:
                failures.append(names.missing(arn))
            else:
                shown.append(service_render.revision(revision))
        return {"serviceRevisions": shown, "failures": failures}

    return await call.store.read(body)
