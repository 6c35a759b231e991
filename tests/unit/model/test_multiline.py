"""awslogs-datetime-format and awslogs-multiline-pattern."""

import datetime
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.multiline import MultilineError, datetime_regex, line_starts


@pytest.mark.parametrize(
    ("datetime_format", "line", "starts"),
    [
        (r"\[%b %d, %Y %H:%M:%S\]", "[May 01, 2017 19:00:01] A message", True),
        (r"\[%b %d, %Y %H:%M:%S\]", "    at com.example.Thing", False),
        ("%Y-%m-%dT%H:%M:%S%L", "2026-11-24T09:13:15.123 up", True),
        ("%Y-%m-%dT%H:%M:%S%z", "2026-11-24T09:13:15+0100 up", True),
        ("%A %B %I:%M %p %Z", "Tuesday November 9:13 AM UTC", False),
        ("%A %B %I:%M %p %Z", "Tuesday November 09:13 AM GMT", True),
    ],
)
def test_formats(datetime_format: str, line: str, starts: bool) -> None:
    begins = line_starts(datetime_format=datetime_format)
    assert begins is not None and begins(line) is starts


@given(st.datetimes(timezones=st.just(datetime.UTC)).filter(lambda moment: moment.year >= 1000))
def test_what_strftime_writes_is_found(moment: datetime.datetime) -> None:
    for code in "aAwdbBmYyHIpMSf":
        assert re.fullmatch(datetime_regex(f"%{code}"), moment.strftime(f"%{code}")), code


def test_patterns() -> None:
    assert line_starts() is None
    begins = line_starts(multiline_pattern="^(INFO|WARN)")
    assert begins is not None
    assert begins("INFO x") and not begins(" INFO") and not begins("\x00\ufffd")


@pytest.mark.parametrize("pattern", ["(", "a**b(", r"(?=x)", r"\1", "a{1001}"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(MultilineError, match="could not parse"):
        line_starts(multiline_pattern=pattern)


def test_both_options_are_refused() -> None:
    with pytest.raises(MultilineError, match="at the same time"):
        line_starts("%Y", "^x")
