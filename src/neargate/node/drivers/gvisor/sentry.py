"""The control socket of a running sandbox: wait, signal, usage. Called by shim.py.

What `runsc wait`, `kill` and `events` ask, without starting a Go program of 20 MB for each: a JSON object
with a method and its argument goes in, one with a result comes out. The socket is an abstract one of the
sandbox's own network namespace, which the shim lives in and nobody else does; what runs on the sandbox's
kernel cannot see it.
"""

import errno
import json
import socket
from typing import Any

_SECONDS = 5.0
_ANSWER = 1 << 20
"""No answer is longer: a sandbox that was broken into says what it likes."""
_ONE, _ALL = 0, 1
"""To whom a signal goes: one process (0: the container's first), or all of the container."""


class SentryError(OSError):
    """ESRCH: it refused, for what was meant has ended. Else the sandbox is gone, or does not answer."""


class Sentry:
    def __init__(self, sandbox: str) -> None:
        self._address = f"\0runsc-sandbox.{sandbox}\0"

    def wait(self, container: str) -> socket.socket:
        """Becomes readable when the container's first process has ended, or the sandbox: see `status`."""
        return self._begin("containerManager.Wait", container)

    @staticmethod
    def status(waiting: socket.socket) -> int | None:
        """The wait status that has come; None if the sandbox has gone instead. Raise SentryError if it was
        going already and has not heard the question.
        """
        try:
            answer = json.loads(waiting.recv(_ANSWER) or b"{}")
        except OSError as error:
            raise _silent(error) from None
        except ValueError:
            return None
        result = answer.get("result") if isinstance(answer, dict) and answer.get("success") else None
        return result & 0xFFFF if isinstance(result, int) else None

    def signal(self, container: str, number: int) -> None:
        """To the container's first process."""
        self._ask("containerManager.Signal", _signal(container, number, 0, _ONE))

    def kill(self, container: str) -> None:
        """All of the container."""
        self._ask("containerManager.Signal", _signal(container, 9, 0, _ALL))

    def kill_process(self, container: str, pid: int) -> None:
        """pid -- the container's own number of it."""
        self._ask("containerManager.Signal", _signal(container, 9, pid, _ONE))

    def family(self, container: str, pid: int) -> list[int]:
        """A process of the container and all that came from it, the youngest first."""
        found = self._ask("containerManager.Processes", container) or []
        family = [pid]
        for process in sorted(found, key=lambda p: int(p["pid"])):
            if process["ppid"] in family and process["pid"] not in family:
                family.append(process["pid"])
        return family[::-1]

    def usage(self, container: str) -> tuple[int, int, int]:
        """Nanoseconds of CPU that the sandbox counted for the container and for all of them, and how many
        processes the container has.
        """
        answer = self._ask("containerManager.Event", container)
        counted = answer["ContainerUsage"] or {}
        pids = answer["Event"]["data"]["pids"]["current"]
        return int(counted.get(container, 0)), int(sum(counted.values())), int(pids)

    def _begin(self, method: str, argument: object) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(_SECONDS)
            connection.connect(self._address)
            connection.sendall(json.dumps({"Method": method, "Arg": argument}).encode())
        except OSError as error:
            connection.close()
            raise _silent(error) from None
        return connection

    def _ask(self, method: str, argument: object) -> Any:
        connection = self._begin(method, argument)
        data = b""
        try:
            while len(data) < _ANSWER and (more := connection.recv(_ANSWER)):
                data += more
                try:
                    answer = json.loads(data)
                except ValueError:
                    continue  # the rest is still to come
                if not answer["success"]:
                    raise SentryError(errno.ESRCH, str(answer["err"]))
                return answer["result"]
        except OSError as error:
            if isinstance(error, SentryError):
                raise
            raise _silent(error) from None
        finally:
            connection.close()
        raise SentryError(errno.ECONNRESET, "the sandbox has ended")


def _silent(error: OSError) -> SentryError:
    return SentryError(error.errno or errno.ETIMEDOUT, f"the sandbox does not answer: {error}")


def _signal(container: str, number: int, pid: int, mode: int) -> dict[str, object]:
    return {"CID": container, "Signo": number, "PID": pid, "Mode": mode}
