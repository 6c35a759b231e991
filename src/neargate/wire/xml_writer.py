"""XML of results, written by shapes that are compiled once.

Used by codec_query.py and codec_rest.py. A writer appends pieces of text to a list.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from neargate.wire.shapes import Ref, Shape, namespace_of
from neargate.wire.values import FLOATS, blob_text, number_text, timestamp_text

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

Writer = Callable[[Any, list[str]], None]
"""Appends a value's element, or elements, under the name it was made for."""
Format = Callable[[Any], str]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile(r'[&<>"\r\n\t]')
_ENTITIES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\r": "&#13;",
    "\n": "&#10;",
    "\t": "&#9;",
}


def escaped(text: str) -> str:
    """Text as XML holds it; characters that no XML can hold become the replacement character."""
    if text.isascii() and text.isprintable() and not _SPECIAL.search(text):
        return text
    return _SPECIAL.sub(lambda found: _ENTITIES[found[0]], _NOT_XML.sub("\ufffd", text))


def element(name: str, text: str) -> str:
    return f"<{name}>{escaped(text)}</{name}>"


def xmlns(ref: Ref | Shape) -> str:
    """The attribute that declares a namespace; empty where the model names none."""
    space = namespace_of(ref.xml_namespace)
    if not space.uri:
        return ""
    return f' xmlns{":" if space.prefix else ""}{space.prefix}="{escaped(space.uri)}"'


class Writers:
    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self._made: dict[tuple[str, str, str, str, bool], Writer] = {}

    def of(self, ref: Ref, name: str) -> Writer:
        """What writes a value under an element's name."""
        shape = self._shapes[ref.shape]
        flat = ref.flattened or shape.flattened
        form = ref.timestamp_format or shape.timestamp_format
        key = (ref.shape, name, form, xmlns(ref), flat)
        made = self._made.get(key)
        return made if made is not None else self._make(key, shape)

    def _make(self, key: tuple[str, str, str, str, bool], shape: Shape) -> Writer:
        _, name, form, space, flat = key
        if shape.type == "structure":
            return self._structure(key, shape)
        if shape.type == "list":
            made = self._list(shape, name, space, flat)
        elif shape.type == "map":
            made = self._map(shape, name, space, flat)
        else:
            made = _scalar_writer(name, space, scalar_format(shape.type, form or "iso8601"))
        self._made[key] = made
        return made

    def _structure(self, key: tuple[str, str, str, str, bool], shape: Shape) -> Writer:
        _, name, _, space, _ = key
        attributes: dict[str, tuple[str, Format]] = {}
        body: dict[str, Writer] = {}

        def write(value: Mapping[str, Any], out: list[str]) -> None:
            written = "".join(
                f' {attributes[member][0]}="{escaped(attributes[member][1](item))}"'
                for member, item in value.items()
                if member in attributes and item is not None
            )
            out.append(f"<{name}{space}{written}>")
            for member, item in value.items():
                if item is not None and member in body:
                    body[member](item, out)
            out.append(f"</{name}>")

        self._made[key] = write  # A shape may hold itself: first the writer, then its members.
        for member, ref in shape.members.items():
            if ref.xml_attribute:
                kind = self._shapes[ref.shape]
                form = ref.timestamp_format or kind.timestamp_format or "iso8601"
                attributes[member] = (ref.location_name or member, scalar_format(kind.type, form))
            else:
                body[member] = self.of(ref, self._name(member, ref))
        return write

    def _name(self, member: str, ref: Ref) -> str:
        """The element of a member: old models name the entries of a list that is flat everywhere."""
        shape = self._shapes[ref.shape]
        if shape.type == "list" and shape.flattened and shape.member is not None:
            return shape.member.location_name or ref.location_name or member
        return ref.location_name or member

    def members(self, ref: Ref) -> Writer:
        """What writes a structure's members without an element around them."""
        shape = self._shapes[ref.shape]
        body = {member: self.of(inner, self._name(member, inner)) for member, inner in shape.members.items()}

        def write(value: Mapping[str, Any], out: list[str]) -> None:
            for member, item in value.items():
                if item is not None and member in body:
                    body[member](item, out)

        return write

    def _list(self, shape: Shape, name: str, space: str, flat: bool) -> Writer:
        assert shape.member is not None
        item = self.of(shape.member, name if flat else shape.member.location_name or "member")

        def write(value: Any, out: list[str]) -> None:
            if not flat:
                out.append(f"<{name}{space}>")
            for entry in value:
                if entry is not None:
                    item(entry, out)
            if not flat:
                out.append(f"</{name}>")

        return write

    def _map(self, shape: Shape, name: str, space: str, flat: bool) -> Writer:
        assert shape.key is not None and shape.value is not None
        key = self.of(shape.key, shape.key.location_name or "key")
        item = self.of(shape.value, shape.value.location_name or "value")
        entry = name if flat else "entry"

        def write(value: Mapping[str, Any], out: list[str]) -> None:
            if not flat:
                out.append(f"<{name}{space}>")
            for one, other in value.items():
                if other is not None:
                    out.append(f"<{entry}{space if flat else ''}>")
                    key(one, out)
                    item(other, out)
                    out.append(f"</{entry}>")
            if not flat:
                out.append(f"</{name}>")

        return write


def scalar_format(kind: str, timestamps: str) -> Format:
    """How a scalar is written as text. `timestamps` -- the form of timestamps."""
    if kind == "boolean":
        return lambda value: "true" if value else "false"
    if kind == "timestamp":
        return lambda value: timestamp_text(value, timestamps)
    if kind == "blob":
        return blob_text
    return number_text if kind in FLOATS else str


def _scalar_writer(name: str, space: str, form: Format) -> Writer:
    start, end = f"<{name}{space}>", f"</{name}>"
    return lambda value, out: out.append(f"{start}{escaped(form(value))}{end}")
