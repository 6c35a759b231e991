"""What requests to CloudWatch hold: dimensions, statistics, periods, paging tokens; and its errors.

For services/cloudwatch only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.metric_statistics import BASIC, statistic
from neargate.services import paging

PERIODS = (1, 5, 10, 20, 30)
"""Seconds, of high resolution; else multiples of a minute."""
_LONGEST_PERIOD = 86_400 * 365
_MAX_TAGS = 50
Dimensions = tuple[tuple[str, str], ...]


def invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterValue", message)


def clash(message: str) -> ApiError:
    return ApiError("InvalidParameterCombination", message)


def missing(name: str) -> ApiError:
    return ApiError("MissingParameter", f"The parameter {name} is required.")


def refused(message: str) -> ApiError:
    return ApiError("ValidationError", message)


def not_found(message: str) -> ApiError:
    return ApiError("ResourceNotFound", message)


def text(value: str, name: str) -> str:
    """A text that holds nothing unprintable."""
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise invalid(f"The parameter {name} must not contain control characters.")
    return value


def prose(value: str | None, name: str) -> str | None:
    """A text of several lines."""
    if value is not None:
        text("".join(part for part in value if part not in "\n\r\t"), name)
    return value


def read_dimensions(given: Sequence[Mapping[str, Any]] | None, name: str) -> Dimensions:
    """In the order given. name -- of the parameter, for errors."""
    found: dict[str, str] = {}
    for place, item in enumerate(given or (), 1):
        where = f"{name}.member.{place}"
        key, value = item.get("Name"), item.get("Value")
        if key is None or value is None:
            raise missing(f"{where}.{'Name' if key is None else 'Value'}")
        for part, what in ((key, "Name"), (value, "Value")):
            text(part, f"{where}.{what}")
            if not part.strip():
                raise invalid(f"The parameter {where}.{what} must not be empty.")
            if not part.isascii():
                raise invalid(f"The parameter {where}.{what} must contain only ASCII characters.")
        if key.startswith(":"):
            raise invalid(f"The value {key} for parameter {where}.Name is invalid.")
        if key in found:
            raise invalid(f"The parameter {name} names the dimension {key} twice.")
        found[key] = value
    return tuple(found.items())


def shown_dimensions(dimensions: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in dimensions]


def check_period(period: int, name: str, allowed: Sequence[int] = PERIODS) -> int:
    if period not in allowed and (period < 60 or period % 60):
        short = ", ".join(map(str, allowed))
        raise invalid(f"The parameter {name} must be {short} or a multiple of 60.")
    if period > _LONGEST_PERIOD:
        raise invalid(f"The parameter {name} must be at most {_LONGEST_PERIOD}.")
    return period


def check_statistic(name: str, parameter: str) -> str:
    if statistic(name) is None:
        raise invalid(f"The value {name} for parameter {parameter} is not supported.")
    return name


def check_extended(name: str, parameter: str) -> str:
    if name in BASIC:
        raise invalid(f"The value {name} for parameter {parameter} is not supported.")
    return check_statistic(name, parameter)


def token(value: Any) -> str:
    """An opaque paging token that carries a text, a number, or a list of such."""
    return paging.token_of(value if isinstance(value, list) else [value])


def untoken(given: str | None, kind: type) -> Any:
    """What `token` was given, None of no token. Raises InvalidNextToken."""
    if given is None:
        return None
    parts = paging.parts(given, bad_token)
    value = parts if kind is list else parts[0] if len(parts) == 1 else None
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < 2**62):
        raise bad_token()
    if isinstance(value, str) and not value.isprintable():
        raise bad_token()
    return value


def bad_token() -> ApiError:
    return ApiError("InvalidNextToken", "The next token specified is invalid.")


def read_tags(
    given: Iterable[Mapping[str, str]] | None, old: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Tags of a request on top of old ones."""
    tags = dict(old or {})
    for item in given or ():
        key, value = item.get("Key", ""), item.get("Value", "")
        if not key or key.lower().startswith("aws:"):
            raise invalid("Tag keys must have 1 to 128 characters and must not begin with aws:.")
        tags[text(key, "Tags")] = text(value, "Tags")
    if len(tags) > _MAX_TAGS:
        raise invalid(f"A resource can have {_MAX_TAGS} tags at most.")
    return tags
