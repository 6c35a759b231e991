"""Log lines: one JSON object each, whatever is in them, and no secrets."""

import json
import logging
import sys
from typing import Any

import pytest

from neargate.kit.telemetry import JsonFormatter, configure_logging


def formatted(message: str, *arguments: object, error: bool = False, **extra: Any) -> dict[str, Any]:
    record = logging.getLogger("t").makeRecord(
        "t", logging.WARNING, "f.py", 1, message, arguments, sys.exc_info() if error else None, extra=extra
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    assert found.pop("at") == round(record.created, 3)
    return found


def test_a_line_has_its_message_and_extras() -> None:
    assert formatted("%d tasks\nwait", 3, cluster="a", count=2) == {
        "level": "warning",
        "logger": "t",
        "message": "3 tasks\nwait",
        "cluster": "a",
        "count": 2,
    }


def test_what_json_lacks_is_written_as_text() -> None:
    line = formatted("x", path=pytest, items={1}, raw=b"\xff", text="☂ \ud800")
    assert line["items"] == "{1}" and line["raw"] == repr(b"\xff") and "pytest" in line["path"]


def test_an_exception_is_in_its_line() -> None:
    try:
        raise ValueError("over\nthere")
    except ValueError:
        line = formatted("failed", error=True)
    assert "ValueError: over\nthere" in line["exception"] and "Traceback" in line["exception"]


@pytest.mark.parametrize(
    "name",
    ["secret_access_key", "Authorization", "session_token", "registry_password", "privateKey", "credentials"],
)
def test_extras_that_are_named_like_secrets_are_withheld(name: str) -> None:
    line = formatted("x", **{name: "hush", "access_key_id": "AKIA"})
    assert (line[name], line["access_key_id"]) == ("(withheld)", "AKIA")
    assert "hush" not in json.dumps(line)


@pytest.fixture
def restored() -> Any:
    """The process's logging, put back afterwards."""
    root, names = logging.getLogger(), ("httpx", "httpcore", "botocore")
    before = root.level, list(root.handlers), [logging.getLogger(n).level for n in names]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name, level in zip(names, before[2], strict=True):
        logging.getLogger(name).setLevel(level)


def test_lines_go_to_stderr_above_their_level(restored: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    logging.getLogger("neargate.x").debug("unheard")
    logging.getLogger("neargate.x").info("heard", extra={"n": 1})
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = [json.loads(line) for line in err.splitlines()]
    assert (line["message"], line["n"], line["level"]) == ("heard", 1, "info")


@pytest.mark.parametrize("name", ["httpx", "httpcore.http11", "botocore.auth"])
def test_libraries_that_tell_of_headers_are_silent_even_at_debug(
    restored: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    configure_logging("debug")
    logging.getLogger(name).info("Authorization: hush")
    logging.getLogger("neargate").debug("heard")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["heard"]
