"""The JSON protocols 1.0 and 1.1: an operation named by a header, parameters and result in the bodies.

Made by protocols.py.
"""

from collections.abc import Mapping
from typing import Any

from neargate.kit.errors import ApiError
from neargate.wire import json_body
from neargate.wire.codec import Codec
from neargate.wire.errors import on_the_wire
from neargate.wire.http import Request, Response
from neargate.wire.json_writer import Encoder, Encoders
from neargate.wire.models import Operation, Service


class JsonCodec(Codec):
    malformed_code = "SerializationException"

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._content_type = f"application/x-amz-json-{service.metadata.json_version}"
        self._readers = json_body.Readers(service.shapes)
        self._encoders = Encoders(service.shapes)
        self._of_operation: dict[str, tuple[json_body.Reader | None, Encoder | None]] = {}

    def find(self, request: Request) -> Operation:
        target = request.headers.get("x-amz-target", "")
        name = target.rpartition(".")[2]
        operation = self.service.operations.get(name)
        if operation is None:
            raise ApiError("UnknownOperationException", f"There is no operation '{name[:128]}'.", status=400)
        return operation

    def prepare(self, operation: Operation) -> None:
        self._pair(operation)

    def _pair(self, operation: Operation) -> tuple[json_body.Reader | None, Encoder | None]:
        pair = self._of_operation.get(operation.name)
        if pair is None:
            reader = self._readers.of(operation.input) if operation.input else None
            encoder = self._encoders.of(operation.output) if operation.output else None
            pair = self._of_operation[operation.name] = (reader, encoder)
        return pair

    def read(self, operation: Operation, request: Request) -> dict[str, Any]:
        # Operations without members may be sent no body at all.
        raw = json_body.decode(request.body) if request.body else {}
        reader = self._pair(operation)[0]
        params: dict[str, Any] = {} if reader is None else reader(raw)
        return params

    def write(self, operation: Operation, result: Mapping[str, Any], request_id: str) -> Response:
        encoder = self._pair(operation)[1]
        return Response(200, self._headers(request_id), b"{}" if encoder is None else encoder(result))

    def _headers(self, request_id: str) -> dict[str, str]:
        return {"x-amzn-requestid": request_id, "content-type": self._content_type}

    def write_error(self, operation: Operation | None, error: ApiError, request_id: str) -> Response:
        wire = on_the_wire(self.service, error)
        headers = {**self._headers(request_id), "x-amzn-errortype": wire.name}
        headers |= wire.query_headers(self.service)
        body = json_body.encode({"__type": wire.name, **wire.body(self._encoders.writers)})
        return Response(wire.status, headers, body)
