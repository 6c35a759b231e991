"""Conditions of listener rules: what is valid, and the one shape in which they are kept. Pure.

Called by services/elbv2; the node's data plane makes matchers of the result.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import re2

from neargate.kit.errors import ApiError
from neargate.model.balancer_rules import wildcards

Condition = dict[str, Any]
_CONFIGS: Final = {
    "host-header": "HostHeaderConfig",
    "http-header": "HttpHeaderConfig",
    "http-request-method": "HttpRequestMethodConfig",
    "path-pattern": "PathPatternConfig",
    "query-string": "QueryStringConfig",
    "source-ip": "SourceIpConfig",
}
_ONCE: Final = ("host-header", "http-request-method", "path-pattern", "source-ip")
MAX_VALUES: Final = 5
MAX_WILDCARDS: Final = 6
_MAX_LENGTH: Final = 128
_HOST: Final = re.compile(r"[A-Za-z0-9.*?_-]+")
_LAST_LABEL: Final = re.compile(r"[A-Za-z*?]+")
_PATH: Final = re.compile(r"[A-Za-z0-9_.$/~\"'@:+&*?!,;=()%#-]+")
_METHOD: Final = re.compile(r"[A-Z_-]{1,40}")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}")
_REGEX_OPTIONS: Final = re2.Options()
_REGEX_OPTIONS.log_errors = False
_REGEX_OPTIONS.max_mem = 1 << 20


def invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message)


def made(given: Sequence[Mapping[str, Any]]) -> tuple[Condition, ...]:
    """The conditions of a request as they are kept: each with its field's own configuration.

    Raise ValidationError.
    """
    if not given:
        raise invalid("A condition must be specified")
    conditions = tuple(_condition(item) for item in given)
    for field in _ONCE:
        if sum(1 for condition in conditions if condition["Field"] == field) > 1:
            raise invalid(f"A rule can only have one '{field}' condition")
    values = [value for condition in conditions for value in _values(condition)]
    if len(values) > MAX_VALUES:
        raise invalid(f"A rule can only have '{MAX_VALUES}' condition values")
    stars = sum(wildcards(text, escapes=escapes) for text, escapes in values)
    if stars > MAX_WILDCARDS:
        raise invalid(f"A rule can only have '{MAX_WILDCARDS}' condition wildcards")
    return conditions


def _condition(given: Mapping[str, Any]) -> Condition:
    field = given.get("Field")
    if not field:
        raise invalid("A condition field must be specified")
    if field not in _CONFIGS:
        raise invalid(f"Condition field '{field}' must be one of '[{', '.join(sorted(_CONFIGS))}]'")
    config_name = _CONFIGS[field]
    for other in _CONFIGS.values():
        if other != config_name and given.get(other) is not None:
            raise invalid(f"{other} cannot be specified for a condition with the field '{field}'")
    config = dict(given.get(config_name) or {})
    for plain in ("Values", "RegexValues"):
        if given.get(plain):
            config[plain] = _plain(field, plain, given, config)
    made = _MAKERS[field](field, config)
    return {"Field": field, config_name: made}


def _plain(field: str, member: str, given: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """`Values` beside the field instead of in its configuration: the old form, for two fields only."""
    allowed = ("host-header", "path-pattern", *(("http-header",) if member == "RegexValues" else ()))
    if field not in allowed:
        raise invalid(f"{member} cannot be specified for the field '{field}'; use {_CONFIGS[field]}")
    if config.get(member):
        raise invalid(f"{member} and {_CONFIGS[field]} cannot both be specified for the field '{field}'")
    return list(given[member])


def _texts(
    field: str, config: Mapping[str, Any], check: Callable[[str], bool], *, regexes: bool
) -> dict[str, Any]:
    values, patterns = list(config.get("Values") or ()), list(config.get("RegexValues") or ())
    if values and patterns:
        raise invalid(f"Values and RegexValues cannot both be specified for the field '{field}'")
    if patterns and not regexes:
        raise invalid(f"RegexValues cannot be specified for the field '{field}'")
    if not values and not patterns:
        raise invalid("A condition value must be specified")
    for text in (*values, *patterns):
        if not text:
            raise invalid("A condition value must be specified")
        if len(text) > _MAX_LENGTH:
            raise invalid(f"The '{field}' value is too long; the limit is '{_MAX_LENGTH}'")
    for text in values:
        if not check(text):
            raise invalid(f"Condition value '{text}' contains a character that is not valid")
    for text in patterns:
        _check_regex(text)
    return {"RegexValues": patterns} if patterns else {"Values": values}


def _check_regex(text: str) -> None:
    try:
        re2.compile(text, _REGEX_OPTIONS)
    except (re2.error, UnicodeError):
        raise invalid(f"Condition value '{text}' is not a valid regular expression") from None


def _host(field: str, config: Mapping[str, Any]) -> dict[str, Any]:
    made = _texts(field, config, lambda text: _HOST.fullmatch(text) is not None, regexes=True)
    for text in made.get("Values", ()):
        name, dot, last = text.rpartition(".")
        if not (dot and name and _LAST_LABEL.fullmatch(last)):
            raise invalid(
                f"Condition value '{text}' must contain a '.', and only alphabetical characters and wildcards"
                " after the last one"
            )
    return made


def _path(field: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return _texts(field, config, lambda text: _PATH.fullmatch(text) is not None, regexes=True)


def _header(field: str, config: Mapping[str, Any]) -> dict[str, Any]:
    name = config.get("HttpHeaderName") or ""
    if not name:
        raise invalid("A HttpHeaderName must be specified")
    if len(name) > 40:
        raise invalid("The 'HttpHeaderName' value is too long; the limit is '40'")
    if not _HEADER_NAME.fullmatch(name):
        raise invalid(f"HttpHeaderName '{name}' contains a character that is not valid")
    if name.lower() == "host":
        raise invalid("HttpHeaderName cannot be 'host'; use a condition with the field 'host-header'")
    return {"HttpHeaderName": name, **_texts(field, config, _is_printable, regexes=True)}


def _is_printable(text: str) -> bool:
    return all(0x20 <= ord(character) < 0x7F for character in text)


def _method(field: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return _texts(field, config, lambda text: _METHOD.fullmatch(text) is not None, regexes=False)


def _query(field: str, config: Mapping[str, Any]) -> dict[str, Any]:
    pairs = []
    for item in config.get("Values") or ():
        key, value = item.get("Key"), item.get("Value")
        if not value:
            raise invalid("A condition value must be specified")
        for text in (key or "", value):
            if len(text) > _MAX_LENGTH:
                raise invalid(f"The '{field}' value is too long; the limit is '{_MAX_LENGTH}'")
            if not _is_printable(text):
                raise invalid(f"Condition value '{text}' contains a character that is not valid")
        pairs.append({"Key": key, "Value": value} if key else {"Value": value})
    if not pairs:
        raise invalid("A condition value must be specified")
    return {"Values": pairs}


def _source(field: str, config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("IpAddressType") is not None:
        raise invalid("IpAddressType cannot be specified for rules of application load balancers")
    values = list(config.get("Values") or ())
    if not values:
        raise invalid("A condition value must be specified")
    for text in values:
        try:
            if "/" not in text:
                raise ValueError
            ipaddress.ip_network(text)
        except ValueError:
            raise invalid(f"Condition value '{text}' must be a range of addresses in CIDR notation") from None
    return {"Values": values}


_MAKERS: Final[dict[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]]] = {
    "host-header": _host,
    "http-header": _header,
    "http-request-method": _method,
    "path-pattern": _path,
    "query-string": _query,
    "source-ip": _source,
}


def _values(condition: Condition) -> list[tuple[str, bool]]:
    """Each value's pattern, and whether it has escapes; for values without wildcards an empty pattern."""
    field = condition["Field"]
    config = condition[_CONFIGS[field]]
    values: list[Any] = config.get("Values") or config["RegexValues"]
    if field == "query-string":
        return [(f"{item.get('Key', '')}{item['Value']}", True) for item in values]
    patterned = field in ("host-header", "path-pattern", "http-header") and "Values" in config
    return [(value if patterned else "", False) for value in values]


def old_values(condition: Condition) -> list[str]:
    """The member `Values` that DescribeRules also shows, of the two oldest fields."""
    if condition["Field"] not in ("host-header", "path-pattern"):
        return []
    return list(condition[_CONFIGS[condition["Field"]]].get("Values") or ())
