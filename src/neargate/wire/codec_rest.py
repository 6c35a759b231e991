"""The REST protocols with JSON and XML bodies: members in the path, the query string, headers and the body.

Made by protocols.py. Subclasses say how a body is written; the rest is the same.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from neargate.kit.errors import ApiError
from neargate.wire import form, json_body, s3_xml, xml_reader
from neargate.wire.bindings import Inputs, Outputs, inputs_of, outputs_of
from neargate.wire.codec import Codec
from neargate.wire.errors import WireError, on_the_wire
from neargate.wire.http import Request, Response, Stream
from neargate.wire.json_writer import Encoders
from neargate.wire.models import Operation, Service
from neargate.wire.routes import Route, Router, labels_of
from neargate.wire.shapes import Ref, Shape
from neargate.wire.values import Malformed
from neargate.wire.xml_writer import DECLARATION, Writers, element, xmlns

_RAW = ("blob", "string")
_NO_BODY = (204, 205, 304)


@dataclass(slots=True)
class _Plan:
    """Where the members of one structure stand."""

    shape: Shape
    inputs: Inputs
    outputs: Outputs
    payload: Ref | None
    raw: bool
    """Whether the payload is the body itself, not written in the protocol's format."""
    read: frozenset[str]
    """Members that stand in the body side by side, in a request ..."""
    written: frozenset[str]
    """... and in an answer, which has no path or query string: what is bound to them stands in the body."""


