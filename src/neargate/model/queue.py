"""Records and pure rules of SQS: queues, their attributes, messages, digests that clients check.

Written through state/queues; services/sqs is the API.
"""

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from typing import Any, Final

from neargate.kit import inner_json
from neargate.kit.errors import ApiError
from neargate.model.record import Record

MAX_BYTES: Final = 1_048_576
DEDUPLICATION_SECONDS: Final = 300.0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_FIFO_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo")
_RANGES: Final[Mapping[str, tuple[int, int, int]]] = {
    "DelaySeconds": (0, 900, 0),
    "MaximumMessageSize": (1024, MAX_BYTES, MAX_BYTES),
    "MessageRetentionPeriod": (60, 1_209_600, 345_600),
    "ReceiveMessageWaitTimeSeconds": (0, 20, 0),
    "VisibilityTimeout": (0, 43_200, 30),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400, 300),
}
"""Least, most, default."""
_DEFAULTS: Final = ("DelaySeconds", "MaximumMessageSize", "MessageRetentionPeriod")
_SHOWN_DEFAULTS: Final = (*_DEFAULTS, "ReceiveMessageWaitTimeSeconds", "VisibilityTimeout")
_FLAGS: Final = ("FifoQueue", "ContentBasedDeduplication", "SqsManagedSseEnabled")
_FIFO_ONLY: Final[Mapping[str, tuple[str, ...]]] = {
    "ContentBasedDeduplication": ("true", "false"),
    "DeduplicationScope": ("messageGroup", "queue"),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
}
_TEXTS: Final = ("Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId")
_BAD_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Queue(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    name: str
    number: int
    """Of its own: a queue of the same name made later has none of its messages."""
    fifo: bool = False
    attributes: dict[str, str] = {}
    """Those that were set."""
    tags: dict[str, str] = {}
    created_at: float = 0.0
    modified_at: float = 0.0
    purged_at: float | None = None

    def seconds(self, name: str) -> int:
        """An attribute that is a number, or its default."""
        return int(self.attributes.get(name) or _RANGES[name][2])

    @property
    def redrive(self) -> tuple[str, int] | None:
        """ARN of its dead letter queue, and how often a message is received before it goes there."""
        text = self.attributes.get("RedrivePolicy")
        if not text:
            return None
        policy = json.loads(text)
        return policy["deadLetterTargetArn"], int(policy["maxReceiveCount"])


class Message(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    queue: int
    sequence: int
    body: str
    sent_at: float
    visible_at: float
    expires_at: float
    fifo: bool = False
    attributes: dict[str, dict[str, Any]] = {}
    """DataType, and StringValue or BinaryValue in base64."""
    trace: str = ""
    sender: str = ""
    group: str = ""
    deduplication: str = ""
    dead_from: str = ""
    """ARN of the queue that it was moved here from."""
    received: int = 0
    first_received_at: float | None = None
    receipt: str = ""
    """Of the last time it was received."""

    @property
    def key(self) -> str:
        """Standard queues: in the order in which messages can be received. FIFO: as they were sent."""
        if self.fifo:
            return f"{self.queue:09d}/{self.sequence:015d}"
        return f"{self.queue:09d}/{int(self.visible_at * 1000):015d}/{self.sequence:015d}"


class Deduplication(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A message of a FIFO queue that is not taken again for five minutes."""

    id: str
    message_id: str
    sequence: int
    at: float


def invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterValue", message, status=400)


def _bad_value(name: str) -> ApiError:
    return ApiError("InvalidAttributeValue", f"Invalid value for the parameter {name}.")


def check_name(name: str, fifo: bool) -> None:
    if fifo and not name.endswith(".fifo"):
        raise invalid(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or"
            " underscores, must end with .fifo suffix and be 1 to 80 in length."
        )
    if not (_FIFO_NAME if fifo else _NAME).fullmatch(name):
        raise invalid("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.")


def checked_attributes(given: Mapping[str, str], fifo: bool) -> dict[str, str]:
    """Attributes of a request that may be set. An empty text takes a policy away."""
    checked: dict[str, str] = {}
    for name, value in given.items():
        if name in _RANGES:
            least, most, _ = _RANGES[name]
            if not re.fullmatch("[0-9]{1,9}", value) or not least <= int(value) <= most:
                raise _bad_value(name)
            checked[name] = str(int(value))
            continue
        if name in _FIFO_ONLY and not fifo:
            raise ApiError("InvalidAttributeName", f"Unknown Attribute {name}.")
        if name in _FIFO_ONLY or name in _FLAGS:
            if value not in _FIFO_ONLY.get(name, ("true", "false")):
                raise _bad_value(name)
        elif name in ("Policy", "RedrivePolicy", "RedriveAllowPolicy"):
            _check_json(name, value)
        elif name not in _TEXTS:
            raise ApiError("InvalidAttributeName", f"Unknown Attribute {name[:100]}.")
        checked[name] = value
    return checked


def _check_json(name: str, value: str) -> None:
    if not value:
        return
    try:
        policy = inner_json.read(value)
    except ValueError:
        policy = None
    if not isinstance(policy, dict):
        raise _bad_value(name)
    if name == "RedrivePolicy":
        _check_redrive(value, policy)
    if name == "RedriveAllowPolicy":
        _check_redrive_allow(value, policy)


def _check_redrive_allow(value: str, policy: Mapping[str, Any]) -> None:
    told = f"Value {value[:300]} for parameter RedriveAllowPolicy is invalid. Reason: "
    permission, sources = policy.get("redrivePermission", "allowAll"), policy.get("sourceQueueArns")
    if permission not in ("allowAll", "denyAll", "byQueue"):
        raise invalid(f"{told}redrivePermission must be allowAll, denyAll or byQueue.")
    if (sources is not None) != (permission == "byQueue"):
        raise invalid(f"{told}sourceQueueArns goes with redrivePermission byQueue.")
    if sources is not None and not (
        isinstance(sources, list) and 0 < len(sources) <= 10 and all(isinstance(it, str) for it in sources)
    ):
        raise invalid(f"{told}sourceQueueArns must be a list of 1 to 10 ARNs.")


def _check_redrive(value: str, policy: Mapping[str, Any]) -> None:
    told = f"Value {value[:300]} for parameter RedrivePolicy is invalid. Reason: "
    for member in ("deadLetterTargetArn", "maxReceiveCount"):
        if member not in policy:
            raise invalid(f"{told}Redrive policy does not contain mandatory attribute: {member}.")
    if not isinstance(policy["deadLetterTargetArn"], str):
        raise invalid(f"{told}Invalid value for deadLetterTargetArn.")
    count = str(policy["maxReceiveCount"])
    if not re.fullmatch("[0-9]{1,4}", count) or not 1 <= int(count) <= 1000:
        raise invalid(
            f"{told}Invalid value for maxReceiveCount: {count[:50]}, valid values are from 1 to"
            " 1000 both inclusive."
        )


def shown_attributes(queue: Queue) -> dict[str, str]:
    """All but the counts, which change without the queue."""
    shown = {name: str(_RANGES[name][2]) for name in _SHOWN_DEFAULTS}
    shown["SqsManagedSseEnabled"] = "true"
    shown |= queue.attributes
    shown["QueueArn"] = queue.arn
    shown["CreatedTimestamp"] = str(int(queue.created_at))
    shown["LastModifiedTimestamp"] = str(int(queue.modified_at))
    if queue.fifo:
        fifo = {"ContentBasedDeduplication": "false", "DeduplicationScope": "queue"}
        shown = {**fifo, "FifoThroughputLimit": "perQueue", **shown, "FifoQueue": "true"}
    return {name: value for name, value in shown.items() if value}


def check_body(body: str) -> None:
    if not body:
        raise ApiError("MissingParameter", "The request must contain the parameter MessageBody.", status=400)
    if _BAD_CHARACTER.search(body):
        message = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF |"
        raise ApiError("InvalidMessageContents", f"{message} #xE000 to #xFFFD | #x10000 to #x10FFFF.")


def size_of(body: str, attributes: Mapping[str, Mapping[str, Any]]) -> int:
    """What counts against the limit: the body, and the attributes' names, types and values."""
    size = len(body.encode())
    for name, value in attributes.items():
        data = value.get("StringValue")
        bare = data.encode() if data is not None else bytes(value.get("BinaryValue") or b"")
        size += len(name.encode()) + len(value["DataType"].encode()) + len(bare)
    return size


def body_digest(body: str) -> str:
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def attributes_digest(attributes: Mapping[str, Mapping[str, Any]]) -> str | None:
    """AWS's digest of message attributes: each part with its length, in the order of names."""
    if not attributes:
        return None
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        value = attributes[name]
        for part in (name, value["DataType"]):
            digest.update(_counted(part.encode()))
        if value.get("StringValue") is not None:
            digest.update(b"\x01" + _counted(value["StringValue"].encode()))
        else:
            digest.update(b"\x02" + _counted(bytes(value.get("BinaryValue") or b"")))
    return digest.hexdigest()


def _counted(data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + data


def content_id(body: str) -> str:
    """The deduplication id of a message by its content."""
    return hashlib.sha256(body.encode()).hexdigest()
