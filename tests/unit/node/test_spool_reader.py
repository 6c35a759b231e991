"""The spool reader: every line once, whatever is read when, wherever the reader is stopped."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.model.multiline import line_starts
from neargate.node import spool_reader
from neargate.node.spool import FRAME, PARTIAL, STDERR, STDOUT, SpoolWriter, segment_name, segment_offsets
from neargate.node.spool_reader import Limits, Place, read_spool

SMALL = Limits(events=3, bytes=60)


def frame(stream: int, payload: bytes, flags: int = 0, ts: int = 1) -> bytes:
    return FRAME.pack(stream, flags, 0, len(payload), ts) + payload


def spool_of(directory: Path, *frames: bytes) -> Path:
    (directory / segment_name(0)).write_bytes(b"".join(frames))
    return directory


def texts(spool: Path, place: Place = Place(), **options: object) -> list[str]:
    return [event.message for event in read_spool(spool, place, **options).events]  # type: ignore[arg-type]


def everything(spool: Path, starts: object = None, limits: Limits = SMALL) -> list[str]:
    """Read slice by slice, each from the place of the last alone."""
    place, found = Place(), []
    for _ in range(10_000):
        part = read_spool(spool, place, starts, limits=limits)  # type: ignore[arg-type]
        found += [event.message for event in part.events]
        if part.place == place and not part.events:
            return found
        place = part.place
    raise AssertionError("no end")


def test_lines_keep_their_frame_s_time_and_empty_ones_are_dropped(tmp_path: Path) -> None:
    spool = spool_of(tmp_path, frame(1, b"a\n\nb\n", ts=5), frame(2, b"c\x00\xff\n", ts=7))
    part = read_spool(spool, Place())
    assert [(e.timestamp, e.message) for e in part.events] == [(5, "a"), (5, "b"), (7, "c\x00\ufffd")]
    assert part.place == Place(2 * FRAME.size + 5 + 4, 0)


def test_a_half_written_frame_is_waited_for(tmp_path: Path) -> None:
    whole = frame(1, b"first\n") + frame(1, b"second\n")
    for cut in range(len(frame(1, b"first\n")), len(whole)):
        (tmp_path / segment_name(0)).write_bytes(whole[:cut])
        part = read_spool(tmp_path, Place())
        assert [e.message for e in part.events] == ["first"]
        (tmp_path / segment_name(0)).write_bytes(whole)
        assert texts(tmp_path, part.place) == ["second"]


def test_a_long_line_is_joined_past_lines_of_the_other_stream(tmp_path: Path) -> None:
    spool = spool_of(
        tmp_path, frame(1, b"out-", PARTIAL), frame(2, b"err\n"), frame(1, b"put\nnext\n"), frame(2, b"end\n")
    )
    assert texts(spool) == ["err", "out-put", "next", "end"]
    assert everything(spool, limits=Limits(1, 1)) == ["err", "out-put", "next", "end"]


def test_an_unfinished_line_waits_until_the_end_is_there(tmp_path: Path) -> None:
    spool = spool_of(tmp_path, frame(1, b"a\nprompt> ", PARTIAL))
    part = read_spool(spool, Place())
    assert [e.message for e in part.events] == ["a"] and not part.ended
    (spool / "end").write_text("1")
    part = read_spool(spool, part.place)
    assert [e.message for e in part.events] == ["prompt> "] and part.ended
    # The container is started again: the old line is complete and nothing is glued to it.
    (spool / "end").unlink()
    with (spool / segment_name(0)).open("ab") as file:
        file.write(frame(1, b"again\n"))
    assert texts(spool, part.place) == ["again"]


def test_an_open_line_does_not_hold_the_spool_for_ever(tmp_path: Path) -> None:
    filler = frame(2, b"x" * 99 + b"\n") * (spool_reader.MAX_OPEN // 100)
    spool = spool_of(tmp_path, frame(1, b"stuck", PARTIAL), filler, frame(2, b"last\n"))
    found = everything(spool, limits=Limits())
    assert found.count("stuck") == 1 and found[-1] == "last"
    assert len(found) == spool_reader.MAX_OPEN // 100 + 2


def test_a_line_beyond_the_event_limit_becomes_several(tmp_path: Path) -> None:
    line = "é" * 200_000
    writer = SpoolWriter(str(tmp_path), 1 << 30, True)
    for at in range(0, 400_000, 50_000):
        writer.feed(STDOUT, line.encode()[at : at + 50_000])
    writer.feed(STDOUT, b"\n")
    writer.close()
    found = everything(tmp_path, limits=Limits())
    assert "".join(found) == line and len(found) <= 3
    assert all(len(text.encode()) <= spool_reader.MAX_EVENT + 16 * 1024 for text in found)


def test_delivered_segments_are_deleted_and_the_newest_stays(tmp_path: Path) -> None:
    writer = SpoolWriter(str(tmp_path), 1 << 30, True)
    for i in range(3000):
        writer.feed(STDOUT, b"%0400d\n" % i)
    before = segment_offsets(str(tmp_path))
    assert len(before) > 3
    assert everything(tmp_path, limits=Limits()) == [f"{i:0400d}" for i in range(3000)]
    assert segment_offsets(str(tmp_path)) == before[-1:]
    writer.close()


def test_damage_is_passed_over_once_there_is_a_next_segment(tmp_path: Path) -> None:
    good, bad = frame(1, b"good\n"), bytes(40)
    (tmp_path / segment_name(0)).write_bytes(good + bad)
    assert texts(tmp_path) == ["good"]
    (tmp_path / segment_name(len(good + bad))).write_bytes(frame(1, b"more\n"))
    assert texts(tmp_path) == ["good", "more"]


def test_lines_are_joined_by_what_begins_an_event(tmp_path: Path) -> None:
    starts = line_starts(multiline_pattern="^INFO")
    spool = spool_of(tmp_path, frame(1, b"INFO a\n at x\n at y\nINFO b\n"))
    part = read_spool(spool, Place(), starts)
    assert [e.message for e in part.events] == ["INFO a\n at x\n at y\n"] and part.pending
    assert texts(spool, part.place, starts=starts) == []
    assert texts(spool, part.place, starts=starts, flush=True) == ["INFO b\n"]
    part = read_spool(spool, part.place, starts, flush=True)
    with (spool / segment_name(0)).open("ab") as file:
        file.write(frame(1, b" at z\n"))
    assert texts(spool, part.place, starts=starts, flush=True) == [" at z\n"]


def some(stream: int, letters: str) -> st.SearchStrategy[tuple[int, bytes]]:
    return st.tuples(st.just(stream), st.text(letters, min_size=1, max_size=30).map(str.encode))


WRITES = st.lists(some(STDOUT, "abé\n") | some(STDERR, "xyz\n"), max_size=40)


def lines_of(writes: list[tuple[int, bytes]], stream: int) -> list[str]:
    data = b"".join(data for s, data in writes if s == stream).decode()
    return [line for line in data.split("\n") if line]


@given(WRITES, st.integers(0, 2**32), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_line_once_with_any_stops(writes: list[tuple[int, bytes]], seed: int, joined: bool) -> None:
    """Slices of any size are read while the writer goes on; some are lost before they are kept."""
    chance = random.Random(seed)
    starts = line_starts(multiline_pattern="^a") if joined else None
    place, kept, todo = Place(), [], list(writes)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr("neargate.node.spool.LINE_BYTES", 8)
        writer = SpoolWriter(directory, 1 << 20, True)
        writer._segment_limit = 120
        for _ in range(10_000):
            for stream, chunk in todo[: chance.randint(0, 5)]:
                writer.feed(stream, chunk)
                todo.pop(0)
            if not todo:
                writer.close_stream(STDOUT)
                writer.close_stream(STDERR)
                writer.finish()
            limits = Limits(chance.randint(1, 8), chance.randint(1, 300))
            part = read_spool(Path(directory), place, starts, chance.random() < 0.5, limits)
            if chance.random() < 0.25:
                continue  # killed before it was kept
            kept += [event.message for event in part.events]
            place = part.place
            if part.ended:
                break
        writer.close()
        lines = [line for line in "\n".join(kept).split("\n") if line]
        assert [x for x in lines if x[0] in "abé"] == lines_of(writes, STDOUT)
        assert [x for x in lines if x[0] in "xyz"] == lines_of(writes, STDERR)
