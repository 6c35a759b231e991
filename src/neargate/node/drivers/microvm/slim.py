"""A program without libraries that it is linked with and never calls: QEMU's, in the root that it sees.

Called by guest_image.py. Each library costs every machine the pages that its loader writes to (a
disassembler's tables alone 1.3 MB) and time at its start. What the program would call of them becomes weak,
so that it is simply not there; all else, also how early and how finally addresses are bound, stays as it was.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER_SECTIONS, _SECTION = struct.Struct("<40xQ10xHHH"), struct.Struct("<IIQQQQIIQQ")
_ENTRY, _SYMBOL = struct.Struct("<qQ"), struct.Struct("<IBBHQQ")
_NEED = struct.Struct("<HHIII")
_SHT_DYNAMIC, _SHT_DYNSYM = 6, 11
_SHT_VERNEED = 0x6FFFFFFE
_DT_NEEDED, _DT_DEBUG, _DT_VERNEED, _DT_VERNEEDNUM = 1, 21, 0x6FFFFFFE, 0x6FFFFFFF
_FUNCTION, _NO_TYPE, _GLOBAL, _WEAK = 2, 0, 1, 2


class SlimError(ValueError):
    """The library cannot be left out; the message says why."""


@dataclass(frozen=True, slots=True)
class _Table:
    offset: int
    size: int
    strings: int
    """Offset of its names."""
    address: int


def without(program: bytes, name: str, library: bytes) -> bytes:
    """The program without the library of that name (its soname). Raise SlimError or struct.error."""
    data = bytearray(program)
    tables = _tables(data)
    offered = {found for found, info, section in _symbols(library) if section}
    for at, (found, info, section) in zip(
        _places(tables[_SHT_DYNSYM], _SYMBOL.size), _symbols(data), strict=True
    ):
        if found not in offered:
            continue
        if info & 0xF not in (
            _FUNCTION,
            _NO_TYPE,
        ):  # copied into the program at its start, or looked at there
            raise SlimError(f"{name}: the program uses {found}, which is data")
        if section or info >> 4 != _GLOBAL:
            continue
        data[at + 4] = _WEAK << 4 | info & 0xF
    _forget_needed(data, tables[_SHT_DYNAMIC], name)
    if _SHT_VERNEED in tables:
        _forget_versions(data, tables, name)
    return bytes(data)


def _tables(data: bytes | bytearray) -> dict[int, _Table]:
    """By their kind."""
    start, size, count, _names = _HEADER_SECTIONS.unpack_from(data)
    sections = [_SECTION.unpack_from(data, start + number * size) for number in range(count)]
    kinds = (_SHT_DYNAMIC, _SHT_DYNSYM, _SHT_VERNEED)
    found = {s[1]: _Table(s[4], s[5], sections[s[6]][4], s[3]) for s in sections if s[1] in kinds}
    if not found.keys() >= {_SHT_DYNAMIC, _SHT_DYNSYM}:
        raise SlimError("not a program that is linked with libraries")
    return found


def _places(table: _Table, size: int) -> range:
    return range(table.offset, table.offset + table.size, size)


def _symbols(data: bytes | bytearray) -> Iterator[tuple[str, int, int]]:
    """(name, kind and binding, section; 0 where it is another's)"""
    table = _tables(data)[_SHT_DYNSYM]
    for at in _places(table, _SYMBOL.size):
        name, info, _other, section, _value, _size = _SYMBOL.unpack_from(data, at)
        yield _text(data, table.strings + name), info, section


def _text(data: bytes | bytearray, at: int) -> str:
    return data[at : data.index(0, at)].decode()


def _forget_needed(data: bytearray, table: _Table, name: str) -> None:
    for at in _places(table, _ENTRY.size):
        tag, value = _ENTRY.unpack_from(data, at)
        if tag == _DT_NEEDED and _text(data, table.strings + value) == name:
            return _ENTRY.pack_into(data, at, _DT_DEBUG, 0)  # which is there already, and may be there twice
    raise SlimError(f"{name}: the program does not need it")


def _forget_versions(data: bytearray, tables: dict[int, _Table], name: str) -> None:
    """Take it out of the chain of libraries of which versions are wanted."""
    table = tables[_SHT_VERNEED]
    before, at = 0, table.offset
    while True:
        _version, _count, file, _parts, following = _NEED.unpack_from(data, at)
        if _text(data, table.strings + file) == name:
            break
        if not following:
            return
        before, at = at, at + following
    if before:
        *head, _following = _NEED.unpack_from(data, before)
        _NEED.pack_into(data, before, *head, at + following - before if following else 0)
    for place in _places(tables[_SHT_DYNAMIC], _ENTRY.size):
        tag, value = _ENTRY.unpack_from(data, place)
        if tag == _DT_VERNEEDNUM:
            _ENTRY.pack_into(data, place, tag, value - 1)
        elif tag == _DT_VERNEED and not before:
            _ENTRY.pack_into(data, place, tag, value + following)
