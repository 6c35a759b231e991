"""All sessions of ECS Exec that are under way, and the way into one: /v1/data-channel/<session id>.

Made by main, which runs it beside the door; server.py hands it each WebSocket. A connection's first message
has the token that ExecuteCommand, StartSession or ResumeSession answered, good once and for two minutes.
"""

import asyncio
import json
import logging
from typing import NoReturn

from neargate.gateway.exec.session import Ended, Session
from neargate.gateway.websocket import BUSY, REFUSED, WebSocket
from neargate.model.exec_session import ExecSession
from neargate.services.call import House
from neargate.services.cell import execs
from neargate.state.catalog import EXEC_SESSION
from neargate.wire.channel.frames import FrameError

log = logging.getLogger(__name__)

PREFIX = "/v1/data-channel/"
_TOKEN_SECONDS = 10.0
_MOST = 256


class Sessions:
    def __init__(self, house: House, nodes: execs.Nodes) -> None:
        self._house, self._nodes = house, nodes
        self._live: dict[str, Session] = {}
        self._begun = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    async def end_earlier(self) -> None:
        """Write down the ends that an earlier daemon could not. Before the door opens."""
        await execs.end_all(self._house, "The daemon stopped.")

    async def run(self) -> NoReturn:
        """Own the sessions, and end those whose end is asked for. Ends all of them when cancelled."""
        head = self._house.store.head()
        async with asyncio.TaskGroup() as group:
            self._group = group
            while True:
                await self._begun.wait()
                await self._house.store.wait(head)
                feed = await self._house.store.changes(head)
                head = feed.head
                if feed.gap or any(change.kind == EXEC_SESSION.name for change in feed.changes):
                    await self._end_asked()
                if not self._live:
                    self._begun.clear()
        raise AssertionError("unreachable")

    async def _end_asked(self) -> None:
        for id in await execs.to_be_ended(self._house, list(self._live)):
            if session := self._live.get(id):
                session.end(Ended("Somebody ended it."))

    # -- connections -----------------------------------------------------------------------------------

    def takes(self, path: str) -> bool:
        return path.startswith(PREFIX)

    async def serve(self, socket: WebSocket) -> None:
        id = socket.path.removeprefix(PREFIX)
        record = await self._admitted(socket, id)
        if record is None:
            return socket.close(REFUSED, "the token is not valid, was used before, or has expired")
        session = self._live.get(id) or self._begin(record)
        if session is None:
            return socket.close(BUSY, "too many sessions at once")
        try:
            await session.serve(socket)
        except FrameError as error:
            socket.close(REFUSED, str(error))

    async def _admitted(self, socket: WebSocket, id: str) -> ExecSession | None:
        try:
            async with asyncio.timeout(_TOKEN_SECONDS):
                first = await socket.receive()
            message = json.loads(first)
        except (TimeoutError, ValueError, RecursionError):
            return None
        token = message.get("TokenValue") if isinstance(message, dict) else None
        return await execs.admit(self._house, id, token) if isinstance(token, str) and token else None

    def _begin(self, record: ExecSession) -> Session | None:
        if self._group is None or len(self._live) >= _MOST:
            return None
        session = self._live[record.id] = Session(self._house, self._nodes, record)
        self._group.create_task(self._keep(record.id, session), name=record.id)
        self._begun.set()
        return session

    async def _keep(self, id: str, session: Session) -> None:
        try:
            await session.run()
        except Exception:
            log.exception("a session failed", extra={"session": id})
        finally:
            del self._live[id]
