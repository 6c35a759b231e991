"""What an ApiError is on the wire: its code, status and members as the service's model spells them.

Called by the codecs when they write an error.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from neargate.kit.errors import ApiError
from neargate.wire.json_body import Writers
from neargate.wire.models import Service
from neargate.wire.shapes import Ref, Shape

# What SQS called its errors in the query protocol, where its model does not say so.
_QUERY_CODES = {
    ("sqs", name): f"AWS.SimpleQueueService.{code}"
    for name, code in (
        ("BatchEntryIdsNotDistinct", "BatchEntryIdsNotDistinct"),
        ("BatchRequestTooLong", "BatchRequestTooLong"),
        ("EmptyBatchRequest", "EmptyBatchRequest"),
        ("InvalidBatchEntryId", "InvalidBatchEntryId"),
        ("MessageNotInflight", "MessageNotInflight"),
        ("PurgeQueueInProgress", "PurgeQueueInProgress"),
        ("QueueDoesNotExist", "NonExistentQueue"),
        ("TooManyEntriesInBatchRequest", "TooManyEntriesInBatchRequest"),
        ("UnsupportedOperation", "UnsupportedOperation"),
    )
} | {("sqs", "QueueNameExists"): "QueueAlreadyExists"}


@dataclass(frozen=True, slots=True)
class WireError:
    name: str
    """The error shape's name; the code where the model has none."""
    code: str
    """What the query protocols call it."""
    status: int
    members: dict[str, Any]
    """The message, spelled as the shape spells it, and the shape's other members."""
    message: str
    shape: Shape | None
    has_message: bool
    """Whether the shape has a member for the message."""

    def body(self, writers: Writers, written: Container[str] | None = None) -> dict[str, Any]:
        """The members as a JSON or CBOR body has them; `written` -- those that stand in the body, if not all.

        A message that the shape has no member for is told all the same: clients look for it.
        """
        members = self.members
        if self.shape is not None:
            shown = {name: value for name, value in members.items() if written is None or name in written}
            writer = writers.of(Ref(self.name))
            members = shown if writer is None else writer(shown)
        if not self.has_message and self.message:
            members = {"message": self.message, **members}
        return members

    def query_headers(self, service: Service) -> dict[str, str]:
        """What clients that once spoke the query protocol are told besides: its code for the error."""
        if not service.query_compatible or self.code == self.name:
            return {}
        return {"x-amzn-query-error": f"{self.code};{'Sender' if self.by_client else 'Receiver'}"}

    @property
    def by_client(self) -> bool:
        trait = self.shape.error if self.shape is not None else None
        told = trait.sender_fault if trait is not None else None
        return self.status < 500 if told is None else told


def on_the_wire(service: Service, error: ApiError, *, query: bool = False) -> WireError:
    """`query` -- whether the answer is in the query protocol, whose statuses others do not take over."""
    found = service.error_shape(error.code)
    if found is None:
        members = {"message": error.message, **error.fields}
        return WireError(error.code, error.code, error.status or 400, members, error.message, None, True)
    name, shape = found
    trait = shape.error
    modelled = trait.http_status_code if trait and (query or not service.query_compatible) else None
    status = error.status or modelled or (500 if shape.fault else 400)
    spelled = next((member for member in shape.members if member.lower() == "message"), "")
    code = (trait and trait.code) or _QUERY_CODES.get((service.name, name)) or name
    members = {spelled or "message": error.message, **error.fields}
    return WireError(name, code, status, members, error.message, shape, bool(spelled))
