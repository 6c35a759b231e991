"""What an ApiError is on the wire: its code, status and members as the service's model spells them.

Called by the codecs when they write an error.
"""

from dataclasses import dataclass
from typing import Any

from neargate.kit.errors import ApiError
from neargate.wire.models import Service
from neargate.wire.shapes import Shape


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

    @property
    def by_client(self) -> bool:
        trait = self.shape.error if self.shape is not None else None
        told = trait.sender_fault if trait is not None else None
        return self.status < 500 if told is None else told


def on_the_wire(service: Service, error: ApiError) -> WireError:
    found = service.error_shape(error.code)
    if found is None:
        members = {"message": error.message, **error.fields}
        return WireError(error.code, error.code, error.status or 400, members, error.message, None, True)
    name, shape = found
    trait = shape.error
    status = error.status or (trait and trait.http_status_code) or (500 if shape.fault else 400)
    spelled = next((member for member in shape.members if member.lower() == "message"), "")
    code = (trait and trait.code) or name
    members = {spelled or "message": error.message, **error.fields}
    return WireError(name, code, status, members, error.message, shape, bool(spelled))
