"""Session Manager, for containers of tasks: sessions are opened, given a new token, ended and listed.

Called by gateway/dispatch. `ecs:<cluster>_<task id>_<runtime id>` is the only kind of target that there is.
The data channel is the door's (gateway/exec); it sees from the record that somebody asked for the end.
"""

import re
from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import exec_session
from neargate.model.exec_session import ExecSession
from neargate.model.task import Container, Task
from neargate.services.call import Call, Params, Result
from neargate.services.ssm import names
from neargate.state import exec_sessions
from neargate.state.catalog import EXEC_SESSION, TASK
from neargate.state.store import Tx

_SHELL = "sh"
_DOCUMENT = "AWS-StartInteractiveCommand"
_SHELL_DOCUMENT = "SSM-SessionManagerRunShell"
_TARGET = re.compile(r"ecs:([A-Za-z0-9_-]{1,255})_([0-9a-f]{32})_([0-9a-f]{32}-[0-9]+)")
_MOST = 200


async def start_session(call: Call, params: Params) -> Result:
    document = names.text_of(params, "DocumentName") or _SHELL_DOCUMENT
    command, kind = _command(document, params)
    reason = names.text_of(params, "Reason")
    target = names.text_of(params, "Target")

    def body(tx: Tx) -> Result:
        task, container = _target(tx, call, target)
        session = ExecSession(
            account=call.scope.account,
            region=call.scope.region,
            id=f"{call.principal_arn.rpartition('/')[2].rpartition(':')[2]}-0{call.ids.hex(16)}",
            kind=kind,
            cluster_arn=task.cluster_arn,
            task_arn=task.arn,
            sandbox=task.id,
            node=task.node,
            container=container.name,
            runtime_id=container.runtime_id,
            command=command,
            principal_arn=call.principal_arn,
            source_ip=call.source_ip,
            reason=reason,
            created_at=call.now(),
        )
        return _opened(tx, call, session)

    return await call.store.write(body)


def _command(document: str, params: Params) -> tuple[str, str]:
    if document == _SHELL_DOCUMENT:
        return _SHELL, exec_session.SHELL
    if document != _DOCUMENT:
        raise ApiError("InvalidDocument", f"Document with name {document[:128]} does not exist.")
    given = (params.get("Parameters") or {}).get("command") or []
    command = " ".join(given)
    try:
        exec_session.check_command(command)
    except ApiError as error:
        raise names.invalid(error.message) from None
    return command, exec_session.INTERACTIVE


def _target(tx: Tx, call: Call, target: str) -> tuple[Task, Container]:
    found = _TARGET.fullmatch(target)
    task = tx.get(TASK, call.scope.arn("ecs", f"task/{found[1]}/{found[2]}")) if found else None
    if found is not None and task is not None:
        for container in task.containers:
            if container.runtime_id == found[3] and exec_session.is_enabled(task, container):
                return task, container
    raise ApiError("TargetNotConnected", f"{target[:400]} is not connected.")


def _opened(tx: Tx, call: Call, session: ExecSession) -> Result:
    kept, token = exec_sessions.opened(tx, call.ids, session, call.now())
    url = exec_sessions.stream_url(call.house.endpoint, call.host, kept.id)
    return {"SessionId": kept.id, "TokenValue": token, "StreamUrl": url}


def _need(tx: Tx, call: Call, id: str) -> ExecSession:
    session = tx.get(EXEC_SESSION, id)
    if session is None or (session.account, session.region) != (call.scope.account, call.scope.region):
        raise ApiError("DoesNotExistException", f"Session {id[:96]} does not exist.", status=400)
    return session


async def resume_session(call: Call, params: Params) -> Result:
    """A new token, for a client whose connection broke: the command runs on for a while without one."""
    id = names.text_of(params, "SessionId")

    def body(tx: Tx) -> Result:
        session = _need(tx, call, id)
        if session.ended_at is not None or session.terminate:
            raise ApiError("DoesNotExistException", f"Session {id[:96]} has ended.", status=400)
        return _opened(tx, call, session)

    return await call.store.write(body)


async def terminate_session(call: Call, params: Params) -> Result:
    """Ask for a session's end; of one that has ended, or is not there, as on AWS no word is said."""
    id = names.text_of(params, "SessionId")

    def body(tx: Tx) -> None:
        try:
            session = _need(tx, call, id)
        except ApiError:
            return
        if session.ended_at is not None:
            return
        ended = call.now() if session.started_at is None else None
        tx.put(EXEC_SESSION, replace(session, terminate=True, token_digest="", ended_at=ended))

    await call.store.write(body)
    return {"SessionId": id}


async def describe_sessions(call: Call, params: Params) -> Result:
    if params.get("Filters"):
        raise ApiError("InvalidFilterKey", "Sessions cannot be filtered here.")
    limit, after = min(params.get("MaxResults") or _MOST, _MOST), names.untoken(params)
    state = f"{call.scope.account}/{call.scope.region}/{params['State']}"
    found = await call.store.read(
        lambda tx: tx.find(EXEC_SESSION, "account", state, after=after, limit=limit + 1)
    )
    answer: Result = {"Sessions": [_shown(session, call.now()) for session in found[:limit]]}
    return answer | ({"NextToken": names.token(found[limit - 1].id)} if len(found) > limit else {})


def _status(session: ExecSession, now: float) -> str:
    if session.ended_at is not None:
        return "Terminated"
    if session.started_at is not None:
        return "Connected"
    return "Connecting" if now < session.token_expires_at else "Failed"  # nobody ever came


def _shown(session: ExecSession, now: float) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "SessionId": session.id,
        "Target": session.target,
        "Status": _status(session, now),
        "StartDate": session.started_at or session.created_at,
        "DocumentName": _SHELL_DOCUMENT if session.kind == exec_session.SHELL else _DOCUMENT,
        "Owner": session.principal_arn,
        "Details": session.ending,
    }
    if session.exit_code is not None:
        shown["Details"] = shown["Details"] or f"exit code {session.exit_code}"
    if session.reason:
        shown["Reason"] = session.reason
    return shown | ({"EndDate": session.ended_at} if session.ended_at is not None else {})
