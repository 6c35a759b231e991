"""Records and pure rules of CloudWatch Logs: groups, streams, what a batch of events may hold.

Used by services/logs (the API), services/cell/log_intake (containers' own lines) and state/log_events.
Moments here are milliseconds since the epoch, as this API writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from msgspec import Struct

from neargate.kit.errors import ApiError
from neargate.model.record import Record

HOUR = 3_600_000
DAY = 24 * HOUR
EVENT_OVERHEAD = 26
"""Bytes that AWS counts for an event beyond its message."""
MAX_EVENT_BYTES = 1024 * 1024
MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_EVENTS = 10_000
MAX_ANSWER_BYTES = 1024 * 1024
TOO_NEW = 2 * HOUR
TOO_OLD = 14 * DAY
RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096),
    *(1827, 2192, 2557, 2922, 3288, 3653),
)


class LogGroup(Record, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    number: int
    """What its streams refer to: a group made anew under an old name has none of the old events."""
    created_at: int
    retention_days: int | None = None
    group_class: str = "STANDARD"
    kms_key_id: str | None = None
    deletion_protection: bool = False
    tags: dict[str, str] = {}

    @property
    def arn(self) -> str:
        """Without the `:*` that some answers add."""
        return f"arn:aws:logs:{self.region}:{self.account}:log-group:{self.name}"


class LogStream(Struct, frozen=True):
    """A row of log_stream. A time of 0 is none; `number` is what events refer to."""

    number: int
    group: int
    name: str
    created_at: int
    first_event: int = 0
    last_event: int = 0
    last_ingestion: int = 0
    bytes: int = 0


def group_id(account: str, region: str, name: str) -> str:
    return f"{account}/{region}/{name}"


class StoredEvent(Struct, frozen=True, array_like=True):
    """One event as read back. (timestamp, seq) orders events, also across streams."""

    timestamp: int
    seq: int
    ingestion: int
    message: bytes
    stream: int

    @property
    def id(self) -> str:
        return f"{self.timestamp:016d}{self.seq:040d}"


@dataclass(frozen=True, slots=True)
class Checked:
    """What of a batch is kept: events[start:end]; the others as rejectedLogEventsInfo counts them."""

    start: int
    end: int
    rejected: dict[str, int]


def check_batch(stamps: Sequence[int], sizes: Sequence[int], now: int, retention_days: int | None) -> Checked:
    """PutLogEvents' rules on a batch's timestamps and message sizes (bytes of UTF-8).

    Raises ApiError InvalidParameterException on what AWS refuses whole; events out of time are left out.
    """
    for size in sizes:
        if size > MAX_EVENT_BYTES - EVENT_OVERHEAD:
            raise _invalid(
                f"Log event too large: {size + EVENT_OVERHEAD} bytes exceeds limit of {MAX_EVENT_BYTES}"
            )
    total = sum(sizes) + EVENT_OVERHEAD * len(sizes)
    if total > MAX_BATCH_BYTES:
        raise _invalid(f"Upload too large: {total} bytes exceeds limit of {MAX_BATCH_BYTES}")
    if any(later < earlier for earlier, later in pairwise(stamps)):
        raise _invalid("Log events in a single PutLogEvents request must be in chronological order.")
    if stamps[-1] - stamps[0] > DAY:
        raise _invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
        )
    expired = 0
    if retention_days is not None:
        expired = sum(1 for ts in stamps if ts < now - retention_days * DAY)
    old = sum(1 for ts in stamps if ts < now - TOO_OLD)
    end = sum(1 for ts in stamps if ts <= now + TOO_NEW)
    rejected: dict[str, int] = {}
    if end < len(stamps):
        rejected["tooNewLogEventStartIndex"] = end
    if old:
        rejected["tooOldLogEventEndIndex"] = old
    if expired:
        rejected["expiredLogEventEndIndex"] = expired
    return Checked(max(expired, old), end, rejected)


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)
