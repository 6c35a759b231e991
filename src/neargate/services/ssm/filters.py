"""ParameterFilters (and the older Filters), checked and turned into one question about a parameter. Pure.

Used by paths.py.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.parameter import Parameter, is_below
from neargate.services.ssm import names

Test = Callable[[Parameter], bool]

_BY_PATH = ("Type", "KeyId", "Label", "Tier", "DataType")
_DESCRIBED = ("Path", "Name", "Type", "KeyId", "Tier", "DataType")
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "Path": ("Recursive", "OneLevel"),
    "Name": ("BeginsWith", "Equals", "Contains"),
    "Type": ("BeginsWith", "Equals"),
    "KeyId": ("BeginsWith", "Equals"),
}
_TEXTS: Mapping[str, Callable[[Parameter], Sequence[str]]] = {
    "Name": lambda p: [p.name],
    "Type": lambda p: [p.latest.type],
    "KeyId": lambda p: [key for key in (names.key_id(p.latest),) if key],
    "Tier": lambda p: [p.latest.tier],
    "DataType": lambda p: [p.latest.data_type],
    "Label": lambda p: list(p.labels),
}


def by_path(given: Sequence[Mapping[str, Any]]) -> Test:
    """Of GetParametersByPath."""
    return _all([_test(item, _BY_PATH, tags=False) for item in given])


def labels(given: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Those that versions are asked for by."""
    return frozenset(value for item in given if item["Key"] == "Label" for value in item.get("Values") or ())


def described(given: Sequence[Mapping[str, Any]], older: Sequence[Mapping[str, Any]]) -> Test:
    """Of DescribeParameters: ParameterFilters or Filters."""
    if given and older:
        raise names.invalid("You can use either Filters or ParameterFilters in a single request.")
    old = [{"Key": item["Key"], "Option": "BeginsWith", "Values": item["Values"]} for item in older]
    return _all([_test(item, _DESCRIBED, tags=True) for item in (*given, *old)])


def _all(tests: Sequence[Test]) -> Test:
    return lambda parameter: all(test(parameter) for test in tests)


def _test(item: Mapping[str, Any], allowed: Sequence[str], *, tags: bool) -> Test:
    """Raise InvalidFilterKey, InvalidFilterOption, InvalidFilterValue."""
    key: str = item["Key"]
    is_tag = key.startswith("tag:")
    if key not in allowed and not (is_tag and tags):
        shown = ", ".join(allowed)
        raise ApiError(
            "InvalidFilterKey",
            f"The following filter key is not valid: {key}. Valid filter keys include: [{shown}].",
        )
    options = _OPTIONS.get(key, ("Equals",))
    option = item.get("Option") or ("OneLevel" if key == "Path" else "Equals")
    if option not in options:
        raise ApiError(
            "InvalidFilterOption",
            f"The following filter option is not valid: {option}. Valid options include: "
            f"[{', '.join(options)}].",
        )
    values: Sequence[str] = item.get("Values") or ()
    if is_tag:
        return _tag(key.removeprefix("tag:"), values)
    if not values:
        raise ApiError(
            "InvalidFilterValue", f"The following filter values are missing : null for filter key {key}."
        )
    if key == "Path":
        if any(not value.startswith("/") for value in values):
            raise ApiError("InvalidFilterValue", "The path must begin with a slash: /.")
        return lambda p: any(is_below(p.name, value, option == "Recursive") for value in values)
    return _text(_TEXTS[key], option, values)


def _tag(key: str, values: Sequence[str]) -> Test:
    return lambda p: key in p.tags and (not values or p.tags[key] in values)


def _text(texts: Callable[[Parameter], Sequence[str]], option: str, values: Sequence[str]) -> Test:
    if option == "BeginsWith":
        return lambda p: any(text.startswith(value) for text in texts(p) for value in values)
    if option == "Contains":
        return lambda p: any(value in text for text in texts(p) for value in values)
    return lambda p: any(text in values for text in texts(p))
