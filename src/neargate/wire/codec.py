"""What every protocol's codec does: read requests and write answers of one service.

Made by protocols.py, one per service and protocol, and kept with the service.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from neargate.kit.errors import ApiError
from neargate.wire import bounds
from neargate.wire.compression import plain
from neargate.wire.http import Request, Response
from neargate.wire.models import Operation, Service
from neargate.wire.values import Malformed

MAX_DEPTH_MESSAGE = "The request is nested too deeply"


class Codec(ABC):
    malformed_code: ClassVar[str]
    """The error code of a body that cannot be read."""

    def __init__(self, service: Service) -> None:
        self.service = service

    @abstractmethod
    def find(self, request: Request) -> Operation:
        """The operation a request names. Raises ApiError."""

    @abstractmethod
    def prepare(self, operation: Operation) -> None:
        """Make what reads this operation's parameters, so that another thread finds it ready."""

    def takes_long(self, operation: Operation, request: Request) -> bool:
        """Whether reading the parameters is work for another thread."""
        return bounds.takes_long(request)

    @abstractmethod
    def read(self, operation: Operation, request: Request) -> dict[str, Any]:
        """The parameters of a request. Raises Malformed."""

    @abstractmethod
    def write(self, operation: Operation, result: Mapping[str, Any], request_id: str) -> Response: ...

    @abstractmethod
    def write_error(self, operation: Operation | None, error: ApiError, request_id: str) -> Response: ...

    def parameters(self, operation: Operation, request: Request) -> dict[str, Any]:
        """The parameters of a request. Raises ApiError."""
        try:
            compressed = operation.model.requestcompression is not None
            return self.read(operation, plain(request) if compressed else request)
        except Malformed as problem:
            raise ApiError(self.malformed_code, str(problem), status=400) from None
        except RecursionError:
            raise ApiError(self.malformed_code, MAX_DEPTH_MESSAGE, status=400) from None
