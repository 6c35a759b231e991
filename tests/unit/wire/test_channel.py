"""The data channel's layout, against bytes written by hand, and its order, on a network that loses."""

import hashlib
import random
import uuid
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.wire.channel import frames
from neargate.wire.channel.flow import LONGEST_TIMEOUT, TRIES, WINDOW, ChannelDead, Receiver, Sender
from neargate.wire.channel.frames import Frame, FrameError

ID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
BYTES = (
    b"\x00\x00\x00\x74"
    b"input_stream_data               "
    b"\x00\x00\x00\x01"
    b"\x00\x00\x01\x8b\xcf\xe5\x68\x00"
    b"\x00\x00\x00\x00\x00\x00\x00\x07"
    b"\x00\x00\x00\x00\x00\x00\x00\x01"
    b"\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x00\x11\x22\x33\x44\x55\x66\x77"
    + hashlib.sha256(b"ls\r").digest()
    + b"\x00\x00\x00\x01"
    b"\x00\x00\x00\x03"
    b"ls\r"
)
FRAME = Frame("input_stream_data", 7, b"ls\r", 1, 1, ID, 1700000000000)


def test_layout() -> None:
    assert frames.encode(FRAME) == BYTES
    assert frames.decode(BYTES) == FRAME


def test_the_type_may_be_padded_with_nul() -> None:
    assert frames.decode(BYTES.replace(b" ", b"\0")) == FRAME


@given(
    st.sampled_from([frames.INPUT, frames.OUTPUT, frames.ACKNOWLEDGE, frames.CHANNEL_CLOSED]),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=3000),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.uuids(),
    st.integers(0, 2**64 - 1),
)
def test_what_is_written_is_read(kind, sequence, payload, payload_type, flags, id, created) -> None:  # type: ignore[no-untyped-def]
    frame = Frame(kind, sequence, payload, payload_type, flags, id, created)
    assert frames.decode(frames.encode(frame)) == frame


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(FrameError):
        frames.decode(data)


@given(st.integers(0, len(BYTES) - 1), st.integers(1, 255))
def test_a_changed_byte_never_changes_the_payload(at: int, change: int) -> None:
    data = bytearray(BYTES)
    data[at] ^= change
    try:
        assert frames.decode(bytes(data)).payload == FRAME.payload
    except FrameError:
        return


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "0 bytes"),
        (BYTES[:119], "119 bytes"),
        (b"\x00\x00\x00\x75" + BYTES[4:], "header length is 117"),
        (BYTES[:36] + b"\x00\x00\x00\x02" + BYTES[40:], "schema version is 2"),
        (BYTES + b"x", "payload length is 3, but 4"),
        (BYTES[:-1], "payload length is 3, but 2"),
        (BYTES[:-1] + b"\n", "digest"),
        (BYTES[:4] + b"\xff" * 32 + BYTES[36:], "ASCII"),
        (frames.encode(Frame("t", 0, b"x" * (frames.MAX_PAYLOAD + 1))), "at most"),
    ],
)
def test_refusals(data: bytes, what: str) -> None:
    with pytest.raises(FrameError, match=what):
        frames.decode(data)


def test_an_acknowledgement_names_its_message() -> None:
    answer = frames.acknowledgement(FRAME, 5)
    assert (answer.type, answer.created_ms) == ("acknowledge", 5)
    assert frames.acknowledged(answer.payload) == 7
    assert frames.read(answer.payload)["AcknowledgedMessageId"] == str(ID)
    assert frames.read(answer.payload)["AcknowledgedMessageType"] == "input_stream_data"


@pytest.mark.parametrize(
    ("payload", "found"),
    [(b'{"cols": 132, "rows": 43}', (132, 43)), (b'{"cols": -1, "rows": 99999}', (0, 65535))],
)
def test_sizes(payload: bytes, found: tuple[int, int]) -> None:
    assert frames.size(payload) == found


