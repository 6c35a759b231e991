"""Which operation of a REST service a request is for: by method, path, and what its query string has.

Used by codec_rest.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from neargate.wire.http import Request
from neargate.wire.models import Operation, Service
from neargate.wire.values import Malformed

_LABEL = re.compile(r"\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Route:
    operation: Operation
    pattern: re.Pattern[str]
    labels: tuple[str, ...]
    constants: tuple[tuple[str, str | None], ...]
    """Parts of the query string that the model has in the path; a value of None may be anything."""
    needed_query: tuple[str, ...]
    needed_headers: tuple[str, ...]
    literal: int
    """How many characters of the path are fixed: of two that match, the one with more is meant."""

    def fits(self, query: Mapping[str, list[str]]) -> bool:
        return all(
            name in query and (value is None or value in query[name]) for name, value in self.constants
        )

    def rank(self, query: Mapping[str, list[str]], headers: Mapping[str, str]) -> tuple[int, ...]:
        have = sum(name in query for name in self.needed_query)
        have += sum(name in headers for name in self.needed_headers)
        whole = have == len(self.needed_query) + len(self.needed_headers)
        # S3 has operations that took over another's place, e.g. PutBucketLifecycleConfiguration.
        return len(self.constants), whole, have, self.literal, not self.operation.model.deprecated


class Router:
    def __init__(self, service: Service) -> None:
        self._by_method: dict[str, list[Route]] = {}
        for operation in service.operations.values():
            route = _route(service, operation)
            self._by_method.setdefault(operation.model.http.method, []).append(route)

    def find(self, request: Request, query: Mapping[str, list[str]]) -> Route | None:
        matching = [
            route
            for route in self._by_method.get(request.method, ())
            if route.pattern.fullmatch(request.path) and route.fits(query)
        ]
        return max(matching, key=lambda route: route.rank(query, request.headers), default=None)


def labels_of(route: Route, path: str) -> dict[str, str]:
    """The labels' values, decoded. Raises Malformed."""
    found = route.pattern.fullmatch(path)
    if found is None:
        raise Malformed("The path is not the operation's")
    try:
        values = [unquote_to_bytes(text).decode("utf-8") for text in found.groups()]
    except UnicodeDecodeError:
        raise Malformed("The path is not valid UTF-8") from None
    return dict(zip(route.labels, values, strict=True))


def _route(service: Service, operation: Operation) -> Route:
    path, _, constants = operation.model.http.request_uri.partition("?")
    parts = _LABEL.split(path)
    names = parts[1::2]
    pattern = "".join(
        re.escape(part) if place % 2 == 0 else "(.+)" if part.endswith("+") else "([^/]+)"
        for place, part in enumerate(parts)
    )
    if not path.endswith("+}"):
        # A slash too many at the end is forgiven, but it is part of a label that takes slashes.
        pattern = pattern.removesuffix("/") + "/?"
    query: list[str] = []
    headers: list[str] = []
    shape = service.shapes[operation.input.shape] if operation.input else None
    for member in shape.required if shape is not None else ():
        ref = shape.members[member]  # type: ignore[union-attr]
        if ref.location == "querystring":
            query.append(ref.location_name or member)
        elif ref.location == "header":
            headers.append((ref.location_name or member).lower())
    return Route(
        operation,
        re.compile(pattern),
        tuple(name.removesuffix("+") for name in names),
        tuple(_constants(constants)),
        tuple(query),
        tuple(headers),
        sum(map(len, parts[::2])) - (1 if path.endswith("+}") else 0),
    )


def _constants(text: str) -> list[tuple[str, str | None]]:
    made: list[tuple[str, str | None]] = []
    for part in text.split("&"):
        name, equals, value = part.partition("=")
        if name:
            made.append((name, value if equals and value else None))
    return made
