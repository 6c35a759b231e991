"""Messages between a machine and its supervisor: what is written is JSON, and what is no message is said."""

import json
import os
import struct
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.node.guest import frames

_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)  # halves of characters, too
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(_TEXT, inner, max_size=4)
    ),
    max_leaves=8,
)


@given(_VALUES)
def test_what_is_written_is_json(value: Any) -> None:
    """repr: 1, 1.0 and True are not the same; nor is the order of members."""
    assert repr(json.loads(frames._json(value))) == repr(json.loads(json.dumps(value)))
    assert frames._json(value).isascii()


@given(st.dictionaries(_TEXT, _VALUES, max_size=4))
def test_messages_come_back(message: dict[str, Any]) -> None:
    frame = frames.json_frame(message)
    kind, length = struct.unpack_from("<BI", frame)
    assert (kind, length) == (frames.JSON, len(frame) - 5)
    assert repr(frames.message(frame[5:])) == repr(json.loads(json.dumps(message)))


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text() | st.floats(allow_nan=False)), max_size=4))
def test_others_way_of_writing_is_understood(message: dict[str, Any]) -> None:
    data = json.dumps(message, ensure_ascii=False, indent=1).encode()
    assert frames.message(data) == message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}{}",
        b"{} ",
        b"{}\0",
        b'{"a":1}x',
        b"[1]",
        b"[]",
        b"1",
        b'"text"',
        b"null",
        b"true",
        b"{",
        b'{"a"}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":"\xff"}',
        b"\xff{}",
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b"1" * 10_000 + b"}",
    ],
    ids=repr,
)
def test_what_is_no_message(payload: bytes) -> None:
    with pytest.raises(frames.FrameError, match="not a JSON object"):
        frames.message(payload)


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=3), st.binary(min_size=1, max_size=5))
def test_nothing_may_follow(message: dict[str, Any], more: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.message(json.dumps(message).encode() + more)


@given(st.binary(max_size=20))
def test_anything_else_is_refused_or_an_object(payload: bytes) -> None:
    try:
        found = frames.message(payload)
    except frames.FrameError:
        return
    assert found == json.loads(payload)


@given(st.lists(st.dictionaries(_TEXT, _VALUES, max_size=3), max_size=4), st.integers(1, 9))
def test_frames_are_read_one_at_a_time(messages: list[dict[str, Any]], cut: int) -> None:
    """However the bytes come, and whatever is behind."""
    read, write = os.pipe()
    stream = b"".join(map(frames.json_frame, messages))

    def send() -> None:
        for at in range(0, len(stream), cut):
            os.write(write, stream[at : at + cut])
        os.close(write)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        found = [frames.message(frames.read(read)) for _ in messages]
        assert repr(found) == repr([json.loads(json.dumps(message)) for message in messages])
        assert frames.read(read) == b""
    finally:
        sender.join()
        os.close(read)


@pytest.mark.parametrize("part", [1, 4, 5, 7])
def test_a_stream_that_ends_within_a_frame_is_at_its_end(part: int) -> None:
    read, write = os.pipe()
    os.write(write, frames.json_frame({"a": 1})[:part])
    os.close(write)
    assert frames.read(read) == b""
    os.close(read)
