"""Requests into parameters and results into answers, in whichever AWS protocol a client speaks.

Called by gateway/. Picks the protocol of each request, and leaves the work to that protocol's codec. Event
streams are left out: an answer here is one body, and no operation that is built streams events.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from neargate.kit.errors import ApiError
from neargate.wire import bounds, validate
from neargate.wire.codec import Codec
from neargate.wire.codec_cbor import CborCodec
from neargate.wire.codec_json import JsonCodec
from neargate.wire.codec_query import QueryCodec
from neargate.wire.codec_rest import RestJsonCodec, RestXmlCodec
from neargate.wire.http import Request, Response
from neargate.wire.models import Operation, Service


class Protocol(StrEnum):
    """AWS's protocols by botocore's names."""

    JSON = "json"
    QUERY = "query"
    EC2 = "ec2"
    REST_JSON = "rest-json"
    REST_XML = "rest-xml"
    CBOR = "smithy-rpc-v2-cbor"


_CODECS: dict[Protocol, Callable[[Service], Codec]] = {
    Protocol.JSON: JsonCodec,
    Protocol.QUERY: QueryCodec,
    Protocol.EC2: lambda service: QueryCodec(service, ec2=True),
    Protocol.REST_JSON: RestJsonCodec,
    Protocol.REST_XML: RestXmlCodec,
    Protocol.CBOR: CborCodec,
}
_OF_NAME = {protocol.value: protocol for protocol in Protocol}


@dataclass(slots=True)
class Parsed:
    """A request whose operation is known. Its parameters are read when they are asked for: an operation that
    is not built says so whatever it was sent.
    """

    operation: Operation
    protocol: Protocol
    _request: Request

    @property
    def takes_long(self) -> bool:
        """Whether `params` is work for another thread; it is prepared for one where it is."""
        codec = _codec(self.operation.service, self.protocol)
        if not codec.takes_long(self.operation, self._request):
            return False
        codec.prepare(self.operation)
        validate.prepare(self.operation)
        return True

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, held against the model. Raises ApiError."""
        params = _codec(self.operation.service, self.protocol).parameters(self.operation, self._request)
        validate.check(self.operation, params)
        return params


def detect(service: Service, request: Request) -> Protocol:
    """The protocol of a request to a service; the service's first where nothing in it tells."""
    spoken = service.protocols
    if len(spoken) > 1:
        headers = request.headers
        if "smithy-protocol" in headers or request.path.startswith("/service/"):
            wanted: tuple[Protocol, ...] = (Protocol.CBOR,)
        elif "x-amz-target" in headers:
            wanted = (Protocol.JSON,)
        elif "x-www-form-urlencoded" in headers.get("content-type", "") or "Action=" in request.query:
            wanted = (Protocol.QUERY, Protocol.EC2)
        else:
            wanted = ()
        for protocol in wanted:
            if protocol in spoken:
                return protocol
    return _OF_NAME[spoken[0]]


def _codec(service: Service, protocol: Protocol) -> Codec:
    codec = service.codecs.get(protocol)
    if codec is None:
        codec = service.codecs[protocol] = _CODECS[protocol](service)
    return codec


def parse(service: Service, request: Request) -> Parsed:
    """A request's operation, and access to its parameters. Raises ApiError."""
    protocol = detect(service, request)
    return Parsed(_codec(service, protocol).find(request), protocol, request)


def takes_long(service: Service, request: Request) -> bool:
    """Whether `parse` is work for another thread: some protocols name the operation in the body."""
    return detect(service, request) in (Protocol.QUERY, Protocol.EC2) and bounds.takes_long(request)


def serialize(
    operation: Operation, protocol: Protocol, result: Mapping[str, Any], request_id: str
) -> Response:
    """The answer of an operation that did its work. `result` is spelled as the output shape."""
    return _codec(operation.service, protocol).write(operation, result, request_id)


def serialize_error(
    service: Service, operation: Operation | None, protocol: Protocol, error: ApiError, request_id: str
) -> Response:
    return _codec(service, protocol).write_error(operation, error, request_id)


def not_built(operation: Operation) -> ApiError:
    """What an operation answers that the model has and neargate has not."""
    message = f"The operation {operation.service.name} {operation.name} is not built into neargate."
    code = (
        "NotImplemented" if {"query", "ec2"} & set(operation.service.protocols) else "NotImplementedException"
    )
    return ApiError(code, message, status=501)
