"""Members of REST requests and answers that stand outside the body: labels of the path, the query string,
headers, the status. Texts in, values out, and the other way round, compiled once per operation.

Used by codec_rest.py.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from neargate.wire import json_body
from neargate.wire.shapes import Ref, Shape
from neargate.wire.values import (
    FLOATS,
    INTEGERS,
    STRINGS,
    Malformed,
    blob_of,
    blob_text,
    boolean_of,
    float_of,
    integer_of,
    timestamp_of,
)
from neargate.wire.xml_writer import scalar_format

TextReader = Callable[[str], Any]
TextWriter = Callable[[Any], str]
Query = Mapping[str, list[str]]

_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^,]*))\s*(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")


def scalar_reader(ref: Ref, shape: Shape) -> TextReader:
    kind = shape.type
    if kind in STRINGS:
        return _json_header if ref.jsonvalue or shape.jsonvalue else str
    if kind in INTEGERS:
        return lambda text: integer_of(text.strip(), kind)
    if kind in FLOATS:
        return lambda text: float_of(text.strip(), kind)
    return {"boolean": boolean_of, "blob": blob_of, "timestamp": timestamp_of}[kind]


def _json_header(text: str) -> Any:
    return json_body.decode(blob_of(text))


def split_header(text: str) -> list[str]:
    """The items of a header that is a list; one that holds commas stands in double quotes."""
    items = []
    place = 0
    while place < len(text):
        found = _ITEM.match(text, place)
        if found is None or found.end() == place:
            raise Malformed("A header is not a list of values")
        quoted, plain = found.groups()
        items.append(_ESCAPED.sub(r"\1", quoted) if quoted is not None else plain.strip())
        place = found.end()
    return items


def _header_reader(ref: Ref, shape: Shape, shapes: Mapping[str, Shape]) -> TextReader:
    if shape.type != "list":
        return scalar_reader(ref, shape)
    assert shape.member is not None
    inner = shapes[shape.member.shape]
    item = scalar_reader(shape.member, inner)
    if inner.type == "timestamp":
        return lambda text: [item(part) for part in _split_dates(text)]
    return lambda text: [item(part) for part in split_header(text)]


def _split_dates(text: str) -> list[str]:
    """HTTP dates hold a comma each, after the weekday; other forms hold none."""
    parts = [part.strip() for part in text.split(",")]
    dates: list[str] = []
    for part in parts:
        if dates and dates[-1].isalpha():
            dates[-1] += f", {part}"
        else:
            dates.append(part)
    return dates


@dataclass(slots=True)
class Inputs:
    """What an operation takes from outside the body, by wire name."""

    labels: dict[str, tuple[str, TextReader]] = field(default_factory=dict)
    query: dict[str, tuple[str, TextReader, bool]] = field(default_factory=dict)
    """Member, reader, and whether it is a list."""
    query_maps: list[tuple[str, bool]] = field(default_factory=list)
    """Members that take the whole query string; whether their values are lists."""
    headers: dict[str, tuple[str, TextReader]] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)

    def read(
        self, labels: Mapping[str, str], query: Query, headers: Mapping[str, str], constants: frozenset[str]
    ) -> dict[str, Any]:
        """Raises Malformed."""
        made: dict[str, Any] = {}
        for name, text in labels.items():
            if name in self.labels:
                member, reader = self.labels[name]
                made[member] = reader(text)
        for name, (member, reader, many) in self.query.items():
            if name in query:
                texts = query[name]
                made[member] = [reader(text) for text in texts] if many else reader(texts[-1])
        for member, many in self.query_maps:
            rest = {name: texts for name, texts in query.items() if name not in constants}
            if rest:
                made[member] = rest if many else {name: texts[0] for name, texts in rest.items()}
        for name, (member, reader) in self.headers.items():
            if name in headers:
                made[member] = reader(headers[name])
        for prefix, member in self.prefixes.items():
            found = {n[len(prefix) :]: v for n, v in headers.items() if n.startswith(prefix)}
            if found:
                made[member] = found
        return made


def inputs_of(shape: Shape, shapes: Mapping[str, Shape]) -> Inputs:
    made = Inputs()
    for member, ref in shape.members.items():
        inner = shapes[ref.shape]
        name = ref.location_name or member
        if ref.location == "uri":
            made.labels[name] = (member, scalar_reader(ref, inner))
        elif ref.location == "header":
            made.headers[name.lower()] = (member, _header_reader(ref, inner, shapes))
        elif ref.location == "headers":
            made.prefixes[ref.location_name.lower()] = member
        elif ref.location == "querystring":
            if inner.type == "map":
                assert inner.value is not None
                made.query_maps.append((member, shapes[inner.value.shape].type == "list"))
            elif inner.type == "list":
                assert inner.member is not None
                made.query[name] = (member, scalar_reader(inner.member, shapes[inner.member.shape]), True)
            else:
                made.query[name] = (member, scalar_reader(ref, inner), False)
    return made


@dataclass(slots=True)
class Outputs:
    """What a result says outside the body, by member."""

    headers: dict[str, tuple[str, TextWriter]] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)
    status: str = ""

    def write(self, result: Mapping[str, Any], headers: dict[str, str]) -> None:
        for member, (name, writer) in self.headers.items():
            value = result.get(member)
            if value is not None and value != []:
                headers[name] = writer(value)
        for member, prefix in self.prefixes.items():
            for name, value in (result.get(member) or {}).items():
                headers[prefix + name.lower()] = value


def outputs_of(shape: Shape, shapes: Mapping[str, Shape]) -> Outputs:
    made = Outputs()
    for member, ref in shape.members.items():
        if ref.location == "header":
            name = (ref.location_name or member).lower()
            made.headers[member] = (name, _header_writer(ref, shapes[ref.shape], shapes))
        elif ref.location == "headers":
            made.prefixes[member] = ref.location_name.lower()
        elif ref.location == "statusCode":
            made.status = member
    return made


def _header_writer(ref: Ref, shape: Shape, shapes: Mapping[str, Shape]) -> TextWriter:
    if shape.type == "list":
        assert shape.member is not None
        inner = shapes[shape.member.shape]
        item = _header_writer(shape.member, inner, shapes)
        if inner.type in STRINGS:
            return lambda value: ", ".join(_quoted(item(entry)) for entry in value if entry is not None)
        return lambda value: ", ".join(item(entry) for entry in value if entry is not None)
    if ref.jsonvalue or shape.jsonvalue:
        return lambda value: blob_text(json_body.encode(value))
    return scalar_format(shape.type, ref.timestamp_format or shape.timestamp_format or "rfc822")


def _quoted(text: str) -> str:
    if "," not in text and '"' not in text:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
