"""A listener rule's conditions as an Envoy route match. Called by model/envoy_routes.py.

Values of one condition are alternatives, conditions of a rule must all hold; `*` and `?` are wildcards. Each
becomes one regular expression (RE2, linear time). Source addresses are matched as a header that the listener
sets before any rule is tried.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from neargate.model.balancer_rules import pattern_regex

SOURCE_HEADER = "x-neargate-source"


def match(conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A RouteMatch."""
    found: dict[str, Any] = {"prefix": "/"}
    headers: list[dict[str, Any]] = []
    for condition in conditions:
        match condition["Field"]:
            case "path-pattern":
                found = {**_path(condition["PathPatternConfig"])}
            case "host-header":
                headers.append(_host(condition["HostHeaderConfig"]))
            case "http-header":
                headers.append(_header(condition["HttpHeaderConfig"]))
            case "http-request-method":
                headers.append(_method(condition["HttpRequestMethodConfig"]))
            case "query-string":
                headers.append(_query(condition["QueryStringConfig"]))
            case "source-ip":
                headers.append(_source(condition["SourceIpConfig"]))
            case other:
                raise ValueError(f"no such condition: {other}")
    return {**found, "headers": headers} if headers else found


def _any(patterns: Sequence[str]) -> str:
    return "(?:" + "|".join(patterns) + ")"


def _on(header: str, regex: str) -> dict[str, Any]:
    return {"name": header, "string_match": {"safe_regex": {"regex": regex}}}


def _path(config: Mapping[str, Any]) -> dict[str, Any]:
    """Case counts. `/static/*`, the usual kind, needs no expression."""
    values = list(config.get("Values", ()))
    regexes = list(config.get("RegexValues", ()))
    if len(values) == 1 and not regexes:
        value = values[0]
        if not set("*?") & set(value):
            return {"path": value}
        if value.startswith("/") and value.endswith("*") and not set("*?") & set(value[:-1]):
            return {"prefix": value[:-1]}
    return {"safe_regex": {"regex": "(?s)" + _any([*map(pattern_regex, values), *map(_anywhere, regexes)])}}


def _anywhere(regex: str) -> str:
    """Envoy's expressions are matched whole, AWS's are found."""
    return f".*(?:{regex}).*"


def _host(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without the port; case does not count."""
    values = [*map(pattern_regex, config.get("Values", ())), *map(_anywhere, config.get("RegexValues", ()))]
    return _on(":authority", f"(?i){_any(values)}(?::[0-9]+)?")


def _header(config: Mapping[str, Any]) -> dict[str, Any]:
    values = [*map(pattern_regex, config.get("Values", ())), *map(_anywhere, config.get("RegexValues", ()))]
    return _on(config["HttpHeaderName"].lower(), f"(?is){_any(values)}")


def _method(config: Mapping[str, Any]) -> dict[str, Any]:
    return _on(":method", _any([re.escape(value) for value in config["Values"]]))


def _query(config: Mapping[str, Any]) -> dict[str, Any]:
    """Any of the pairs, anywhere in the query; a pair without a key is about any key's value."""
    pairs = []
    for pair in config["Values"]:
        key = pattern_regex(pair["Key"], "[^&=]", escapes=True) if pair.get("Key") else "[^&=]*"
        pairs.append(f"{key}={pattern_regex(pair['Value'], '[^&]', escapes=True)}")
    return _on(":path", rf"(?is)[^?]*\?(?:[^&]*&)*{_any(pairs)}(?:&.*)?")


def _source(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of IPv4 only: balancers have no other addresses."""
    networks = [ipaddress.ip_network(value, strict=False) for value in config["Values"]]
    regexes = [network_regex(network) for network in networks if network.version == 4]
    return _on(SOURCE_HEADER, _any(regexes or ["never"]))


def network_regex(network: ipaddress.IPv4Network) -> str:
    """The written form of a network's addresses."""
    parts = []
    for low, high in zip(network.network_address.packed, network.broadcast_address.packed, strict=True):
        if (low, high) == (0, 255):
            parts.append("[0-9]+")
        else:
            parts.append(str(low) if low == high else _any([str(n) for n in range(low, high + 1)]))
    return r"\.".join(parts)
