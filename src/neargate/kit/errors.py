"""The one error that crosses the wire. Raised by model rules and services, turned into each protocol's
shape by `wire/errors` at the gateway's edge. Anything else that escapes an operation is a bug (500).
"""

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """An AWS error: `code` as the service model spells it, a message for people.

    status -- HTTP status; None leaves it to the model's error shape (400 where it names none).
    fields -- extra members of the error shape (e.g. `resourceIds` of ConflictException).
    """

    def __init__(
        self, code: str, message: str, *, status: int | None = None, fields: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.fields: Mapping[str, Any] = fields or {}


class CellError(Exception):
    """The control plane refused a node, or cannot be reached; the message says why.

    Raised behind node/cell.Cell, which is not the AWS wire; the node makes a task's `stoppedReason` of it.
    """
