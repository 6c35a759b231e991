"""Services: create and delete. What is written here is carried out by control/services, woken by the feed.

Called by gateway/dispatch. service_requests reads what was asked for, service_workload holds it against what
there is, service_update changes it, service_lists and service_render show it.
"""

from msgspec.structs import replace

from neargate.model import service_begin, service_rules
from neargate.model.service import Service
from neargate.model.task import Cluster, TaskDefinition
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, service_names, service_render, service_requests, service_workload
from neargate.state import service_history
from neargate.state.catalog_services import (
    SERVICE,
    SERVICE_DEPLOYMENT,
    SERVICE_REVISION,
    TASK_SET,
)
from neargate.state.store import Tx

_DELETED = "The service was deleted."


async def create_service(call: Call, params: Params) -> Result:
    """Idempotent by name: the same request again answers with the service that it made."""
    service_requests.check_create(params)
    cluster_name = names.cluster_name(params.get("cluster"), call.scope)
    cluster_arn = call.scope.arn("ecs", f"cluster/{cluster_name}")
    arn = call.scope.arn("ecs", f"service/{cluster_name}/{params['serviceName']}")
    digest = service_requests.digest(params)
    tags = names.read_tags(params.get("tags"))

    def body(tx: Tx) -> Result:
        cluster = names.need_cluster(tx, cluster_arn)
        existing = tx.get(SERVICE, arn)
        if existing is not None and existing.status != "INACTIVE":
            _check_same(existing, params, digest)
            return {"service": service_render.service(tx, existing)}
        if existing is not None:
            service_history.forget(tx, arn)
        service = replace(_asked(call, params, cluster, arn), tags=tags, request_digest=digest)
        if service_requests.controller(params) == "EXTERNAL":
            return {"service": service_render.service(tx, tx.put(SERVICE, service))}
        definition = names.active_definition(tx, call.scope, params["taskDefinition"])
        service = _begun(tx, call, params, cluster, service, definition)
        return {"service": service_render.service(tx, tx.put(SERVICE, service))}

    return await call.store.write(body)


def _check_same(existing: Service, params: Params, digest: str) -> None:
    if existing.status == "DRAINING":
        raise names.invalid("Unable to Start a service that is still Draining.")
    if (existing.request_digest, existing.client_token) != (digest, params.get("clientToken") or ""):
        raise service_requests.not_idempotent()


def _asked(call: Call, params: Params, cluster: Cluster, arn: str) -> Service:
    """The service as far as it does not depend on a task definition."""
    kind, now = service_requests.controller(params), call.now()
    external = {"availabilityZoneRebalancing": "DISABLED"} if kind == "EXTERNAL" else {}
    return Service(
        account=call.scope.account,
        region=call.scope.region,
        arn=arn,
        name=params["serviceName"],
        cluster_arn=cluster.arn,
        desired_count=service_rules.check_desired(params.get("desiredCount"), 0),
        definition_arn="",
        revision_arn="",
        body={
            **service_requests.settings(params, external),
            "deploymentController": {"type": kind},
            "schedulingStrategy": "REPLICA",
        },
        client_token=params.get("clientToken") or "",
        created_at=now,
        created_by=call.principal_arn,
        changed_at=now,
    )


def _begun(
    tx: Tx, call: Call, params: Params, cluster: Cluster, service: Service, definition: TaskDefinition
) -> Service:
    """The service with its first revision and deployment, which are written."""
    ground = service_workload.Ground(
        tx,
        call,
        cluster,
        definition,
        service.arn,
        service.body["deploymentConfiguration"]["strategy"],
        service.body["enableExecuteCommand"],
    )
    made = service_workload.complete(ground, params)
    grace = {"healthCheckGracePeriodSeconds": 0} if made["loadBalancers"] else {}
    service = replace(service, definition_arn=definition.arn, body={**grace, **service.body, **made})
    return start(tx, call, service, definition)


def start(tx: Tx, call: Call, service: Service, definition: TaskDefinition) -> Service:
    """A new revision of the service and the way to it begin; what was under way ends. The service that comes
    back is still to be written."""
    now = call.now()
    body = service_workload.revision_body(service.body, definition)
    target = service_begin.revision(service, body, call.ids, now)
    under_way = tx.find(SERVICE_DEPLOYMENT, "open", service.arn)
    for older in service_begin.superseded(under_way, now):
        tx.put(SERVICE_DEPLOYMENT, older)
    service, process = service_begin.begin(service, target, call.ids, now)
    tx.insert(SERVICE_REVISION, target)
    tx.insert(SERVICE_DEPLOYMENT, process)
    return service


async def delete_service(call: Call, params: Params) -> Result:
    """The service is DRAINING until its tasks have stopped, then INACTIVE, and describable for a while."""
    names.storable(params)
    arn = service_names.asked_service(call, params)
    force = bool(params.get("force"))

    def body(tx: Tx) -> Result:
        service = service_names.need_service(tx, arn)
        if service.status == "ACTIVE":
            service = tx.put(SERVICE, _deleted(tx, service, force, call.now()))
        return {"service": service_render.service(tx, service)}

    return await call.store.write(body)


def _deleted(tx: Tx, service: Service, force: bool, now: float) -> Service:
    if service.desired_count and not force:
        raise names.invalid("The service cannot be stopped while it is scaled above 0.")
    sets = tx.find(TASK_SET, "service", service.arn)
    if sets and not force:
        raise names.invalid("The service cannot be stopped while it has task sets.")
    for task_set in sets:
        tx.put(TASK_SET, replace(task_set, status="DRAINING", scale=0.0, updated_at=now))
    for process in tx.find(SERVICE_DEPLOYMENT, "open", service.arn):
        tx.put(SERVICE_DEPLOYMENT, service_begin.stopped(process, _DELETED, now))
    return replace(service, status="DRAINING", desired_count=0, steady_at=None, changed_at=now)
