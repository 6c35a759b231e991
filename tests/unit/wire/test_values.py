"""Scalars read and written; what no value is made of is refused."""

import math

import pytest
from botocore.utils import parse_timestamp
from hypothesis import given
from hypothesis import strategies as st

from neargate.wire import values
from neargate.wire.values import Malformed

_YEAR_1000 = -30610224000
SECONDS = st.integers(-62135596800, 253402300799)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2014-04-29T18:30:38Z", 1398796238),
        ("2014-04-29T18:30:38.25Z", 1398796238.25),
        ("2014-04-29T20:30:38+02:00", 1398796238),
        ("2014-04-29T18:30:38+0000", 1398796238),
        ("2014-04-29", 1398729600),
        ("Tue, 29 Apr 2014 18:30:38 GMT", 1398796238),
        ("Sun, 02 Jan 2000 20:34:56.456 GMT", 946845296.456),
        ("1398796238", 1398796238),
        ("1.398796238e9", 1398796238),
        (1398796238.5, 1398796238.5),
        (-1, -1),
    ],
)
def test_timestamps(text: str | float, seconds: float) -> None:
    assert values.timestamp_of(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "2014-13-01T00:00:00Z", "2014-02-30", "2014-04-29T25:00:00Z", "NaN", "Infinity", "1e400",
        "99999999999999999999", math.nan, math.inf, 10**30, -(10**30), True, None, b"1", [],
        "0000-01-01T00:00:00Z",
        "Tue, 99 Apr 2014 18:30:38 GMT", "Tue, 29 Apr 99999999 18:30:38 GMT", "1" * 5000, "٣",
    ],
)  # fmt: skip
def test_no_timestamps(text: object) -> None:
    with pytest.raises(Malformed):
        values.timestamp_of(text)


@given(SECONDS, st.sampled_from(["iso8601", "rfc822", "unixTimestamp"]))
def test_timestamps_are_read_back(seconds: int, form: str) -> None:
    if form == "rfc822":
        seconds = max(seconds, _YEAR_1000)  # An HTTP date's year of two digits is one of our time.
    text = values.timestamp_text(seconds, form)
    assert values.timestamp_of(text) == seconds


@given(st.integers(-(10**12), 10**12))
def test_milliseconds_are_read_by_the_client(milliseconds: int) -> None:
    text = values.timestamp_text(milliseconds / 1000, "iso8601")
    assert round(parse_timestamp(text).timestamp() * 1000) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "x", "1.5", "1e3", "0x10", "1_000", " 1", "٣", "9" * 5000, "2147483648"]
)
def test_no_integers(text: str) -> None:
    with pytest.raises(Malformed):
        values.integer_of(text, "integer")


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1e", "0x1p3", "1_0", "1e99999", "--1"])
def test_no_floats(text: str) -> None:
    with pytest.raises(Malformed):
        values.float_of(text, "double")


def test_floats() -> None:
    assert values.float_of("1.5e3", "double") == 1500.0
    assert math.isnan(values.float_of("NaN", "double"))
    assert values.float_of("-Infinity", "double") == -math.inf


@pytest.mark.parametrize("text", ["a", "====", "YQ", "YQ=", "Y Q=", "é", "YQ==x"])
def test_no_base64(text: str) -> None:
    with pytest.raises(Malformed):
        values.blob_of(text)


@given(st.binary())
def test_base64(data: bytes) -> None:
    assert values.blob_of(values.blob_text(data)) == data
