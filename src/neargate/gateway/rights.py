"""Whether a caller may do what it asks for: the policies of its role, its session and the resource.

Stands before every operation's function (app.py), for callers with a role's credentials; registry.py asks as
well. Everybody else is the account itself. Next: what a call needs is in model/actions.py, the rules are in
state/rights.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from neargate.gateway.auth_errors import Dialect, Refusal, dialect_of
from neargate.gateway.dispatch import Function, Room
from neargate.kit.errors import ApiError
from neargate.model import actions
from neargate.model.actions import Need, Params
from neargate.model.record import Scope
from neargate.model.rights import refused
from neargate.model.session import Session
from neargate.services.call import Call, House, Result
from neargate.state import rights, roles
from neargate.state.catalog import TASK, TASK_DEFINITION
from neargate.state.rights import Caller, NoRole
from neargate.state.store import Tx
from neargate.wire.models import Service

_RUNNERS = frozenset(("RunTask", "StartTask", "CreateService", "UpdateService", "CreateTaskSet"))
"""Operations of ECS by which tasks get the roles of a definition."""


def guarded(rooms: Mapping[str, Room]) -> dict[str, Room]:
    """The rooms, with the question before each function."""
    return {
        name: Room(
            room.service,
            {op: _guarded(room.service, op, function) for op, function in room.functions.items()},
        )
        for name, room in rooms.items()
    }


def _guarded(service: Service, operation: str, function: Function) -> Function:
    dialect = dialect_of(service.name, service.protocols[0])

    async def asked(call: Call, params: Params) -> Result:
        if call.session is not None and operation == "DeleteObjects":
            return await _deleted(call, service, params, dialect, function)
        if call.session is not None:
            await check(call, service, operation, params, dialect)
        return await function(call, params)

    return asked


async def check(call: Call, service: Service, operation: str, params: Params, dialect: Dialect) -> None:
    """Raise the service's error if the caller may not. For callers with a session of a role."""
    session = call.session
    if session is None or not session.role_arn or call.settings.iam == "off":
        return
    needs = actions.needs(service.name, operation, params, call.scope)
    if service.name == "ecs" and operation in _RUNNERS:
        needs += await _passed(call, params)
    caller = Caller(call.now(), call.scope.region, call.source_ip)
    try:
        found = await refusal(call.house, session, call.scope, needs, caller)
    except NoRole:
        raise Refusal.bad_token(dialect) from None
    if found is not None:
        raise _error(service, dialect, session, *found)


async def _deleted(
    call: Call, service: Service, params: Params, dialect: Dialect, function: Function
) -> Result:
    """S3's DeleteObjects: each key is a question of its own, and its refusal one of the answer's errors."""
    kept: list[Params] = []
    errors: list[dict[str, str]] = []
    for one in params["Delete"]["Objects"]:
        alone = {**params, "Delete": {"Objects": [one]}}
        try:
            await check(call, service, "DeleteObjects", alone, dialect)
            kept.append(one)
        except Refusal:
            raise
        except ApiError as error:
            errors.append({"Key": one["Key"], "Code": error.code, "Message": error.message})
    if errors and not kept:
        return {"Errors": errors}
    answer = await function(call, {**params, "Delete": {**params["Delete"], "Objects": kept}})
    return {**answer, "Errors": [*answer.get("Errors", ()), *errors]}


async def refusal(
    house: House, session: Session, scope: Scope, needs: Iterable[Need], caller: Caller
) -> tuple[Need, str] | None:
    """The first need that is refused, and why. Raise NoRole."""

    def body(tx: Tx) -> tuple[tuple[Need, str] | None, bool]:
        held = rights.of_session(tx, house.settings.iam, session, caller)
        if held is None:
            return None, False
        return rights.refused_of(tx, held, scope, needs, caller), held.use_is_news

    found, news = await house.store.read(body)
    if news:
        place = session.account, session.role_arn, caller.region, caller.now
        await house.store.write(lambda tx: roles.note_use(tx, *place))
    return found


async def ended(house: House, session: Session | None) -> bool:
    """Whether credentials are a task's that has stopped: they end with it, whatever their time."""
    if session is None or not session.task_arn:
        return False
    task = await house.store.read(lambda tx: tx.get(TASK, session.task_arn))
    return task is None or task.last_status == "STOPPED"


async def _passed(call: Call, params: Params) -> list[Need]:
    """To run tasks is to hand them the roles of their definition."""
    named = str(params.get("taskDefinition") or "").rpartition("/")[2]
    if not named:
        return []

    def body(tx: Tx) -> list[str]:
        arn = call.scope.arn("ecs", f"task-definition/{named}")
        if ":" not in named:
            arn = f"{arn}:{rights.newest(tx, call.scope, arn)}"
        definition = tx.get(TASK_DEFINITION, arn)
        overrides = _with_arns(params.get("overrides") or {}, call.scope)
        return actions.task_roles(overrides, definition.body if definition is not None else {})

    return [actions.passed(role, actions.TASKS) for role in await call.store.read(body)]


def _with_arns(given: Params, scope: Scope) -> Params:
    """Roles are named bare as well."""
    names = ("taskRoleArn", "executionRoleArn")
    roles_given = {name: str(given[name]) for name in names if given.get(name)}
    return {
        name: text if text.startswith("arn:") else f"arn:aws:iam::{scope.account}:role/{text}"
        for name, text in roles_given.items()
    }


def _error(service: Service, dialect: Dialect, session: Session, need: Need, why: str) -> ApiError:
    """The refusal as the service spells it."""
    who = session.principal_arn
    if dialect.ec2:
        told = refused(who, need, why, bare=True)
        return ApiError(
            "UnauthorizedOperation", f"You are not authorized to perform this operation. {told}", status=403
        )
    if service.name == "sqs":  # which says so in small letters
        told = refused(
            who, replace(need, action=need.action.lower()), why.replace(need.action, need.action.lower())
        )
        return ApiError("AccessDenied", told, status=403)
    told = refused(who, need, why, quoted=dialect.s3, bare=service.name == "secretsmanager")
    plain = dialect.s3 or not dialect.json or service.query_compatible
    if plain:
        return ApiError("AccessDenied", told, status=403)
    return ApiError("AccessDeniedException", told, status=dialect.status)