class RestCodec(Codec):
    content_type: str
    empty_without_members: bool
    """Whether a body is left out that could have no members."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._router = Router(service)
        self._plans: dict[str, _Plan] = {}

    def find(self, request: Request) -> Operation:
        try:
            return self._route(request)[0].operation
        except Malformed as problem:
            raise ApiError(self.malformed_code, str(problem), status=400) from None

    def _route(self, request: Request) -> tuple[Route, dict[str, list[str]]]:
        query: dict[str, list[str]] = {}
        for name, value in form.pairs_of(request.query) if request.query else ():
            query.setdefault(name, []).append(value)
        route = self._router.find(request, query)
        if route is None:
            message = f"Unable to determine the operation of {request.method} {request.path[:128]}."
            raise ApiError("UnknownOperationException", message, status=404)
        return route, query

    def _plan(self, name: str) -> _Plan:
        plan = self._plans.get(name)
        if plan is None:
            shapes = self.service.shapes
            shape = shapes[name]
            payload = shape.members[shape.payload] if shape.payload else None
            raw = payload is not None and shapes[payload.shape].type in _RAW
            read = _in_body(shape, ("uri", "querystring", "header", "headers"))
            written = _in_body(shape, ("header", "headers", "statusCode"))
            inputs, outputs = inputs_of(shape, shapes), outputs_of(shape, shapes)
            plan = self._plans[name] = _Plan(shape, inputs, outputs, payload, raw, read, written)
        return plan

    def prepare(self, operation: Operation) -> None:
        if operation.input is not None:
            plan = self._plan(operation.input.shape)
            if not plan.raw:
                self.prepare_body(plan.payload or operation.input)

    def takes_long(self, operation: Operation, request: Request) -> bool:
        raw = operation.input is not None and self._plan(operation.input.shape).raw
        return not raw and super().takes_long(operation, request)

    def read(self, operation: Operation, request: Request) -> dict[str, Any]:
        if operation.input is None:
            return {}
        plan = self._plan(operation.input.shape)
        route, query = self._route(request)
        constants = frozenset(name for name, _ in route.constants)
        labels = labels_of(route, request.path)
        params = plan.inputs.read(labels, query, request.headers, constants)
        if not request.body:
            return params
        if plan.payload is not None:
            params[plan.shape.payload] = self._read_payload(plan, request.body)
        elif plan.read:
            body = self.read_body(operation.input, request.body)
            params |= {member: value for member, value in body.items() if member in plan.read}
        return params

    def _read_payload(self, plan: _Plan, body: bytes) -> Any:
        assert plan.payload is not None
        if not plan.raw:
            return self.read_body(plan.payload, body)
        if self.service.shapes[plan.payload.shape].type == "blob":
            return body
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("The body is not valid UTF-8") from None

    @abstractmethod
    def prepare_body(self, ref: Ref) -> None: ...

    @abstractmethod
    def read_body(self, ref: Ref, body: bytes) -> Any: ...

    @abstractmethod
    def write_body(self, ref: Ref, value: Any) -> bytes: ...

    def write(self, operation: Operation, result: Mapping[str, Any], request_id: str) -> Response:
        status = operation.model.http.response_code
        headers = {"x-amzn-requestid": request_id}
        if operation.output is None:
            return Response(status, headers, b"")
        plan = self._plan(operation.output.shape)
        body, stream = b"", None
        if plan.payload is not None:
            value = result.get(plan.shape.payload)
            if isinstance(value, Stream):
                headers |= {"content-type": "application/octet-stream", "content-length": str(value.size)}
                stream = value
            elif value is not None:
                body = self._write_payload(plan, value, headers)
        else:
            headers["content-type"] = self.content_type
            if plan.written or not self.empty_without_members:
                written = {member: value for member, value in result.items() if member in plan.written}
                body = self.write_body(operation.output, written)
        plan.outputs.write(result, headers)
        if plan.outputs.status and result.get(plan.outputs.status) is not None:
            status = int(result[plan.outputs.status])
        elif "content-range" in headers:
            status = 206  # what no model says, and HTTP does
        return Response(status, headers, b"" if status in _NO_BODY else body, stream)

    def _write_payload(self, plan: _Plan, value: Any, headers: dict[str, str]) -> bytes:
        assert plan.payload is not None
        if not plan.raw:
            headers["content-type"] = self.content_type
            ref, member = plan.payload, plan.shape.payload
            # The member's name is none for a body, which has one of its own.
            named = ref if ref.location_name != member else msgspec.structs.replace(ref, location_name="")
            return self.write_body(named, value)
        if isinstance(value, str):
            headers["content-type"] = "text/plain"
            return value.encode()
        headers["content-type"] = "application/octet-stream"
        return bytes(value)

    def write_error(self, operation: Operation | None, error: ApiError, request_id: str) -> Response:
        wire = on_the_wire(self.service, error)
        headers = {"x-amzn-requestid": request_id, "content-type": self.content_type}
        if wire.shape is not None:
            self._plan(wire.name).outputs.write(wire.members, headers)
        return Response(wire.status, headers, self.error_body(wire, headers, request_id))

    @abstractmethod
    def error_body(self, wire: WireError, headers: dict[str, str], request_id: str) -> bytes: ...


def _in_body(shape: Shape, elsewhere: tuple[str, ...]) -> frozenset[str]:
    return frozenset(member for member, ref in shape.members.items() if ref.location not in elsewhere)


class RestJsonCodec(RestCodec):
    malformed_code = "SerializationException"
    content_type = "application/json"
    empty_without_members = False

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._readers = json_body.Readers(service.shapes)
        self._encoders = Encoders(service.shapes)

    def prepare_body(self, ref: Ref) -> None:
        self._readers.of(ref)

    def read_body(self, ref: Ref, body: bytes) -> Any:
        return self._readers.of(ref)(json_body.decode(body))

    def write_body(self, ref: Ref, value: Any) -> bytes:
        return self._encoders.of(ref)(value)

    def error_body(self, wire: WireError, headers: dict[str, str], request_id: str) -> bytes:
        headers["x-amzn-errortype"] = wire.name
        if wire.shape is None:
            return json_body.encode(wire.members)
        written = self._plan(wire.name).written
        return json_body.encode(wire.body(self._encoders.writers, written))


class RestXmlCodec(RestCodec):
    malformed_code = "MalformedXML"
    content_type = "application/xml"
    empty_without_members = True
    _BARE = frozenset({"s3"})
    """Services whose errors have no ErrorResponse around them."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._readers = xml_reader.Readers(service.shapes)
        self._writers = Writers(service.shapes)
        bare = service.name in self._BARE
        self._roots, self._unwrapped = (s3_xml.ROOTS, s3_xml.BARE) if bare else ({}, {})

    def prepare_body(self, ref: Ref) -> None:
        self._readers.of(ref)

    def read_body(self, ref: Ref, body: bytes) -> Any:
        return self._readers.of(ref)(xml_reader.decode(body))

    def write_body(self, ref: Ref, value: Any) -> bytes:
        shape = self.service.shapes[ref.shape]
        name = ref.location_name or shape.location_name or self._roots.get(ref.shape, ref.shape)
        if not xmlns(ref):
            space = shape.xml_namespace or self.service.metadata.xml_namespace
            ref = msgspec.structs.replace(ref, xml_namespace=space)
        out = [DECLARATION]
        alone = self._unwrapped.get(ref.shape)
        if alone is not None:
            inner = msgspec.structs.replace(shape.members[alone], xml_namespace=ref.xml_namespace)
            self._writers.of(inner, alone)(value.get(alone) or "", out)
        else:
            self._writers.of(ref, name)(value, out)
        return "".join(out).encode()

    def error_body(self, wire: WireError, headers: dict[str, str], request_id: str) -> bytes:
        out = ["<Error>"]
        if self.service.name not in self._BARE:
            out.append(element("Type", "Sender" if wire.by_client else "Receiver"))
        out.append(element("Code", wire.code))
        out += [element("Message", wire.message)] if wire.message else []
        if wire.shape is not None:
            written = self._plan(wire.name).written
            fields = {k: v for k, v in wire.members.items() if k.lower() != "message" and k in written}
            self._writers.members(Ref(wire.name))(fields, out)
        request = element("RequestId", request_id)
        if self.service.name in self._BARE:
            return "".join([DECLARATION, *out, request, "</Error>"]).encode()
        return "".join(
            [DECLARATION, "<ErrorResponse>", *out, "</Error>", request, "</ErrorResponse>"]
        ).encode()
