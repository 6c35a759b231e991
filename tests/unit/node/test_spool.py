"""The log spool's writer: what is fed is what the frames hold, bounded, whoever reads when."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.node.spool import FRAME, LINE_BYTES, PARTIAL, SEGMENT_BYTES, STDERR, STDOUT, SpoolWriter

MIB = 1024 * 1024


def frames(directory: Path) -> list[tuple[int, int, bytes]]:
    found, at = [], 0
    data = b"".join(p.read_bytes() for p in sorted(directory.glob("*.seg")))
    while at < len(data):
        stream, flags, _, length, _ = FRAME.unpack_from(data, at)
        at += FRAME.size + length
        found.append((stream, flags, data[at - length : at]))
    return found


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(
        st.tuples(st.sampled_from([STDOUT, STDERR]), st.text("ab\n", max_size=40).map(str.encode))
    ),
)
def test_each_stream_comes_out_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]]
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    writer = SpoolWriter(str(directory), MIB, blocking=False)
    for stream, data in pieces:
        writer.feed(stream, data)
    for stream in (STDOUT, STDERR):
        writer.close_stream(stream)
    writer.finish()
    found = frames(directory)
    for stream in (STDOUT, STDERR):
        assert b"".join(p for s, _, p in found if s == stream) == b"".join(
            d for s, d in pieces if s == stream
        )
    for _, flags, payload in found:
        assert (flags == PARTIAL) == (not payload.endswith(b"\n"))
    assert (directory / "end").read_text() == str(sum(FRAME.size + len(p) for _, _, p in found))


def test_an_incomplete_line_waits_and_a_long_one_is_cut(tmp_path: Path) -> None:
    writer = SpoolWriter(str(tmp_path), MIB, blocking=False)
    writer.feed(STDOUT, b"begin")
    assert frames(tmp_path) == []
    writer.feed(STDOUT, b" end\n")
    assert frames(tmp_path) == [(STDOUT, 0, b"begin end\n")]
    writer.feed(STDOUT, b"x" * (LINE_BYTES + 5))
    assert frames(tmp_path)[1:] == [(STDOUT, PARTIAL, b"x" * LINE_BYTES)]


def test_segments_are_named_by_their_offset_and_bounded(tmp_path: Path) -> None:
    writer = SpoolWriter(str(tmp_path), 64 * MIB, blocking=False)
    for _ in range(64):
        writer.feed(STDOUT, b"0123456789abcde\n" * 1024)
    offset = 0
    for segment in sorted(tmp_path.glob("*.seg")):
        assert segment.name == f"{offset:020d}.seg"
        assert segment.stat().st_size <= SEGMENT_BYTES + 16384 + FRAME.size
        offset += segment.stat().st_size
    assert offset == writer.offset


def test_non_blocking_drops_the_newest_until_the_reader_has_made_room(tmp_path: Path) -> None:
    writer = SpoolWriter(str(tmp_path), 64 * 1024, blocking=False)
    for number in range(100):
        writer.feed(STDOUT, b"%03d" % number + b"x" * 4092 + b"\n")
    kept = frames(tmp_path)
    assert [int(p[:3]) for _, _, p in kept] == list(range(len(kept))) and 10 < len(kept) < 17
    for segment in sorted(tmp_path.glob("*.seg"))[:-1]:
        segment.unlink()
    time.sleep(0.03)  # it looks that often
    writer.feed(STDOUT, b"again\n")
    assert frames(tmp_path)[-1] == (STDOUT, 0, b"again\n")
    assert (tmp_path / "dropped").read_text() == f"{100 - len(kept)} {(100 - len(kept)) * 4096}"


def test_blocking_is_full_until_the_reader_has_made_room(tmp_path: Path) -> None:
    writer = SpoolWriter(str(tmp_path), 64 * 1024, blocking=True)
    fed = 0
    while not writer.full:
        writer.feed(STDOUT, b"x" * 4095 + b"\n")
        fed += 1
    assert len(frames(tmp_path)) == fed
    segments = sorted(tmp_path.glob("*.seg"))
    assert segments[-1].stat().st_size == 0  # so that all that is written can be taken away
    for segment in segments[:-1]:
        segment.unlink()
    assert not writer.full


def test_a_restarted_container_goes_on_at_the_same_offset(tmp_path: Path) -> None:
    first = SpoolWriter(str(tmp_path), MIB, blocking=False)
    first.feed(STDOUT, b"one\n")
    first.finish()
    first.close()
    second = SpoolWriter(str(tmp_path), MIB, blocking=False)
    assert not (tmp_path / "end").exists() and second.offset == first.offset
    second.feed(STDERR, b"two\n")
    assert frames(tmp_path) == [(STDOUT, 0, b"one\n"), (STDERR, 0, b"two\n")]
