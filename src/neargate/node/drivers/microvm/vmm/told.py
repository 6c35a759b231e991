"""What a guest says about its containers, checked: it is hostile, and the daemon believes its supervisor.

Pure. Called by supervisor.py.
"""

import base64
from collections.abc import Container
from typing import Any

from neargate.node.cgroup import MEMORY

_OUTPUT = 2 * 4096
_TEXT = 4096
_NUMBERS = (
    "cpu_seconds", "cpu_user_seconds", "cpu_system_seconds", "memory_bytes", "memory_peak_bytes", "pids",
    "read_bytes", "write_bytes", "reads", "writes", "rx_bytes", "rx_packets", "rx_errors", "rx_dropped",
    "tx_bytes", "tx_packets", "tx_errors", "tx_dropped", *(f"memory.{name}" for name in MEMORY),
)  # fmt: skip


def states(told: object, known: Container[str], runtime_ids: dict[str, str], pid: int) -> dict[str, Any]:
    """States of the containers that were asked for; their process is the machine's, as nobody here can see
    theirs."""
    found: dict[str, Any] = {}
    for name, state in told.items() if isinstance(told, dict) else ():
        if name in known and isinstance(state, dict):
            found[name] = _state(name, state, runtime_ids[name], pid)
    return found


def _state(name: str, told: dict[str, Any], runtime_id: str, pid: int) -> dict[str, Any]:
    running = told.get("running") is True
    return {
        "name": name,
        "runtime_id": runtime_id,
        "running": running,
        "pid": pid if running else None,
        "started_at": _time(told.get("started_at")),
        "stopped_at": _time(told.get("stopped_at")),
        "exit_code": None if running else exit_code(told.get("exit_code")),
        "oom_killed": told.get("oom_killed") is True,
        "restarts": int(_number(told.get("restarts")) or 0),
    }


def answer(op: str, message: dict[str, Any]) -> dict[str, Any]:
    """{"error"} or {"ok"} of the answer to one request."""
    if "error" in message:
        return {"error": _text(message["error"])}
    ok = message.get("ok")
    ok = ok if isinstance(ok, dict) else {}
    match op:
        case "exec":
            output = ok.get("output")
            code = exit_code(ok.get("exit_code"))
            return {"ok": {
                "exit_code": 255 if code is None else code,
                "output": _hex(output), "timed_out": ok.get("timed_out") is True,
            }}  # fmt: skip
        case "post":
            return {"ok": {"data": base64_of(ok.get("data"))}}
        case "storage":
            return {"ok": {"used": _number(ok.get("used")) or 0}}
        case "usage":
            return {"ok": {name: _number(ok.get(name)) or 0 for name in _NUMBERS}}
    return {"ok": {}}


def exit_code(value: object) -> int | None:
    return value & 0xFF if isinstance(value, int) else None


def base64_of(text: object) -> str:
    """As it is, if it is that."""
    try:
        return base64.b64encode(base64.b64decode(str(text), validate=True)).decode()
    except ValueError:
        return ""


def _text(value: object) -> str:
    """JSON can carry halves of characters, which nothing can write down."""
    return str(value)[:_TEXT].encode(errors="replace").decode()


def _hex(text: object) -> str:
    try:
        return bytes.fromhex(str(text)[:_OUTPUT]).hex()
    except ValueError:
        return ""


def _time(value: object) -> float | None:
    """A guest's nanoseconds as seconds."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value / 1e9 if 0 <= value < 1 << 63 else None


def _number(value: object) -> float | None:
    """Finite, not negative, and of a size that any clock or counter has."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value < 1 << 60 else None
