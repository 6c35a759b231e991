"""XML bodies of requests, read by shapes that are compiled once.

Used by codec_rest.py. Document type declarations, and with them all entities, are refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.parsers import expat

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

_MAX_DEPTH = 200


@dataclass(slots=True)
class Node:
    """An element; its name is without the prefix of its namespace."""

    name: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Node"] = field(default_factory=list)


Reader = Callable[[Node], Any]


def decode(body: bytes) -> Node:
    """The root element. Raises Malformed."""
    if len(body) > bounds.MAX_XML_BYTES:
        raise bounds.too_large(len(body), bounds.MAX_XML_BYTES)
    parser = expat.ParserCreate()
    seen = 0
    root = Node("", {})
    path = [root]
    texts: list[list[str]] = [[]]

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal seen
        seen += 1 + len(attributes)
        if seen > bounds.MAX_ELEMENTS:
            raise bounds.too_many(bounds.MAX_ELEMENTS, "elements")
        if len(path) > _MAX_DEPTH:
            raise Malformed("The request is nested too deeply")
        node = Node(name.rpartition(":")[2], attributes)
        path[-1].children.append(node)
        path.append(node)
        texts.append([])

    def end(name: str) -> None:
        path.pop().text = "".join(texts.pop())

    def text(data: str) -> None:
        texts[-1].append(data)

    def refuse(*_: Any) -> NoReturn:
        raise Malformed("The body has a document type declaration")

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except expat.ExpatError as problem:
        raise Malformed(f"The body is not valid XML: {problem}") from None
    except (ValueError, LookupError) as problem:  # an encoding that Python does not know, or not so
        raise Malformed(f"The body is not valid XML: {problem}") from None
    return root.children[0]


class Readers:
    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self._made: dict[tuple[str, bool], Reader] = {}

    def of(self, ref: Ref) -> Reader:
        """Reads a value out of its element; a flattened one out of an element that holds its elements."""
        shape = self._shapes[ref.shape]
        flat = ref.flattened or shape.flattened
        key = (ref.shape, flat)
        made = self._made.get(key)
        if made is not None:
            return made
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
        elements: dict[str, tuple[str, Reader, bool]] = {}
        attributes: dict[str, tuple[str, Reader]] = {}

        def read(node: Node) -> dict[str, Any]:
            groups: dict[str, list[Node]] = {}
            for child in node.children:
                groups.setdefault(child.name, []).append(child)
            made = {}
            for name, nodes in groups.items():
                found = elements.get(name)
                if found is not None:
                    member, reader, flat = found
                    made[member] = reader(Node(name, {}, "", nodes) if flat else nodes[-1])
            for name, value in node.attributes.items():
                if name in attributes:
                    member, reader = attributes[name]
                    made[member] = reader(Node(name, {}, value))
            return made

        self._made[key] = read  # A shape may hold itself: first the reader, then its members.
        for member, ref in shape.members.items():
            if ref.xml_attribute:
                attributes[ref.location_name or member] = (member, self.of(ref))
                continue
            inner = self._shapes[ref.shape]
            flat = inner.type in ("list", "map") and (ref.flattened or inner.flattened)
            for name in self._names(member, ref, inner, flat):
                elements[name] = (member, self.of(ref), flat)
        return read

    def _names(self, member: str, ref: Ref, shape: Shape, flat: bool) -> set[str]:
        names = {ref.location_name or member}
        # Clients differ in which of the two names a flattened list's elements get.
        if flat and shape.type == "list" and shape.member is not None and shape.member.location_name:
            names.add(shape.member.location_name)
        return names

    def _list(self, shape: Shape, flat: bool) -> Reader:
        assert shape.member is not None
        item = self.of(shape.member)
        name = shape.member.location_name or "member"
        return lambda node: [item(child) for child in node.children if flat or child.name == name]

    def _map(self, shape: Shape, flat: bool) -> Reader:
        assert shape.key is not None and shape.value is not None
        key_name, value_name = shape.key.location_name or "key", shape.value.location_name or "value"
        key_of, value_of = self.of(shape.key), self.of(shape.value)

        def read(node: Node) -> dict[str, Any]:
            made = {}
            for entry in node.children:
                if not flat and entry.name != "entry":
                    continue
                parts = {child.name: child for child in entry.children}
                if key_name not in parts:
                    raise Malformed("An entry of a map has no key")
                made[key_of(parts[key_name])] = value_of(parts[value_name]) if value_name in parts else None
            return made

        return read


def _scalar_reader(kind: str) -> Reader:
    if kind in STRINGS:
        return lambda node: node.text
    if kind in INTEGERS:
        return lambda node: integer_of(node.text.strip(), kind)
    if kind in FLOATS:
        return lambda node: float_of(node.text.strip(), kind)
    if kind == "boolean":
        return lambda node: boolean_of(node.text.strip())
    if kind == "blob":
        return lambda node: blob_of("".join(node.text.split()))
    assert kind == "timestamp", kind
    return lambda node: timestamp_of(node.text)
