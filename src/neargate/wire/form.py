"""Parameters of the query and EC2 protocols: `Filter.1.Value.2=x` read by shapes, compiled once.

Used by codec_query.py. A level of names is taken apart only where the model has members there, so that
hostile names cost neither memory nor depth.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from neargate.wire import bounds
from neargate.wire.shapes import Ref, Shape
from neargate.wire.values import (
    FLOATS,
    INTEGERS,
    STRINGS,
    Malformed,
    blob_of,
    boolean_of,
    float_of,
    integer_of,
    timestamp_of,
)

Pairs = list[tuple[str, str]]
Reader = Callable[[Pairs], Any]
"""Reads a value out of what stands below its name; its own text stands under the empty name."""

_MAX_NAME = 1024
_MAX_INDEX_DIGITS = 6


def pairs_of(text: str) -> Pairs:
    """Names and values of a form or a query string, in order. Raises Malformed on bytes that are no UTF-8."""
    if text.count("&") >= bounds.MAX_PARAMETERS:
        raise bounds.too_many(bounds.MAX_PARAMETERS, "parameters")
    pairs = []
    for part in text.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((decoded(name), decoded(value)))
    return pairs


def decoded(text: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text and text.isascii():
        return text
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("A parameter is not valid UTF-8") from None


def _grouped(pairs: Pairs) -> dict[str, Pairs]:
    groups: dict[str, Pairs] = {}
    for name, value in pairs:
        head, _, rest = name.partition(".")
        groups.setdefault(head, []).append((rest, value))
    return groups


def _text(pairs: Pairs) -> str:
    """The last value given under the very name."""
    for name, value in reversed(pairs):
        if not name:
            return value
    raise Malformed("A parameter has members where the service expects a plain value")


def _numbered(groups: Mapping[str, Pairs]) -> list[Pairs]:
    """Entries of a list in the order of their numbers; gaps between numbers close."""
    numbers = [
        name for name in groups if name.isascii() and name.isdigit() and len(name) <= _MAX_INDEX_DIGITS
    ]
    return [groups[name] for name in sorted(numbers, key=int)]


class Readers:
    def __init__(self, shapes: Mapping[str, Shape], *, ec2: bool) -> None:
        self._shapes = shapes
        self._ec2 = ec2
        self._made: dict[tuple[str, bool], Reader] = {}

    def of(self, ref: Ref) -> Reader:
        shape = self._shapes[ref.shape]
        flat = self._ec2 or ref.flattened or shape.flattened
        key = (ref.shape, flat)
        made = self._made.get(key)
        return made if made is not None else self._make(key, shape, flat)

    def _make(self, key: tuple[str, bool], shape: Shape, flat: bool) -> Reader:
        if shape.type == "structure":
            return self._structure(key, shape)
        if shape.type == "list":
            made = self._list(shape, flat)
        elif shape.type == "map":
            made = self._map(shape, flat)
        else:
            made = _scalar_reader(shape.type)
        self._made[key] = made
        return made

    def _structure(self, key: tuple[str, bool], shape: Shape) -> Reader:
        members: dict[str, tuple[str, Reader]] = {}

        def read(pairs: Pairs) -> dict[str, Any]:
            made = {}
            for head, rest in _grouped(pairs).items():
                found = members.get(head)
                if found is not None:
                    made[found[0]] = found[1](rest)
            return made

        self._made[key] = read  # A shape may hold itself: first the reader, then its members.
        for member, ref in shape.members.items():
            for name in self._names(member, ref):
                members[name] = (member, self.of(ref))
        return read

    def _names(self, member: str, ref: Ref) -> tuple[str, ...]:
        name = ref.location_name or member
        if self._ec2:
            return (ref.query_name or name[:1].upper() + name[1:],)
        shape = self._shapes[ref.shape]
        if shape.type == "list" and (ref.flattened or shape.flattened) and shape.member is not None:
            # Clients differ in which of the two names a flattened list's entries get.
            return (name, shape.member.location_name or name)
        return (name,)

    def _list(self, shape: Shape, flat: bool) -> Reader:
        assert shape.member is not None
        item = self.of(shape.member)
        name = "" if flat else shape.member.location_name or "member"

        def read(pairs: Pairs) -> list[Any]:
            groups = _grouped(pairs)
            if name:
                groups = _grouped(groups.get(name, []))
            return [item(rest) for rest in _numbered(groups)]

        return read

    def _map(self, shape: Shape, flat: bool) -> Reader:
        assert shape.key is not None and shape.value is not None
        key_name, value_name = shape.key.location_name or "key", shape.value.location_name or "value"
        key_of, value_of = self.of(shape.key), self.of(shape.value)

        def read(pairs: Pairs) -> dict[str, Any]:
            groups = _grouped(pairs)
            if not flat:
                groups = _grouped(groups.get("entry", []))
            made = {}
            for entry in map(_grouped, _numbered(groups)):
                if key_name not in entry:
                    raise Malformed("An entry of a map has no key")
                made[key_of(entry[key_name])] = value_of(entry[value_name]) if value_name in entry else None
            return made

        return read


def checked_names(pairs: Pairs) -> Pairs:
    for name, _ in pairs:
        if len(name) > _MAX_NAME:
            raise Malformed("A parameter's name is too long")
    return pairs


def _scalar_reader(kind: str) -> Reader:
    if kind in STRINGS:
        return _text
    if kind in INTEGERS:
        return lambda pairs: integer_of(_text(pairs), kind)
    if kind in FLOATS:
        return lambda pairs: float_of(_text(pairs), kind)
    if kind == "boolean":
        return lambda pairs: boolean_of(_text(pairs))
    if kind == "blob":
        return lambda pairs: blob_of(_text(pairs))
    assert kind == "timestamp", kind
    return lambda pairs: timestamp_of(_text(pairs))
