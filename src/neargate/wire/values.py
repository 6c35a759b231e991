"""Scalars as the protocols write them, read and written: timestamps, numbers, booleans, base64.

Called by the codecs. What cannot be read raises Malformed, which a codec turns into its protocol's error.
"""

import binascii
import math
import re
from base64 import b64encode
from calendar import timegm
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_tz
from typing import Any

INTEGERS = {
    "byte": (-(2**7), 2**7 - 1),
    "short": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
    "biginteger": (-(2**255), 2**255),
}
FLOATS = frozenset({"float", "double", "bigdecimal"})
STRINGS = frozenset({"string", "character"})
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FIRST, _LAST = -62135596800.0, 253402300800.0
"""The years 1 to 9999, outside of which no timestamp can be written."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,80}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(\.\d{1,12})?)?\s*([Zz]|[+-]\d\d:?\d\d)?)?"
)


class Malformed(Exception):
    """A request's text that is no value of the type the model has there."""


def integer_of(text: str, kind: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise Malformed(f"'{shown(text)}' is not a valid {kind}")
    return checked_integer(int(text), kind)


def checked_integer(value: int, kind: str) -> int:
    low, high = INTEGERS[kind]
    if not low <= value <= high:
        raise Malformed(f"{shown(str(value))} is out of range for {kind}")
    return value


def float_of(text: str, kind: str) -> float:
    special = _SPECIAL.get(text)
    if special is not None:
        return special
    if not _FLOAT.fullmatch(text):
        raise Malformed(f"'{shown(text)}' is not a valid {kind}")
    return float(text)


def boolean_of(text: str) -> bool:
    lower = text.lower()
    if lower not in ("true", "false"):
        raise Malformed(f"'{shown(text)}' is not a valid boolean")
    return lower == "true"


def blob_of(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:
        raise Malformed("A blob is not valid base64") from None


def blob_text(value: bytes | str) -> str:
    return b64encode(value.encode() if isinstance(value, str) else value).decode()


def timestamp_of(value: Any) -> float:
    """Seconds since the epoch, of any form that AWS's clients send, whichever the model names."""
    if type(value) is str:
        return _in_range(_of_text(value.strip()), value)
    if type(value) is int or type(value) is float:
        return _in_range(value, str(value))
    raise Malformed(f"'{shown(str(value))}' is not a valid timestamp")


def _in_range(seconds: float | None, text: str) -> float:
    if seconds is None or not _FIRST <= seconds < _LAST:
        raise Malformed(f"'{shown(text)}' is not a valid timestamp")
    return float(seconds)


def _of_text(text: str) -> float | None:
    if _FLOAT.fullmatch(text):
        return float(text)
    found = _ISO.fullmatch(text)
    if found is None:
        return _of_http_date(text)
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    try:
        at = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    zone = (found[8] or "Z").replace(":", "")
    offset = 0 if zone in "Zz" else int(zone[0] + "1") * (int(zone[1:3]) * 3600 + int(zone[3:5]) * 60)
    return timegm(at.utctimetuple()) - offset + float(found[7] or 0)


def _of_http_date(text: str) -> float | None:
    # The day's fraction of a second, which botocore's vectors have, is unknown to the standard library.
    whole, _, fraction = text.partition(".")
    digits, _, rest = fraction.partition(" ")
    if digits and not digits.isdecimal():
        return None
    parsed = parsedate_tz(f"{whole} {rest}" if digits else text) if len(text) < 64 else None
    if parsed is None:
        return None
    try:
        at = datetime(*parsed[:6], tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return timegm(at.utctimetuple()) - (parsed[9] or 0) + float(f"0.{digits or 0}")


def timestamp_text(value: float, form: str) -> str:
    """`form` -- iso8601, rfc822 or unixTimestamp. Milliseconds are kept, except in rfc822."""
    if form == "rfc822":
        return formatdate(value, usegmt=True)
    if form == "unixTimestamp":
        return number_text(value)
    # Rounded first: 1.9996 s is the next second's 000 ms, not this one's 1000.
    milliseconds = round(value * 1000)
    at = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(tzinfo=None).isoformat()
    part = milliseconds % 1000
    return f"{at}.{part:03d}Z" if part else f"{at}Z"


def number_text(value: float) -> str:
    if type(value) is float:
        if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        if not math.isfinite(value):
            return str(special_float(value))
    return str(value)


def special_float(value: float) -> float | str:
    """A float as JSON can write it."""
    if value != value:
        return "NaN"
    if value in (math.inf, -math.inf):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def shown(text: str) -> str:
    """A client's text as an error may repeat it."""
    return text if len(text) <= 100 else text[:100] + "..."
