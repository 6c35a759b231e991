"""JSON bodies: readers and writers, compiled per shape when it is first used.

Used by codec_json.py and codec_rest.py. None for a writer means that a value is written as it is.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from neargate.wire import bounds
from neargate.wire.shapes import Ref, Shape
from neargate.wire.values import (
    FLOATS,
    INTEGERS,
    STRINGS,
    Malformed,
    blob_of,
    checked_integer,
    float_of,
    special_float,
    timestamp_of,
    timestamp_text,
)

Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]

_TOKENS = {dict: "START_OBJECT", list: "START_ARRAY", str: "STRING_VALUE", bool: "BOOLEAN_VALUE"}
_decode = msgspec.json.Decoder().decode


def decode(body: bytes) -> Any:
    bounds.check_json(body)
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise Malformed(f"The body is not valid JSON: {problem}") from None


encode = msgspec.json.Encoder().encode


def wrong(value: Any, wanted: str) -> Malformed:
    token = _TOKENS.get(type(value), "NUMBER_VALUE")
    return Malformed(f"{token} can not be converted to {wanted}")


class Readers:
    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self._made: dict[str, Reader] = {}

    def of(self, ref: Ref) -> Reader:
        shape = self._shapes[ref.shape]
        made = self._made.get(ref.shape)
        return made if made is not None else self._make(ref.shape, shape)

    def _make(self, name: str, shape: Shape) -> Reader:
        made: Reader
        if shape.document:
            made = _read_anything
        elif shape.type == "structure":
            return self._structure(name, shape)
        elif shape.type == "list":
            assert shape.member is not None
            made = _list_reader(self.of(shape.member))
        elif shape.type == "map":
            assert shape.value is not None
            made = _map_reader(self.of(shape.value))
        else:
            made = self.scalar(shape.type)
        self._made[name] = made
        return made

    def scalar(self, kind: str) -> Reader:
        if kind in STRINGS:
            return _read_string
        if kind in INTEGERS:
            return _integer_reader(kind)
        if kind in FLOATS:
            return _float_reader(kind)
        return {"boolean": _read_boolean, "blob": _read_blob, "timestamp": _read_timestamp}[kind]

    def _structure(self, name: str, shape: Shape) -> Reader:
        members: dict[str, tuple[str, Reader]] = {}
        union = shape.union

        def read(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise wrong(value, "a structure")
            made = {}
            for key, item in value.items():
                found = members.get(key)
                if found is not None and item is not None:
                    made[found[0]] = found[1](item)
            if union and len(made) > 1:
                raise Malformed(f"{name} must have exactly one member, not {', '.join(sorted(made))}")
            return made

        self._made[name] = read  # A shape may hold itself: first the reader, then its members.
        for member, ref in shape.members.items():
            members[ref.location_name or member] = (member, self.of(ref))
        return read


def _list_reader(item: Reader) -> Reader:
    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise wrong(value, "a list")
        return [None if entry is None else item(entry) for entry in value]

    return read


def _map_reader(item: Reader) -> Reader:
    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise wrong(value, "a map")
        return {key: None if entry is None else item(entry) for key, entry in value.items()}

    return read


def _read_anything(value: Any) -> Any:
    return value


def _read_string(value: Any) -> str:
    if type(value) is not str:
        raise wrong(value, "a String")
    return value


def _read_boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise wrong(value, "a Boolean")
    return value


def _read_blob(value: Any) -> bytes:
    return blob_of(_read_string(value))


def _read_timestamp(value: Any) -> float:
    if type(value) not in (int, float, str):
        raise wrong(value, "a Timestamp")
    return timestamp_of(value)


def _integer_reader(kind: str) -> Reader:
    article = "an Integer" if kind == "integer" else f"a {kind.capitalize()}"

    def read(value: Any) -> int:
        if type(value) is int:
            return checked_integer(value, kind)
        if type(value) is float and value.is_integer():
            return checked_integer(int(value), kind)
        raise wrong(value, article)

    return read


def _float_reader(kind: str) -> Reader:
    def read(value: Any) -> float:
        if type(value) is float:
            return value
        if type(value) is int:
            try:
                return float(value)
            except OverflowError:
                raise Malformed(f"A number is out of range for {kind}") from None
        if type(value) is str and value in ("NaN", "Infinity", "-Infinity"):
            return float_of(value, kind)
        raise wrong(value, f"a {kind.capitalize()}")

    return read


class Writers:
    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self._made: dict[tuple[str, str], Writer | None] = {}

    def of(self, ref: Ref) -> Writer | None:
        shape = self._shapes[ref.shape]
        form = ref.timestamp_format or shape.timestamp_format
        key = (ref.shape, form)
        if key not in self._made:
            self._make(key, shape, form)
        return self._made[key]

    def _make(self, key: tuple[str, str], shape: Shape, form: str) -> None:
        if shape.document:
            self._made[key] = None
        elif shape.type == "structure":
            self._structure(key, shape)
        elif shape.type == "list":
            assert shape.member is not None
            self._made[key] = _list_writer(self.of(shape.member))
        elif shape.type == "map":
            assert shape.value is not None
            self._made[key] = _map_writer(self.of(shape.value))
        else:
            self._made[key] = self.scalar(shape.type, form)

    def scalar(self, kind: str, form: str) -> Writer | None:
        """`form` -- that of timestamps, if the model names one."""
        if kind == "timestamp" and form in ("iso8601", "rfc822"):
            return lambda value: timestamp_text(value, form)
        return _write_float if kind in FLOATS else None  # msgspec writes bytes in base64 by itself.

    def _structure(self, key: tuple[str, str], shape: Shape) -> None:
        members: dict[str, tuple[str, Writer | None]] = {}

        def write(value: Mapping[str, Any]) -> dict[str, Any]:
            made = {}
            for name, item in value.items():
                if item is not None:
                    found = members.get(name)
                    if found is not None:
                        writer = found[1]
                        made[found[0]] = item if writer is None else writer(item)
            return made

        self._made[key] = write
        for member, ref in shape.members.items():
            members[member] = (ref.location_name or member, self.of(ref))


def _list_writer(item: Writer | None) -> Writer | None:
    if item is None:
        return None
    return lambda value: [None if entry is None else item(entry) for entry in value]


def _map_writer(item: Writer | None) -> Writer | None:
    if item is None:
        return None
    return lambda value: {name: None if entry is None else item(entry) for name, entry in value.items()}


def _write_float(value: float) -> float | str:
    return special_float(value) if type(value) is float else value
