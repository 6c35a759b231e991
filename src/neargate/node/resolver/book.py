"""The names that are known here: the zone file, looked into. Called by answers.py, in the resolver's process.

The file is read again when it is another: what the daemon writes counts from the next query on.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from neargate.model import zones
from neargate.model.zones import Document, RecordSet, Zone

FILE, PORT_FILE = "zones.json", "port"
"""In the resolver's directory: what it knows, and where it is to be found."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a name in one of our zones. Without sets it is not there, or has others below it."""

    zone: Zone
    sets: Mapping[str, RecordSet]
    exists: bool


class Book:
    def __init__(self, document: Document) -> None:
        self._document = document
        domain = document.domain
        self._zones = {zone.name: zone for zone in document.zones}
        if domain:
            self._zones.setdefault(domain, Zone(domain, zones.HOST_TTL))
        self._hosts = {host.name: host.addresses for host in document.hosts}
        self._sets: dict[str, dict[str, RecordSet]] = {}
        for one in document.sets:
            self._sets.setdefault(one.name, {})[one.type] = one
        self._parents = frozenset(parent for name in self._sets for parent in _parents(name))

    def host(self, name: str) -> Sequence[str]:
        return self._hosts.get(name, ())

    def pointer(self, name: str) -> str | None:
        """Of a reverse name of the VPC."""
        document = self._document
        return zones.pointed_name(name, document.domain, document.range) if document.domain else None

    def known(self, name: str) -> Known | None:
        """None for a name of none of our zones."""
        zone = next(
            (self._zones[parent] for parent in (name, *_parents(name)) if parent in self._zones), None
        )
        if zone is None:
            return None
        sets: Mapping[str, RecordSet] = self._sets.get(name, {})
        if not sets and zone.name == self._document.domain:
            address = zones.private_address(name, self._document.domain, self._document.range)
            sets = {"A": RecordSet(name, "A", zones.HOST_TTL, (address,))} if address else {}
        return Known(zone, sets, bool(sets) or name == zone.name or name in self._parents)


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.partition(".")[2]
        yield name


class Shelf:
    """The book of a zone file, whichever was written last. No file: nothing is known."""

    def __init__(self, directory: int) -> None:
        """directory -- an open descriptor: the process may not be let there by its name any more."""
        self._directory = directory
        self._seen: tuple[int, int, int] | None = None
        self._book = Book(Document())

    @property
    def gone(self) -> bool:
        """Whether the directory has been removed."""
        return os.fstat(self._directory).st_nlink == 0

    @property
    def book(self) -> Book:
        try:
            found = os.stat(FILE, dir_fd=self._directory)
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._book = Book(zones.decode(self._read()))
                self._seen = seen
        except FileNotFoundError:
            return self._book
        except msgspec.DecodeError:  # of another version of neargate: the old one counts on
            self._seen = seen
        return self._book

    def _read(self) -> bytes:
        with os.fdopen(os.open(FILE, os.O_RDONLY, dir_fd=self._directory), "rb") as file:
            return file.read()
