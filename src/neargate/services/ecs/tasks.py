"""Tasks that exist: describe, list, stop. They are made in run.py.

Called by gateway/dispatch. A stop is only asked for here: the node, or control/tasks, carries it out.
"""

from neargate.model import lifecycle
from neargate.model.task import Task
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, pages, render, service_names
from neargate.state import outbox
from neargate.state.catalog import TASK
from neargate.state.catalog_balancers import TARGET
from neargate.state.store import Tx

_MAX_DESCRIBED = 100
_MAX_REASON = 1024
_CHUNK = 500


async def describe_tasks(call: Call, params: Params) -> Result:
    asked, scope = params["tasks"], call.scope
    if not asked:
        raise names.invalid("Tasks cannot be empty.")
    if len(asked) > _MAX_DESCRIBED:
        raise names.invalid(f"Tasks can have at most {_MAX_DESCRIBED} items.")
    cluster = names.cluster_name(params.get("cluster"), scope)
    arns = dict.fromkeys(names.task_arn(text, cluster, scope) for text in asked)
    tags = "TAGS" in (params.get("include") or ())

    def body(tx: Tx) -> list[Task | None]:
        found = [tx.get(TASK, arn) for arn in arns]
        if None in found:  # a task that is there vouches for its cluster
            names.need_cluster(tx, scope.arn("ecs", f"cluster/{cluster}"))
        return found

    found = await call.store.read(body)
    return {
        "tasks": [render.task(task, tags=tags) for task in found if task is not None],
        "failures": [names.missing(arn) for arn, task in zip(arns, found, strict=True) if task is None],
    }


async def list_tasks(call: Call, params: Params) -> Result:
    page = pages.read(call, params, "ListTasks")
    arn = names.cluster_arn(params.get("cluster"), call.scope)
    names.storable(params)
    _check_filters(params)
    status = params.get("desiredStatus") or "RUNNING"
    service = service_names.asked_service(call, params, "serviceName") if params.get("serviceName") else ""

    def body(tx: Tx) -> list[str]:
        names.need_cluster(tx, arn)
        if params.get("containerInstance") or params.get("daemonName"):
            return []
        if service:
            service_names.known(tx, service)
        return _matching(tx, arn, status, params, service, page.after, page.limit + 1)

    # These are in no index (a service's, once stopped): all of the cluster's tasks may be looked through.
    slow = (service and status == "STOPPED") or params.get("family") or params.get("startedBy")
    look = call.store.scan if slow else call.store.read
    return page.listed("taskArns", await look(body))


def _check_filters(params: Params) -> None:
    """startedBy goes with no other filter; family, service and container instance not with each other."""
    exclusive = [n for n in ("family", "serviceName", "containerInstance") if params.get(n)]
    if params.get("startedBy") and exclusive:
        raise names.invalid(f"startedBy cannot be combined with {exclusive[0]}.")
    if len(exclusive) > 1:
        raise names.invalid(f"{exclusive[0]} cannot be combined with {exclusive[1]}.")


def _matching(
    tx: Tx, cluster: str, status: str, params: Params, service: str, after: str, limit: int
) -> list[str]:
    """ARNs, in order, of the cluster's tasks with a desired status that pass the filters."""
    family, by, kind = params.get("family"), params.get("startedBy"), params.get("launchType")
    if kind not in (None, "FARGATE"):
        return []
    if not (family or by or service):
        return tx.ids(TASK, "desired", f"{cluster}/{status}", after=after, limit=limit)
    index, value = "desired", f"{cluster}/{status}"
    if service and status == "RUNNING":
        index, value = "service", service
    found: list[str] = []
    while len(found) < limit:
        chunk = tx.find(TASK, index, value, after=after, limit=_CHUNK)
        found += [
            task.arn
            for task in chunk
            if task.desired_status == status
            and (not family or task.family == family)
            and (not by or task.started_by == by)
            and (not service or task.service_arn == service)
        ]
        if len(chunk) < _CHUNK:
            break
        after = chunk[-1].arn
    return found[:limit]


async def stop_task(call: Call, params: Params) -> Result:
    """Ask for the end of a task; asked again, the first reason stays."""
    cluster = names.cluster_name(params.get("cluster"), call.scope)
    arn = names.task_arn(params["task"], cluster, call.scope)
    names.storable(params)
    reason = params.get("reason") or ""
    if len(reason) > _MAX_REASON:
        raise names.invalid(f"The reason must be at most {_MAX_REASON} characters long.")

    def body(tx: Tx) -> Task:
        task = tx.get(TASK, arn)
        if task is None:
            names.need_cluster(tx, call.scope.arn("ecs", f"cluster/{cluster}"))
        task = names.need_task(tx, arn)
        now = call.now()
        # What a balancer sends requests to is stopped once they have gone elsewhere (control/services).
        draining = bool(task.service_arn) and tx.count(TARGET, "task", arn) > 0
        stopped = lifecycle.request_stop(task, "UserInitiated", reason, now, draining=draining)
        if stopped is task:
            return task
        return outbox.task_changed(tx, tx.put(TASK, stopped), now)

    return {"task": render.task(await call.store.write(body))}
