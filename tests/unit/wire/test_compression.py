"""Bodies that botocore compresses are read; what unpacks into too much, or into nothing, is refused."""

import gzip

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.serialize import SERIALIZERS

from neargate.kit.errors import ApiError
from neargate.wire import protocols
from neargate.wire.compression import MAX_PLAIN_BYTES
from neargate.wire.http import Request
from neargate.wire.models import Catalogue
from tests.unit.wire.clients import request_by_client

CLOUDWATCH = Catalogue().service("cloudwatch")
MODEL = ServiceModel(Loader().load_service_model("cloudwatch", "service-2"), "cloudwatch")
PARAMS = {
    "Namespace": "x",
    "MetricData": [{"MetricName": f"m{number}", "Value": 1.0} for number in range(50)],
}


def packed(request: Request, body: bytes | None = None, encoding: str = "gzip") -> Request:
    body = gzip.compress(request.body) if body is None else body
    headers = {**request.headers, "content-encoding": encoding}
    return Request(request.method, request.path, request.query, headers, body)


def plain(protocol: str = "json") -> Request:
    return request_by_client(SERIALIZERS[protocol](), MODEL.operation_model("PutMetricData"), PARAMS)


@pytest.mark.parametrize("protocol", ["json", "query", "smithy-rpc-v2-cbor"])
def test_compressed_requests_are_read(protocol: str) -> None:
    assert protocols.parse(CLOUDWATCH, packed(plain(protocol))).params == PARAMS


@pytest.mark.parametrize(
    "body",
    [b"x", gzip.compress(b"{}")[:-9], gzip.compress(b"0" * (MAX_PLAIN_BYTES + 1))],
    ids=["no gzip", "cut short", "too much"],
)
@pytest.mark.parametrize(
    ("protocol", "code"), [("json", "SerializationException"), ("query", "MalformedInput")]
)
def test_what_cannot_be_unpacked(body: bytes, protocol: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        _ = protocols.parse(CLOUDWATCH, packed(plain(protocol), body)).params
    assert (caught.value.code, caught.value.status) == (code, 400)


def test_other_encodings_are_left_alone() -> None:
    request = plain()
    assert protocols.parse(CLOUDWATCH, packed(request, request.body, "identity")).params == PARAMS


def test_content_that_is_stored_stays_compressed() -> None:
    body = gzip.compress(b"content")
    request = Request("PUT", "/bucket/key", "", {"content-encoding": "gzip"}, body)
    params = protocols.parse(Catalogue().service("s3"), request).params
    assert (params["Body"], params["ContentEncoding"]) == (body, "gzip")
