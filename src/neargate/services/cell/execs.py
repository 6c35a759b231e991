"""Commands at terminals (ECS Exec), between the door and the nodes: who serves them, what is kept of each.

Called by gateway/exec for a session's data channel; LocalCell hands the node's side to `Nodes`.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import exec_session
from neargate.model.exec_session import ExecSession
from neargate.model.logs import group_id
from neargate.model.task import TaskDefinition
from neargate.model.terminal import Terminal, TerminalError, TerminalRequest
from neargate.services.call import House
from neargate.services.cell import log_intake
from neargate.state import log_events
from neargate.state.catalog import CLUSTER, EXEC_SESSION, LOG_GROUP, TASK, TASK_DEFINITION
from neargate.state.store import Tx

Open = Callable[[TerminalRequest], Awaitable[Terminal]]


class Nodes:
    """Those that run commands at terminals, by their ids."""

    def __init__(self) -> None:
        self._open: dict[str, Open] = {}

    @contextlib.contextmanager
    def serving(self, node: str, open: Open) -> Iterator[None]:
        self._open[node] = open
        try:
            yield
        finally:
            if self._open.get(node) is open:
                del self._open[node]

    async def terminal(self, node: str, request: TerminalRequest) -> Terminal:
        """Raise TerminalError."""
        found = self._open.get(node)
        if found is None:
            raise TerminalError("The node that runs the task is not connected.")
        return await found(request)


# --- what is kept


async def admit(house: House, id: str, token: str) -> ExecSession | None:
    """The session whose channel the token opens; it does so no second time."""
    now = house.clock.now()

    def body(tx: Tx) -> ExecSession | None:
        session = tx.get(EXEC_SESSION, id)
        if session is None or not exec_session.takes(session, token, now):
            return None
        return tx.put(EXEC_SESSION, replace(session, token_digest=""))

    return await house.store.write(body)


async def begun(house: House, session: ExecSession) -> None:
    now = house.clock.now()
    await _change(house, session.id, lambda kept: replace(kept, started_at=now))


async def ended(house: House, session: ExecSession, exit_code: int | None, ending: str) -> None:
    now = house.clock.now()

    def change(kept: ExecSession) -> ExecSession:
        return replace(kept, ended_at=now, exit_code=exit_code, ending=ending, token_digest="")

    await _change(house, session.id, change)


async def _change(house: House, id: str, change: Callable[[ExecSession], ExecSession]) -> None:
    def body(tx: Tx) -> None:
        kept = tx.get(EXEC_SESSION, id)
        if kept is not None and kept.ended_at is None:
            tx.put(EXEC_SESSION, change(kept))

    await house.store.write(body)


async def end_all(house: House, ending: str) -> None:
    """Sessions that an earlier daemon had: their commands ended with it. One whose token was not used yet can
    still begin.
    """
    now = house.clock.now()

    def body(tx: Tx) -> None:
        for session in tx.all(EXEC_SESSION):
            waits = bool(session.token_digest) and session.started_at is None
            if session.ended_at is None and not (waits and now < session.token_expires_at):
                tx.put(EXEC_SESSION, replace(session, ended_at=now, ending=ending, token_digest=""))

    await house.store.write(body)


async def to_be_ended(house: House, ids: Sequence[str]) -> list[str]:
    """Those of the sessions whose end somebody asked for, or that are forgotten."""

    def body(tx: Tx) -> list[str]:
        found = ((id, tx.get(EXEC_SESSION, id)) for id in ids)
        return [id for id, session in found if session is None or session.terminate]

    return await house.store.read(body)


# --- what is logged


class LogPlace(NamedTuple):
    region: str
    group: str


async def log_place(house: House, session: ExecSession) -> LogPlace | None:
    """Where the cluster wants commands and output kept. Raise ApiError if they cannot be: a session
    that is to be on record does not run without.
    """

    def body(tx: Tx) -> tuple[dict[str, Any], TaskDefinition | None]:
        cluster, task = tx.get(CLUSTER, session.cluster_arn), tx.get(TASK, session.task_arn)
        definition = tx.get(TASK_DEFINITION, task.definition_arn) if task is not None else None
        configuration = cluster.configuration if cluster is not None else {}
        return configuration.get("executeCommandConfiguration") or {}, definition

    configured, definition = await house.store.read(body)
    if not configured or configured.get("logging") == "NONE":
        return None
    if configured.get("logging", "DEFAULT") == "DEFAULT":
        return _own_place(session, definition)
    group = (configured.get("logConfiguration") or {}).get("cloudWatchLogGroupName")
    if not group:
        raise ApiError("InvalidParameterException", "Logs in S3 are not built: name a CloudWatch log group.")
    return LogPlace(session.region, str(group))


def _own_place(session: ExecSession, definition: TaskDefinition | None) -> LogPlace | None:
    """The container's own log group; None if it logs elsewhere or nowhere."""
    containers = definition.body["containerDefinitions"] if definition is not None else ()
    log = next((c.get("logConfiguration") for c in containers if c["name"] == session.container), None)
    if not log or log["logDriver"] != "awslogs":
        return None
    options = log.get("options") or {}
    return LogPlace(options.get("awslogs-region") or session.region, options.get("awslogs-group", ""))


async def open_log(house: House, session: ExecSession, place: LogPlace) -> None:
    """A stream of the session's own. Raise ApiError if the group is missing."""
    await log_intake.open_log_stream(house, session.account, *place, session.id, False)


async def put_log(house: House, session: ExecSession, place: LogPlace, lines: Sequence[str]) -> None:
    """Raise ApiError if group or stream have been deleted."""
    now = int(house.clock.now() * 1000)
    events = [(now, line.encode("utf-8", "replace")) for line in lines]

    def body(tx: Tx) -> None:
        found = tx.get(LOG_GROUP, group_id(session.account, *place))
        stream = log_events.get_stream(tx, found.number, session.id) if found is not None else None
        if stream is None:
            raise ApiError("ResourceNotFoundException", "The specified log stream does not exist.")
        log_events.append(tx, stream.number, events, now)

    await house.logs.write(body)
