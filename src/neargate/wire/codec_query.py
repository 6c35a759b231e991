"""The query and EC2 protocols: forms in, XML out.

Made by protocols.py; EC2's is the same protocol with other names and another envelope.
"""

from collections.abc import Mapping
from typing import Any

from neargate.kit.errors import ApiError
from neargate.wire import bounds, form
from neargate.wire.codec import Codec
from neargate.wire.compression import plain
from neargate.wire.errors import on_the_wire
from neargate.wire.http import Request, Response
from neargate.wire.models import Operation, Service
from neargate.wire.shapes import Ref, namespace_of
from neargate.wire.values import Malformed
from neargate.wire.xml_writer import DECLARATION, Writers, element, escaped


class QueryCodec(Codec):
    malformed_code = "MalformedInput"

    def __init__(self, service: Service, *, ec2: bool = False) -> None:
        super().__init__(service)
        self._ec2 = ec2
        self._readers = form.Readers(service.shapes, ec2=ec2)
        self._writers = Writers(service.shapes)
        uri = namespace_of(service.metadata.xml_namespace).uri
        if ec2 and not uri:
            uri = f"http://ec2.amazonaws.com/doc/{service.api_version}/"
        self._xmlns = f' xmlns="{escaped(uri)}"' if uri else ""
        self._content_type = "text/xml;charset=UTF-8" if ec2 else "text/xml"

    def find(self, request: Request) -> Operation:
        name = dict(self._pairs_or_refusal(request)).get("Action", "")
        if not name:
            if self._ec2:
                raise ApiError(
                    "MissingParameter", "The request must contain the parameter Action", status=400
                )
            raise ApiError("MissingAction", "The request is missing the parameter Action.", status=400)
        operation = self.service.operations.get(name)
        if operation is None:
            raise ApiError("InvalidAction", self._unknown(name[:128]), status=400)
        return operation

    def prepare(self, operation: Operation) -> None:
        if operation.input is not None:
            self._readers.of(operation.input)

    def _unknown(self, name: str) -> str:
        if self._ec2:
            return f"The action {name} is not valid for this web service."
        return f"Could not find operation {name} for version {self.service.api_version}"

    def _pairs_or_refusal(self, request: Request) -> form.Pairs:
        try:
            return _pairs(plain(request))  # The operation stands in the body: it is unpacked to find it.
        except Malformed as problem:
            raise ApiError(self.malformed_code, str(problem), status=400) from None

    def read(self, operation: Operation, request: Request) -> dict[str, Any]:
        if operation.input is None:
            return {}
        params: dict[str, Any] = self._readers.of(operation.input)(form.checked_names(_pairs(request)))
        return params

    def write(self, operation: Operation, result: Mapping[str, Any], request_id: str) -> Response:
        name = f"{operation.name}Response"
        out = [DECLARATION, f"<{name}{self._xmlns}>"]
        if self._ec2:
            out.append(element("requestId", request_id))
            if operation.output is not None:
                self._writers.members(operation.output)(result, out)
        else:
            if operation.output is not None:
                wrapper = operation.output.result_wrapper or f"{operation.name}Result"
                self._writers.of(operation.output, wrapper)(result, out)
            out.append(f"<ResponseMetadata>{element('RequestId', request_id)}</ResponseMetadata>")
        out.append(f"</{name}>")
        return self._response(200, out, request_id)

    def _response(self, status: int, out: list[str], request_id: str) -> Response:
        headers = {"x-amzn-requestid": request_id, "content-type": self._content_type}
        return Response(status, headers, "".join(out).encode())

    def write_error(self, operation: Operation | None, error: ApiError, request_id: str) -> Response:
        wire = on_the_wire(self.service, error, query=True)
        inner = [element("Code", wire.code)]
        inner += [element("Message", wire.message)] if wire.message else []
        if wire.shape is not None:
            fields = {k: v for k, v in wire.members.items() if k.lower() != "message"}
            self._writers.members(Ref(wire.name))(fields, inner)
        if self._ec2:
            out = [DECLARATION, "<Response><Errors><Error>", *inner, "</Error></Errors>"]
            out += [element("RequestID", request_id), "</Response>"]
        else:
            kind = element("Type", "Sender" if wire.by_client else "Receiver")
            out = [f"<ErrorResponse{self._xmlns}><Error>", kind, *inner, "</Error>"]
            out += [element("RequestId", request_id), "</ErrorResponse>"]
        return self._response(wire.status, out, request_id)


def _pairs(request: Request) -> form.Pairs:
    """Parameters of the query string and of the form, which holds where both name one."""
    pairs = form.pairs_of(request.query) if request.query else []
    if len(request.body) > bounds.MAX_FORM_BYTES:
        raise bounds.too_large(len(request.body), bounds.MAX_FORM_BYTES)
    if request.body:
        try:
            pairs += form.pairs_of(request.body.decode("utf-8"))
        except UnicodeDecodeError:
            raise Malformed("The body is not valid UTF-8") from None
    return pairs
