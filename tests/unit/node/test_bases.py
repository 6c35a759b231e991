"""The ids of sandboxes' users: drivers/process/bases.py."""

import json
from pathlib import Path

import pytest

from neargate.node.drivers.base import DriverError
from neargate.node.drivers.process import bases
from neargate.node.drivers.process.bases import Bases


def _record(records: Path, sandbox: str, base: int | None) -> None:
    (records / sandbox).write_text(json.dumps({"pid": 1} | ({} if base is None else {"uid_base": base})))


def _id(place: int, number: int = 0) -> str:
    return f"{place:08x}{number:024x}"


def test_sandboxes_whose_ids_meet_have_different_users(tmp_path: Path) -> None:
    """Also while neither has a record yet."""
    known = Bases(tmp_path)
    taken = [known.take(_id(7, number)) for number in range(4)]
    assert taken == [bases.first(_id(7)) + 65536 * n for n in range(4)]
    assert known.take(_id(8, 9)) == bases.first(_id(11))


def test_the_last_place_is_followed_by_the_first(tmp_path: Path) -> None:
    known = Bases(tmp_path)
    assert known.take(_id(16383, 1)) == (1 << 31) - 65536
    assert known.take(_id(16383, 2)) == 1 << 30


def test_a_place_is_free_once_its_sandbox_is_gone(tmp_path: Path) -> None:
    known = Bases(tmp_path)
    base = known.take(_id(7, 1))
    _record(tmp_path, _id(7, 1), base)
    known.settle(_id(7, 1))
    assert known.take(_id(7, 2)) != base
    (tmp_path / _id(7, 1)).unlink()
    assert known.take(_id(7, 3)) == base


def test_a_later_daemon_finds_what_is_taken(tmp_path: Path) -> None:
    """Shims of an older one did not write it down: theirs is where the search begins."""
    _record(tmp_path, _id(7, 1), bases.first(_id(8)))
    _record(tmp_path, _id(7, 2), None)
    _record(tmp_path, _id(20), 0)
    (tmp_path / _id(30)).write_text("{")
    known = Bases(tmp_path)
    known.find()
    assert known.take(_id(7, 3)) == bases.first(_id(9))
    assert known.take(_id(20, 1)) == bases.first(_id(20))


def test_when_all_are_taken_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "_PLACES", 2)
    known = Bases(tmp_path)
    assert {known.take(_id(n)) for n in range(2)} == {1 << 30, (1 << 30) + 65536}
    with pytest.raises(DriverError, match="all user namespaces"):
        known.take(_id(3))
