"""What a session's terminal shows, into a log group, line by line.

Made by session.py where the cluster's executeCommandConfiguration asks for it. What is typed is in it as the
terminal echoes it.
"""

import asyncio
import codecs

from neargate.model.exec_session import ExecSession
from neargate.services.call import House
from neargate.services.cell import execs
from neargate.services.cell.execs import LogPlace

_PAUSE = 1.0
_LONGEST_LINE = 32 * 1024


class Transcript:
    def __init__(self, house: House, session: ExecSession, place: LogPlace) -> None:
        self._house, self._session, self._place = house, session, place
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines: list[str] = []
        self._rest = ""

    async def open(self) -> None:
        """Raise ApiError if the log group is missing."""
        await execs.open_log(self._house, self._session, self._place)
        one = self._session
        self._lines.append(f"{one.principal_arn} runs {one.command} in {one.container} of {one.task_arn}")

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        self._lines += [line.rstrip("\r") for line in lines]
        while len(self._rest) > _LONGEST_LINE:
            self._lines.append(self._rest[:_LONGEST_LINE])
            self._rest = self._rest[_LONGEST_LINE:]

    async def run(self) -> None:
        """Hand in what there is every so often, for ever. Raise ApiError if the log group is gone."""
        while True:
            await self._hand_in()
            await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        if self._rest:
            self._lines.append(self._rest.rstrip("\r"))
            self._rest = ""
        await self._hand_in()

    async def _hand_in(self) -> None:
        lines, self._lines = [line for line in self._lines if line], []
        if lines:
            await execs.put_log(self._house, self._session, self._place, lines)
