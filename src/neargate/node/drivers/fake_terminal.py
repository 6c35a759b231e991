"""A terminal in memory with a shell that knows a few commands, for tests of what carries terminals.

Made by fake.py. It echoes what is typed, as terminals do, and runs each line: `exit N`, `size`, `flood N` (N
bytes), anything else is nothing. A command that is no shell is its first line, and it ends with it.
"""

import asyncio
from collections import deque

_SHELLS = ("sh", "/bin/sh", "bash", "/bin/bash")
_INTERRUPT, _END = b"\x03", b"\x04"


class FakeTerminal:
    def __init__(self, argv: tuple[str, ...], columns: int, rows: int) -> None:
        self.size = (columns, rows)
        self.typed = b""
        self.closed = False
        self._chunks: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._line = b""
        self._code: int | None = None
        self._ended = False
        if argv[0] not in _SHELLS and argv[0] != "cat":
            self._run(" ".join(argv))
            self._end(0)

    async def read(self) -> bytes:
        while not self._chunks and not self._ended:
            self._news.clear()
            await self._news.wait()
        return self._chunks.popleft() if self._chunks else b""

    async def write(self, data: bytes) -> None:
        self.typed += data
        for byte in (data[n : n + 1] for n in range(len(data))):
            if self._ended:
                return
            if byte == _INTERRUPT:
                self._say(b"^C\r\n")
                self._line = b""
            elif byte == _END:
                self._end(0)
            elif byte in b"\r\n":
                self._say(b"\r\n")
                line, self._line = self._line, b""
                self._run(line.decode(errors="replace"))
            else:
                self._line += byte
                self._say(byte)

    def resize(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)

    @property
    def exit_code(self) -> int | None:
        return self._code

    def close(self) -> None:
        self.closed = True
        self._end(129)

    def _run(self, line: str) -> None:
        match line.split():
            case ["exit", code]:
                self._end(int(code))
            case ["exit"]:
                self._end(0)
            case ["size"]:
                self._say(f"{self.size[1]} {self.size[0]}\r\n".encode())
            case ["flood", count]:
                self._say(b"0123456789abcdef" * (int(count) // 16))

    def _say(self, data: bytes) -> None:
        self._chunks.append(data)
        self._news.set()

    def _end(self, code: int) -> None:
        if not self._ended:
            self._ended, self._code = True, code
            self._news.set()
