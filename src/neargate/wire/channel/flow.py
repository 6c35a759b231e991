"""What makes one direction of a data channel whole: each message is acknowledged, sent again where it is not,
and taken in order, once. Pure; time is passed in. Both ends have one Sender and one Receiver.

Only the oldest message that is not acknowledged is sent again: after 200 ms at first, then after what a round
trip was measured to take, doubled each time, one second at most; 3000 times, then the channel is dead.
"""

from collections import OrderedDict
from dataclasses import dataclass

from neargate.wire.channel.frames import Frame

FIRST_TIMEOUT, LONGEST_TIMEOUT = 0.2, 1.0
TRIES = 3000
WINDOW = 256
"""Messages that may be on their way."""
_LEAST_TIMEOUT = 0.2
_AHEAD = 1024
"""Messages beyond a gap that are kept."""


@dataclass(slots=True)
class _Sent:
    data: bytes
    at: float
    tries: int = 0


class Sender:
    def __init__(self, window: int = WINDOW) -> None:
        self.next = 0
        """Sequence number of the next message."""
        self._window = window
        self._sent: OrderedDict[int, _Sent] = OrderedDict()
        self._round_trip = 0.0
        self._variation = 0.0
        self._timeout = FIRST_TIMEOUT

    @property
    def full(self) -> bool:
        """Wait for acknowledgements before sending more."""
        return len(self._sent) >= self._window

    @property
    def done(self) -> bool:
        """All that was sent is acknowledged."""
        return not self._sent

    def sent(self, data: bytes, now: float) -> None:
        """A message with the number `next` goes out."""
        self._sent[self.next] = _Sent(data, now)
        self.next += 1

    def acknowledged(self, sequence: int, now: float) -> None:
        """One that was never sent, or is acknowledged again, changes nothing."""
        sent = self._sent.pop(sequence, None)
        if sent is not None and not sent.tries:  # of one sent again nobody knows which copy it was
            self._measured(now - sent.at)

    def _measured(self, took: float) -> None:
        if self._round_trip:
            self._variation += (abs(self._round_trip - took) - self._variation) / 4
            self._round_trip += (took - self._round_trip) / 8
        else:
            self._round_trip, self._variation = took, took / 2
        wanted = self._round_trip + 4 * self._variation
        self._timeout = min(max(wanted, _LEAST_TIMEOUT), LONGEST_TIMEOUT)

    @property
    def wake_at(self) -> float | None:
        """When to look at `again`; None if nothing is on its way."""
        for sent in self._sent.values():
            return sent.at + self._patience(sent)
        return None

    def _patience(self, sent: _Sent) -> float:
        return min(self._timeout * (1 << min(sent.tries, 8)), LONGEST_TIMEOUT)

    def again(self, now: float) -> bytes | None:
        """The message to send again now, if any. Raise ChannelDead after the last try."""
        for sent in self._sent.values():
            if now < sent.at + self._patience(sent):
                return None
            if sent.tries >= TRIES:
                raise ChannelDead(f"a message was not acknowledged after {TRIES} tries")
            sent.tries += 1
            sent.at = now
            return sent.data
        return None

    def all_again(self, now: float) -> list[bytes]:
        """Everything on its way, in order: the other side is there again on a new connection."""
        for sent in self._sent.values():
            sent.tries += 1
            sent.at = now
        return [sent.data for sent in self._sent.values()]


class ChannelDead(Exception):
    """The other side acknowledges nothing any more."""


class Receiver:
    def __init__(self, ahead: int = _AHEAD) -> None:
        self.expected = 0
        self._ahead = ahead
        self._early: dict[int, Frame] = {}

    def take(self, frame: Frame) -> tuple[bool, list[Frame]]:
        """Whether to acknowledge the message, and those that can be processed now, in order."""
        if frame.sequence < self.expected:
            return True, []  # its acknowledgement was lost
        if frame.sequence > self.expected:
            if frame.sequence > self.expected + self._ahead:
                return False, []  # it will come again
            self._early.setdefault(frame.sequence, frame)
            return True, []
        ready = [frame]
        self.expected += 1
        while (early := self._early.pop(self.expected, None)) is not None:
            ready.append(early)
            self.expected += 1
        return True, ready
