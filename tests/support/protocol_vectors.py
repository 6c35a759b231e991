"""AWS's protocol vectors, as botocore carries them: models, requests, results, and how they are compared."""

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import cbor2
import msgspec
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import PROTOCOL_PARSERS
from botocore.utils import parse_timestamp

from neargate.wire import shapes
from neargate.wire.http import Request, Response
from neargate.wire.models import Operation, Service
from tests.support.botocore_sdist import unpacked

REQUEST_ID = "the-request"
_FOLDER = unpacked() / "tests" / "unit" / "protocols"


@dataclass(frozen=True)
class Vector:
    """One case. `file` and `id` name it."""

    file: str
    id: str
    suite: Mapping[str, Any]
    case: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.file}:{self.id}"

    @property
    def protocol(self) -> str:
        return str(self.suite["metadata"]["protocol"])

    def _model(self) -> dict[str, Any]:
        given = json.loads(json.dumps(self.case["given"]))
        if self.protocol == "query" and "output" in given:
            given["output"]["resultWrapper"] = f"{given['name']}Result"
        operations = {given["name"]: given}
        return {"metadata": self.suite["metadata"], "operations": operations, "shapes": self.suite["shapes"]}

    def operation(self) -> Operation:
        model = msgspec.json.decode(json.dumps(self._model()), type=shapes.ServiceModel)
        return Service.of_model("vectors", model).operations[self.case["given"]["name"]]

    def client_model(self) -> OperationModel:
        return ServiceModel(self._model()).operation_model(self.case["given"]["name"])


def vectors(kind: str) -> list[Vector]:
    """`kind` -- input or output."""
    found = []
    for path in sorted((_FOLDER / kind).glob("*.json")):
        for suite in json.loads(path.read_text("utf-8")):
            for number, case in enumerate(suite["cases"]):
                name = case.get("id") or f"{suite['description']} {number}"
                found.append(Vector(path.stem, name, suite, case))
    return found


def in_model_types(shape: Any, value: Any) -> Any:
    """A value of a vector's JSON as the model types it: blobs are bytes, timestamps floats, NaN no text."""
    if value is None or shape is None:
        return value
    kind = shape.type_name
    if kind == "structure":
        if shape.is_document_type:
            return value
        return {
            name: in_model_types(shape.members[name], item)
            for name, item in value.items()
            if item is not None
        }
    if kind == "list":
        return [in_model_types(shape.member, item) for item in value]
    if kind == "map":
        return {name: in_model_types(shape.value, item) for name, item in value.items()}
    if kind == "blob":
        return value.encode() if isinstance(value, str) else value
    if kind in ("float", "double", "timestamp"):
        return float(value)
    return value


def comparable(value: Any) -> Any:
    """A value as it may be compared: NaN is equal to itself, and blobs of vectors are text."""
    if isinstance(value, dict):
        return {name: comparable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def request_of(vector: Vector) -> Request:
    """The request that AWS's clients make of a vector's parameters."""
    sent = vector.case["serialized"]
    path, _, query = sent.get("uri", "/").partition("?")
    headers = {name.lower(): value for name, value in sent.get("headers", {}).items()}
    if vector.protocol == "json":  # Some vectors tell only what is special about a request.
        target = f"{vector.suite['metadata']['targetPrefix']}.{vector.case['given']['name']}"
        headers.setdefault("x-amz-target", target)
    body = sent.get("body", "")
    raw = base64.b64decode(body) if vector.protocol == "smithy-rpc-v2-cbor" else body.encode()
    return Request(sent.get("method", "POST"), path, query, headers, raw)


def expected_response(vector: Vector) -> Response:
    described = vector.case["response"]
    body = described.get("body", "")
    raw = base64.b64decode(body) if vector.protocol == "smithy-rpc-v2-cbor" else body.encode()
    return Response(described["status_code"], dict(described.get("headers", {})), raw)


def read_by_client(vector: Vector, response: Response, shape: Any) -> dict[str, Any]:
    """What botocore's own parser makes of a response, without its metadata."""
    parser = PROTOCOL_PARSERS[vector.protocol](timestamp_parser=_epoch)
    body = response.body or (b"<xml/>" if vector.protocol == "query" else b"")
    raw = {
        "status_code": response.status,
        "headers": HeadersDict(response.headers),
        "body": body,
        "context": {"operation_name": vector.case["given"]["name"]},
    }
    read: dict[str, Any] = parser.parse(raw, shape)
    read.pop("ResponseMetadata", None)
    for value in read.values():  # A map of all headers has those of every answer.
        if isinstance(value, dict) and value.get("x-amzn-requestid") == REQUEST_ID:
            del value["x-amzn-requestid"], value["content-type"]
    return read


def _epoch(value: Any) -> float:
    return float(parse_timestamp(value).timestamp())


def body_value(protocol: str, body: bytes) -> Any:
    """A body as it may be compared: without order, white space and, in XML, the request's id."""
    if not body.strip():
        return None
    if protocol == "smithy-rpc-v2-cbor":
        return comparable(cbor2.loads(body, tag_hook=lambda value, immutable: value))
    text = body.decode()
    if text.lstrip().startswith("<"):
        return _element_value(ElementTree.fromstring(text.strip()))
    try:
        return json.loads(text)
    except ValueError:
        return text


def _element_value(element: ElementTree.Element) -> Any:
    children = [_element_value(child) for child in element if not _IS_ID.search(child.tag)]
    name = element.tag.rpartition("}")[2]
    return name, sorted(element.attrib.items()), (element.text or "").strip(), sorted(children, key=repr)


_IS_ID = re.compile(r"(^|\})(requestId|RequestId|RequestID|ResponseMetadata)$")
