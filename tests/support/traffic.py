"""A steady stream of HTTP requests from a process of its own, and what became of each.

`with Traffic(url, rate=500) as traffic: …` then `traffic.report`. Open loop: requests are sent at their time,
however slow the answers are. Nothing is tried again: one refused, reset, late or other than 200 is a failure.
Bounded by `seconds` in any case.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_CONNECTIONS = 25
_REQUESTS_OF_A_CONNECTION = 100
_LATE_SECONDS = 10.0


@dataclass
class Report:
    sent: int = 0
    answered: int = 0
    failures: list[tuple[float, str]] = field(default_factory=list)
    """(when it was sent, epoch; what became of it)."""
    bodies: dict[str, int] = field(default_factory=dict)
    """First words of the answers, and how often."""
    median: float = 0.0
    p99: float = 0.0
    """Milliseconds."""


class Traffic:
    def __init__(self, url: str, rate: int = 500, seconds: float = 300, host: str = "") -> None:
        command = [sys.executable, "-m", "tests.support.traffic", url, "--rate", str(rate)]
        command += ["--seconds", str(seconds), "--host", host]
        self._command = command
        self.report = Report()

    def __enter__(self) -> "Traffic":
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n", "the traffic did not begin"
        return self

    def __exit__(self, *exc: object) -> None:
        out, _ = self._process.communicate("stop\n", timeout=60)
        told = json.loads(out)
        told["failures"] = [tuple(failure) for failure in told["failures"]]
        self.report = Report(**told)


class _Client:
    def __init__(self, url: str, host: str) -> None:
        parts = urlsplit(url)
        self.address, self.port = parts.hostname or "", parts.port or 80
        name = host or parts.netloc
        path = parts.path or "/"
        self.request = f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: traffic\r\n\r\n".encode()
        self.report = Report()
        self.bodies: Counter[str] = Counter()
        self.took: list[float] = []
        self.stopping = False

    async def connection(self, number: int, pause: float, begin: float) -> None:
        """One connection's share of the requests, each at its time."""
        due = begin + pause * number / _CONNECTIONS
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        count = 0
        while not self.stopping:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += pause
            sent = time.time()
            self.report.sent += 1
            try:
                async with asyncio.timeout(_LATE_SECONDS):
                    if streams is None:
                        streams = await asyncio.open_connection(self.address, self.port)
                    await self._ask(*streams)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                self.report.failures.append((sent, repr(error)[:200]))
                count = _REQUESTS_OF_A_CONNECTION
            else:
                count += 1
                self.took.append(time.time() - sent)
            if count >= _REQUESTS_OF_A_CONNECTION and streams is not None:
                streams[1].close()
                streams, count = None, 0
        if streams is not None:
            streams[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.request)
        head = await reader.readuntil(b"\r\n\r\n")
        status, length = head.split(b" ", 2)[1], 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = (await reader.readexactly(length)).decode(errors="replace")
        if status != b"200":
            raise ValueError(f"{status.decode()} {body[:100]}")
        self.report.answered += 1
        self.bodies[(body.split() or [""])[0]] += 1

    async def run(self, rate: int, seconds: float) -> None:
        pause = _CONNECTIONS / rate
        begin = time.monotonic()
        print("begun", flush=True)
        async with asyncio.TaskGroup() as group:
            for number in range(_CONNECTIONS):
                group.create_task(self.connection(number, pause, begin))
            stop = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            await asyncio.wait([stop], timeout=seconds)
            self.stopping = True

    def told(self) -> dict[str, Any]:
        took = sorted(self.took) or [0.0]
        self.report.bodies = dict(self.bodies)
        self.report.median = took[len(took) // 2] * 1000
        self.report.p99 = took[int(len(took) * 0.99)] * 1000
        return vars(self.report)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--host", default="")
    arguments = parser.parse_args()
    client = _Client(arguments.url, arguments.host)
    import uvloop

    uvloop.run(client.run(arguments.rate, arguments.seconds))
    print(json.dumps(client.told()))


if __name__ == "__main__":
    main()