@pytest.mark.parametrize("payload", [b"", b"[1]", b"{}", b'{"cols": "80", "rows": 24}', b"[" * 5000])
def test_sizes_refused(payload: bytes) -> None:
    with pytest.raises(FrameError):
        frames.size(payload)


def test_flags() -> None:
    assert frames.flag(b"\0\0\0\2") == frames.TERMINATE_SESSION
    with pytest.raises(FrameError):
        frames.flag(b"\2")


# --- the order


def test_only_the_oldest_is_sent_again_and_ever_more_rarely() -> None:
    sender = Sender()
    assert sender.wake_at is None
    sender.sent(b"a", 0.0)
    sender.sent(b"b", 0.1)
    moments, now = [], 0.0
    while len(moments) < 5:
        assert sender.wake_at is not None
        now = sender.wake_at
        assert sender.again(now - 0.001) is None
        assert sender.again(now) == b"a"
        moments.append(round(now, 3))
    assert moments == [0.2, 0.6, 1.4, 2.4, 3.4]
    sender.acknowledged(0, 3.5)
    assert sender.again(3.5) == b"b"


def test_a_slow_channel_is_given_more_time() -> None:
    sender = Sender()
    for number in range(20):
        sender.sent(b"x", float(number))
        sender.acknowledged(number, number + 0.6)
    sender.sent(b"y", 100.0)
    assert sender.wake_at is not None and 100.5 < sender.wake_at <= 100.0 + LONGEST_TIMEOUT


def test_after_the_last_try_the_channel_is_dead() -> None:
    sender, now = Sender(), 0.0
    sender.sent(b"a", now)
    for _ in range(TRIES):
        now += LONGEST_TIMEOUT
        assert sender.again(now) == b"a"
    with pytest.raises(ChannelDead):
        sender.again(now + LONGEST_TIMEOUT)


def test_the_window() -> None:
    sender = Sender()
    for _ in range(WINDOW):
        assert not sender.full
        sender.sent(b"x", 0.0)
    assert sender.full and not sender.done
    for number in range(WINDOW):
        sender.acknowledged(number, 0.1)
    assert sender.done
    sender.acknowledged(12345, 0.1)


def test_far_ahead_of_a_gap_nothing_is_kept() -> None:
    receiver = Receiver(ahead=2)
    assert receiver.take(Frame("t", 1, b"")) == (True, [])
    assert receiver.take(Frame("t", 2, b"")) == (True, [])
    assert receiver.take(Frame("t", 3, b"")) == (False, [])
    assert receiver.take(Frame("t", 2**63, b"")) == (False, [])
    acknowledge, ready = receiver.take(Frame("t", 0, b""))
    assert acknowledge and [frame.sequence for frame in ready] == [0, 1, 2]
    assert receiver.take(Frame("t", 1, b"")) == (True, [])


@given(st.lists(st.binary(max_size=4), max_size=60), st.integers(0, 2**32))
def test_whatever_the_network_does_the_stream_is_whole(chunks: list[bytes], seed: int) -> None:
    """Messages and acknowledgements get lost, doubled and overtaken."""
    chance = random.Random(seed)
    sender, receiver, now = Sender(window=8), Receiver(ahead=8), 0.0
    there: deque[bytes] = deque()
    waiting, got = deque(chunks), []
    for _ in range(20_000):
        now += 0.05
        while waiting and not sender.full:
            data = frames.encode(Frame("t", sender.next, waiting.popleft()))
            sender.sent(data, now)
            there.append(data)
        if (again := sender.again(now)) is not None:
            there.append(again)
        if there and chance.random() < 0.3:
            there.rotate(chance.randrange(len(there)))
        if there:
            data = there.popleft()
            if chance.random() < 0.2:
                there.append(data)
            if chance.random() < 0.8:
                acknowledge, ready = receiver.take(frames.decode(data))
                got += [frame.payload for frame in ready]
                if acknowledge and chance.random() < 0.8:
                    sender.acknowledged(frames.decode(data).sequence, now)
        if sender.done and not waiting:
            break
    assert got == chunks
