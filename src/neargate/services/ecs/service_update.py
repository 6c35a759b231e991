"""UpdateService: what takes hold at once is written, what tasks are made by begins a new deployment.

Called by gateway/dispatch; control/services carries it out, woken by the feed.
"""

from typing import Any

from msgspec.structs import replace

from neargate.model import service_rules
from neargate.model.service import REVISION_MEMBERS, Service
from neargate.model.task import TaskDefinition
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, service_names, service_render, service_requests, service_workload
from neargate.services.ecs.services import start
from neargate.state.catalog import TASK_DEFINITION
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Tx

_CAPACITY = ("launchType", "capacityProviderStrategy")
_MUST_FORCE = (
    "When switching from launch type to capacity provider strategy on an existing service, or making a change"
    " to a capacity provider strategy on a service that is already using one, you must force a new"
    " deployment."
)


async def update_service(call: Call, params: Params) -> Result:
    service_requests.check_common(params)
    arn = service_names.asked_service(call, params)

    def body(tx: Tx) -> Result:
        before = service_names.need_active(tx, arn)
        service_requests.check_update(params, before.body["deploymentController"]["type"])
        service = _changed(before, params)
        if service.definition_arn:
            service = _deployed(tx, call, params, before, service)
        if service != before:
            service = tx.put(SERVICE, _fresh(service, before, call.now()))
        return {"service": service_render.service(tx, service)}

    return await call.store.write(body)


def _changed(service: Service, params: Params) -> Service:
    """With all that needs no new deployment."""
    return replace(
        service,
        desired_count=service_rules.check_desired(params.get("desiredCount"), service.desired_count),
        body={**service.body, **service_requests.settings(params, service.body)},
    )


def _fresh(service: Service, before: Service, now: float) -> Service:
    """A change that a caller asks for ends the waiting of starts that failed."""
    deployments = tuple(replace(d, failed_starts=0, start_after=0.0) for d in service.deployments)
    steady = service.steady_at if service.desired_count == before.desired_count else None
    return replace(service, deployments=deployments, steady_at=steady, changed_at=now)


def _deployed(tx: Tx, call: Call, params: Params, before: Service, service: Service) -> Service:
    """The service with a new deployment, if its tasks are to be others, or if that is forced."""
    given = {m for m in REVISION_MEMBERS if params.get(m) is not None}
    definition = _definition(tx, call, params, service)
    force = bool(params.get("forceNewDeployment"))
    strategy = service.body["deploymentConfiguration"]["strategy"]
    if not (
        given
        or force
        or definition.arn != service.definition_arn
        or _to_be_checked(service.body, before.body)
    ):
        return service
    ground = service_workload.Ground(
        tx,
        call,
        names.need_cluster(tx, service.cluster_arn),
        definition,
        service.arn,
        strategy,
        service.body["enableExecuteCommand"],
    )
    made = service_workload.complete(ground, _asked(service.body, params, given), given)
    if not force and any(made.get(m) != service.body.get(m) for m in _CAPACITY):
        raise names.invalid(_MUST_FORCE)
    same = {m: service.body[m] for m in REVISION_MEMBERS if m in service.body}
    unchanged = all(made.get(m) == same.get(m) for m in REVISION_MEMBERS)
    if unchanged and not force and definition.arn == service.definition_arn:
        return service
    kept = {name: value for name, value in service.body.items() if name not in same}
    grace = {"healthCheckGracePeriodSeconds": 0} if made["loadBalancers"] else {}
    service = replace(service, definition_arn=definition.arn, body={**grace, **kept, **made})
    return start(tx, call, service, definition)


def _to_be_checked(body: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether what takes hold at once must go with what the tasks are made by."""
    strategy, old = (b["deploymentConfiguration"]["strategy"] for b in (body, before))
    return bool(strategy != old or (body["enableExecuteCommand"] and not before["enableExecuteCommand"]))


def _asked(body: dict[str, Any], params: Params, given: set[str]) -> dict[str, Any]:
    """The service's members with the request's instead. An empty strategy is launch type FARGATE."""
    asked = {m: body[m] for m in REVISION_MEMBERS if m in body}
    asked |= {m: params[m] for m in given}
    if "capacityProviderStrategy" in given:
        asked.pop("launchType", None)
        if not params["capacityProviderStrategy"]:
            asked = {**asked, "launchType": "FARGATE"}
    return asked


def _definition(tx: Tx, call: Call, params: Params, service: Service) -> TaskDefinition:
    """The definition named; else the service's own, also if it has been deregistered since."""
    if params.get("taskDefinition"):
        return names.active_definition(tx, call.scope, params["taskDefinition"])
    definition = tx.get(TASK_DEFINITION, service.definition_arn)
    if definition is None:
        raise names.no_definition()
    return definition
