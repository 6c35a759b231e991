"""What a task's endpoints ask of the control plane: its role's credentials, its tags, its protection.

Called by services/cell's LocalCell for node/metadata.py. Errors are ApiErrors and CellErrors.
"""

from dataclasses import dataclass
from typing import Any

from neargate.kit.errors import ApiError, CellError
from neargate.model import endpoints, session
from neargate.model.actions import TASKS
from neargate.model.metadata import moment
from neargate.model.record import Scope
from neargate.model.rights import UNABLE_TO_ASSUME
from neargate.model.role import Role
from neargate.model.session import Session, SessionCredentials
from neargate.model.task import Task, TaskDefinition
from neargate.services.call import Call, House, Operation
from neargate.state import rights
from neargate.state.catalog import TASK, TASK_DEFINITION
from neargate.state.store import Tx

CREDENTIAL_SECONDS = 6 * 3600
"""As long as ECS's own; the node asks anew long before."""


@dataclass(frozen=True, slots=True)
class Protection:
    """ECS's operations on a task's protection."""

    get: Operation
    update: Operation


async def running_task(house: House, id: str) -> Task:
    """Raise CellError if there is none, or it has stopped."""
    return (await _task(house, id))[0]


async def _task(house: House, id: str) -> tuple[Task, TaskDefinition | None]:
    def body(tx: Tx) -> tuple[Task, TaskDefinition | None]:
        task = next(iter(tx.find(TASK, "id", id)), None)
        if task is None or task.last_status == "STOPPED":
            raise CellError(f"no task {id} is running")
        return task, tx.get(TASK_DEFINITION, task.definition_arn)

    return await house.store.read(body)


async def _session(house: House, id: str) -> tuple[Task, Session]:
    task, definition = await _task(house, id)
    role = endpoints.role_arn(task, definition) if definition is not None else ""
    if not role:
        raise CellError(f"task {id} has no role")
    if session.parse_role(role) is None:
        raise CellError(f"the role of task {id} is no role's ARN: {role}")
    created = await house.store.read(lambda tx: _assumed(house, tx, task, role))
    found = Session(
        access_key_id=session.key_id(house.ids.hex(20)),
        account=task.account,
        expires_at=house.clock.now() + CREDENTIAL_SECONDS,
        role_arn=role,
        name=task.id,
        task_arn=task.arn,
        unique_id=created.id if created is not None else "",
    )
    return task, found


def _assumed(house: House, tx: Tx, task: Task, arn: str) -> Role | None:
    """The role, if it was created. Raise CellError where tasks may not have it (any more)."""
    iam = house.settings.iam
    if not rights.trusts_service(tx, iam, task.account, task.region, arn, TASKS):
        raise CellError(UNABLE_TO_ASSUME.format(arn))
    return rights.find(tx, iam, task.account, arn)


async def credentials(house: House, id: str) -> SessionCredentials:
    _, found = await _session(house, id)
    return session.mint(house.signing_key, found, house.ids.hex(24))


async def protect(
    house: House, operations: Protection | None, id: str, enabled: bool | None, minutes: int | None
) -> tuple[int, dict[str, Any]]:
    """The operation called in the task's own name, and its answer in the endpoint's words."""
    if operations is None:
        raise CellError("this control plane knows no task protection")
    task, caller = await _session(house, id)
    request_id = house.ids.uuid()
    call = Call(
        house,
        Scope(task.account, task.region),
        caller.principal_arn,
        caller.access_key_id,
        request_id,
        session=caller,
    )
    params: dict[str, Any] = {"cluster": task.cluster_arn, "tasks": [task.arn]}
    try:
        if enabled is None:
            answer = await operations.get(call, params)
        else:
            params |= {"protectionEnabled": enabled} | _expiry(minutes)
            answer = await operations.update(call, params)
    except ApiError as error:
        told = {"Arn": task.arn, "Code": error.code, "Message": error.message}
        return error.status or 400, {"requestID": request_id, "error": told}
    for failure in answer["failures"]:
        return 200, {"failure": {name[0].upper() + name[1:]: value for name, value in failure.items()}}
    return 200, {"protection": _shown(answer["protectedTasks"][0])}


def _expiry(minutes: int | None) -> dict[str, int]:
    return {} if minutes is None else {"expiresInMinutes": minutes}


def _shown(protected: dict[str, Any]) -> dict[str, Any]:
    shown = {"ProtectionEnabled": protected["protectionEnabled"], "TaskArn": protected["taskArn"]}
    expires = protected.get("expirationDate")
    return shown if expires is None else {"ExpirationDate": moment(expires), **shown}
