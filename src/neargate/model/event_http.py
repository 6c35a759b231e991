"""Records of API destinations and their connections, and the request that an event becomes. Pure.

Written by services/events; control/event_targets sends the request. What a connection knows is sealed.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from neargate.model import sealed
from neargate.model.record import Record

DEFAULT_RATE = 300
"""Requests per second."""
_STANDARD = {
    "User-Agent": "Amazon/EventBridge/ApiDestinations",
    "Content-Type": "application/json; charset=utf-8",
}
_OURS = frozenset(("host", "content-length", "transfer-encoding", "connection", "te", "upgrade"))
"""Headers that say how the request is sent, which nobody sets."""
_PARAMETERS = ("HeaderParameters", "QueryStringParameters", "BodyParameters")


class Connection(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    description: str = ""
    authorization: str
    """BASIC or API_KEY."""
    sealed: bytes
    """AuthParameters as they were given, secrets included: JSON, encrypted."""
    created_at: float = 0.0
    modified_at: float = 0.0


class ApiDestination(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    description: str = ""
    connection_arn: str
    endpoint: str
    """A URL; each `*` in its path is filled by the target."""
    method: str
    rate: int = DEFAULT_RATE
    created_at: float = 0.0
    modified_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Sent:
    method: str
    url: str
    headers: dict[str, str]
    body: str


def seal(key: bytes, arn: str, parameters: Mapping[str, Any], nonce: bytes) -> bytes:
    return sealed.seal(key, _context(arn), json.dumps(parameters).encode(), nonce)


def opened(key: bytes, connection: Connection) -> dict[str, Any]:
    """Raise sealed.SealError."""
    found: dict[str, Any] = json.loads(sealed.unseal(key, _context(connection.arn), connection.sealed))
    return found


def _context(arn: str) -> bytes:
    return f"connection {arn}".encode()


def shown(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """AuthParameters without what is secret."""
    visible: dict[str, Any] = {}
    if basic := parameters.get("BasicAuthParameters"):
        visible["BasicAuthParameters"] = {"Username": basic["Username"]}
    if api := parameters.get("ApiKeyAuthParameters"):
        visible["ApiKeyAuthParameters"] = {"ApiKeyName": api["ApiKeyName"]}
    if http := parameters.get("InvocationHttpParameters"):
        visible["InvocationHttpParameters"] = {
            name: [_without_secret(item) for item in http[name]] for name in _PARAMETERS if http.get(name)
        }
    return visible


def _without_secret(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "Value" or not item.get("IsValueSecret")}


def is_allowed(endpoint: str, hosts: str) -> bool:
    """Whether the operator named the URL's host. hosts -- comma-separated `host` or `host:port`."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return False
    named = {host.strip().lower() for host in hosts.split(",") if host.strip()}
    return bool(named & {parts.hostname, f"{parts.hostname}:{port}"})


def request_of(
    destination: ApiDestination,
    authorization: str,
    parameters: Mapping[str, Any],
    target: Mapping[str, Any],
    payload: str,
) -> Sent:
    """parameters -- of the connection. target -- HttpParameters of the target."""
    headers = {**_STANDARD, **(target.get("HeaderParameters") or {})}
    query = list((target.get("QueryStringParameters") or {}).items())
    http = parameters.get("InvocationHttpParameters") or {}
    headers |= dict(_pairs(http.get("HeaderParameters")))
    query += _pairs(http.get("QueryStringParameters"))
    if authorization == "BASIC":
        basic = parameters["BasicAuthParameters"]
        word = base64.b64encode(f"{basic['Username']}:{basic['Password']}".encode()).decode()
        headers["Authorization"] = f"Basic {word}"
    else:
        api = parameters["ApiKeyAuthParameters"]
        headers[api["ApiKeyName"]] = api["ApiKeyValue"]
    # Blanks around a value are none of it, and not valid: a pasted key often has one.
    headers = {name: value.strip(" \t") for name, value in headers.items() if name.lower() not in _OURS}
    url = _url(destination.endpoint, target.get("PathParameterValues") or (), query)
    body = "" if destination.method in ("GET", "HEAD") else _body(payload, http.get("BodyParameters"))
    return Sent(destination.method, url, headers, body)


def _pairs(items: Iterable[Mapping[str, Any]] | None) -> list[tuple[str, str]]:
    return [(item.get("Key") or "", item.get("Value") or "") for item in items or ()]


def _url(endpoint: str, values: Iterable[str], query: list[tuple[str, str]]) -> str:
    """Only the path is filled: a value cannot turn the request to another host."""
    parts = urlsplit(endpoint)
    path = parts.path
    for value in values:
        path = path.replace("*", quote(value, safe=""), 1)
    text = "&".join(each for each in (parts.query, urlencode(query)) if each)
    return parts._replace(path=path, query=text, fragment="").geturl()


def _body(payload: str, more: Iterable[Mapping[str, Any]] | None) -> str:
    if not more:
        return payload
    try:
        value = json.loads(payload)
    except ValueError:
        return payload
    return json.dumps({**value, **dict(_pairs(more))}) if isinstance(value, dict) else payload
