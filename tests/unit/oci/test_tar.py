"""The tar reader: what builders write is read as the standard library reads it; the rest is refused."""

import contextlib
import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.oci.tar import Entry, Reader, Stream, TarError
from tests.unit.oci.archive import BLOCK, END, entry, hardlink, header, member, pax, record, symlink, tar


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def read(data: bytes, chunk: int = 10_000) -> list[tuple[Entry, bytes]]:
    reader = Reader(Stream(chunks(data, chunk)))
    found: list[tuple[Entry, bytes]] = []
    while (one := reader.next()) is not None:
        parts: list[bytes] = []
        reader.data(lambda view, parts=parts: parts.append(bytes(view)))  # type: ignore[misc]
        found.append((one, b"".join(parts)))
    return found


def names(data: bytes) -> list[bytes]:
    return [found.path for found, _ in read(data)]


EVERYTHING = (
    member("dir/", mode=0o1777, uid=5, gid=6),
    member("dir/file", b"x" * 1000, mode=0o4755, uid=1000, gid=1001, mtime=1_700_000_000.25),
    member("empty"),
    symlink("link", "dir/file"),
    hardlink("hard", "dir/file"),
    member("dev", type=tarfile.CHRTYPE, devmajor=5, devminor=300),
    member("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=1),
    member("pipe", type=tarfile.FIFOTYPE),
    member("long/" + "n" * 300, b"long"),
    member("ü/ñ", b"utf"),
    symlink("far", "t" * 3000),
    member("huge-id", uid=3_000_000_000, gid=4_000_000_000),
)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("chunk", [1, 511, 512, 513, 100_000])
def test_what_builders_write(format: int, chunk: int) -> None:
    data = tar(*EVERYTHING, format=format)
    found = read(data, chunk)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = archive.getmembers()
        assert len(found) == len(expected)
        for (mine, content), theirs in zip(found, expected, strict=True):
            assert mine.path.rstrip(b"/") == theirs.name.encode()
            assert (mine.mode, mine.uid, mine.gid) == (theirs.mode, theirs.uid, theirs.gid)
            assert mine.kind == theirs.type
            assert mine.link == theirs.linkname.encode()
            assert mine.mtime + mine.mtime_nsec / 1e9 == theirs.mtime
            if theirs.isdev() and theirs.type != tarfile.FIFOTYPE:
                assert (mine.major, mine.minor) == (theirs.devmajor, theirs.devminor)
            if theirs.isreg():
                taken = archive.extractfile(theirs)
                assert taken is not None and taken.read() == content


def test_old_and_other_dialects() -> None:
    v7 = entry(b"abc", name=b"old", kind=b"\0", magic=b"\0" * 8)
    directory = entry(name=b"old-dir/", kind=b"0", magic=b"\0" * 8)
    prefixed = entry(name=b"name", prefix=b"some/prefix")
    contiguous = entry(b"c", name=b"seven", kind=b"7")
    found = read(v7 + directory + prefixed + contiguous + END)
    assert [(e.path, e.kind) for e, _ in found] == [
        (b"old", b"0"),
        (b"old-dir/", b"5"),
        (b"some/prefix/name", b"0"),
        (b"seven", b"0"),
    ]


def test_unread_data_is_passed_over() -> None:
    reader = Reader(Stream(chunks(tar(member("a", b"a" * 5000), member("b", b"b")), 100)))
    assert [e.path for e in iter(reader.next, None)] == [b"a", b"b"]


def test_data_of_huge_numbers_in_base_256() -> None:
    found = read(
        entry(b"xyz", name=b"f", size=b"\x80" + bytes(10) + b"\x03", uid=b"\x80\0\0\0\xff\0\0\0") + END
    )
    assert (found[0][1], found[0][0].uid) == (b"xyz", 0xFF000000)


def test_pax_wins_over_the_header() -> None:
    records = (
        (b"path", b"real/name"), (b"size", b"3"), (b"uid", b"7"), (b"gid", b"8"), (b"mtime", b"12.5"),
        (b"SCHILY.xattr.user.a", b"with=equals\nand newline"), (b"comment", b"ignored"),
    )  # fmt: skip
    data = pax(*records) + header(name=b"f") + b"abc" + bytes(509) + entry(name=b"next") + END
    (mine, content), (after, _) = read(data)
    assert (mine.path, content, mine.uid, mine.gid) == (b"real/name", b"abc", 7, 8)
    assert (mine.mtime, mine.mtime_nsec) == (12, 500_000_000)
    assert mine.xattrs == {b"user.a": b"with=equals\nand newline"}
    assert (after.path, after.xattrs) == (b"next", {})


def test_global_pax_headers_are_passed_over() -> None:
    assert names(pax((b"comment", b"abc"), (b"path", b"evil"), kind=b"g") + entry(name=b"f") + END) == [b"f"]


def test_an_empty_pax_value_takes_the_header_s() -> None:
    assert names(pax((b"path", b"")) + entry(name=b"f") + END) == [b"f"]


@pytest.mark.parametrize("mtime", [b"-5", b"-5.5", b"99999999999999999999"])
def test_times_before_and_beyond_time(mtime: bytes) -> None:
    ((mine, _),) = read(pax((b"mtime", mtime)) + entry() + END)
    assert mine.mtime == 0


def test_what_follows_the_end_is_ignored() -> None:
    assert names(entry(name=b"a") + END + b"garbage" * 1000) == [b"a"]
    assert names(b"") == []
    assert names(entry(name=b"a")) == [b"a"]  # no end mark: GNU tar and docker read it too


HOSTILE = [
    (header(checksum=b"000000\0 "), "checksum"),
    (header(checksum=b"zzzzzz\0 "), "invalid number"),
    (b"x" * BLOCK, "invalid number"),
    (header(size=b"0000000000z\0"), "invalid number"),
    (header(size=b"-0000000001\0"), "negative size"),
    (header(size=b"\xff" * 12), "negative size"),
    (header(kind=b"5", uid=b"-000001\0"), "out of range"),
    (header(uid=b"\x80\0\0\1\0\0\0\0"), "out of range"),
    (header(kind=b"3", device=b"0010000\0" + b"0000000\0"), "device 4096:0 is out of range"),
    (header(kind=b"4", device=b"-000001\0" + b"0000000\0"), "out of range"),
    (header(size=b"00000001000\0"), "unexpected end"),
    (entry(b"x" * 600)[:-200], "unexpected end"),
    (header()[:300], "inside a header"),
    (header(kind=b"S"), "type b'S' are not supported"),
    (header(kind=b"D"), "not supported"),
    (header(kind=b"\xff"), "not supported"),
    (pax((b"GNU.sparse.major", b"1")) + entry(), "sparse"),
    (pax((b"size", b"-1")) + entry(), "invalid number b'-1'"),
    (pax((b"size", b"1" * 21)) + entry(), "invalid number"),
    (pax((b"size", b"1e9")) + entry(), "invalid number"),
    (pax((b"uid", b"4294967296")) + entry(), "out of range"),
    (entry(b"5 a=b\n", kind=b"x"), "invalid pax"),
    (entry(b"99 a=b\n", kind=b"x"), "invalid pax"),
    (entry(b"0 a=b\n", kind=b"x"), "invalid pax"),
    (entry(b"6 a-b\n", kind=b"x"), "invalid pax"),
    (entry(b"-6 a=b\n", kind=b"x"), "invalid number"),
    (entry(b"nonsense" * 10, kind=b"x"), "invalid pax"),
    (header(kind=b"x", size=b"77777777777\0"), "an extended header of"),
    (header(kind=b"L", size=b"00004000001\0"), "an extended header of"),
    (header(kind=b"x", size=b"-0000001000\0") + END, "an extended header of -512"),
    (header(kind=b"K", size=b"\xff" * 12) + END, "an extended header of -1"),
    (header(kind=b"L", size=b"00000001000\0") + b"short", "inside an extended header"),
]


@pytest.mark.parametrize(("data", "why"), HOSTILE)
def test_hostile_streams_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(TarError, match=why):
        read(data)


def test_a_record_of_the_tests_own_making() -> None:
    for size in (1, 4, 5, 88, 89, 90, 91, 989, 990, 991):
        made = record(b"k", b"v" * size)
        assert int(made.partition(b" ")[0]) == len(made)


@given(st.binary(max_size=3000))
@settings(max_examples=200)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with_header = entry(name=b"f") + data
    for stream in (data, with_header):
        with contextlib.suppress(TarError):
            read(stream)


FUZZED = tar(*EVERYTHING)


@given(st.lists(st.tuples(st.integers(0, len(FUZZED) - 1), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=300)
def test_any_damage_is_read_or_refused(damage: list[tuple[int, int]]) -> None:
    data = bytearray(FUZZED)
    for at, value in damage:
        data[at] = value
    try:
        found = read(bytes(data))
    except TarError:
        return
    assert all(len(content) == one.size for one, content in found)
