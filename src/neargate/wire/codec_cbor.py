"""Smithy's RPC v2 protocol with CBOR bodies: an operation named by the path.

Made by protocols.py.
"""

import re
from collections.abc import Mapping
from typing import Any

from neargate.kit.errors import ApiError
from neargate.wire import cbor_body
from neargate.wire.codec import Codec
from neargate.wire.errors import on_the_wire
from neargate.wire.http import Request, Response
from neargate.wire.models import Operation, Service
from neargate.wire.shapes import Ref

_PATH = re.compile(r"(?:/[^/]+)*/service/([A-Za-z0-9_.]+)/operation/([A-Za-z0-9_]+)")


class CborCodec(Codec):
    malformed_code = "SerializationException"

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._readers = cbor_body.Readers(service.shapes)
        self._writers = cbor_body.Writers(service.shapes)

    def find(self, request: Request) -> Operation:
        found = _PATH.fullmatch(request.path) if len(request.path) < 1024 else None
        operation = self.service.operations.get(found[2]) if found else None
        if operation is None:
            raise ApiError("UnknownOperationException", "The path names no operation.", status=404)
        return operation

    def prepare(self, operation: Operation) -> None:
        if operation.input is not None:
            self._readers.of(operation.input)

    def read(self, operation: Operation, request: Request) -> dict[str, Any]:
        if operation.input is None or not request.body:
            return {}
        params: dict[str, Any] = self._readers.of(operation.input)(cbor_body.decode(request.body))
        return params

    def write(self, operation: Operation, result: Mapping[str, Any], request_id: str) -> Response:
        headers = {"x-amzn-requestid": request_id, "smithy-protocol": "rpc-v2-cbor"}
        if operation.output is None:
            return Response(200, headers, b"")
        headers["content-type"] = "application/cbor"
        return Response(200, headers, self._body(operation.output, result))

    def _body(self, ref: Ref, value: Mapping[str, Any]) -> bytes:
        writer = self._writers.of(ref)
        return cbor_body.encode(value if writer is None else writer(value))

    def write_error(self, operation: Operation | None, error: ApiError, request_id: str) -> Response:
        wire = on_the_wire(self.service, error)
        headers = {
            "x-amzn-requestid": request_id,
            "smithy-protocol": "rpc-v2-cbor",
            "content-type": "application/cbor",
        }
        headers |= wire.query_headers(self.service)
        body = cbor_body.encode({"__type": wire.name, **wire.body(self._writers)})
        return Response(wire.status, headers, body)
