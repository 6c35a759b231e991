"""Bodies of megabytes that stand for as many values as they can: others are answered while they are read."""

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import cbor2
import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from neargate.wire import bounds
from neargate.wire.http import Request
from neargate.wire.models import Catalogue
from neargate.wire.protocols import parse
from tests.support.door import Door

MEGABYTES = 5 << 20
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
ECS = {
    "content-type": "application/x-amz-json-1.1",
    "x-amz-target": "AmazonEC2ContainerServiceV20141113.ListClusters",
}
CBOR = {"smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor"}
CBOR_PATH = "/service/GraniteServiceVersion20100801/operation/ListMetrics"


@dataclass(frozen=True)
class Long:
    service: str
    path: str
    headers: dict[str, str]
    body: bytes
    answers: tuple[int, ...]


def stretched(piece: bytes, count: int, size: int) -> bytes:
    """`count` pieces and spaces, `size` bytes in all."""
    pad = b" " * max(0, size // count - len(piece))
    return (piece + pad) * count


def form(count: int, size: int) -> Long:
    pairs = b"".join(b"&a%d=%s" % (n, b"x" * max(0, size // count - 8)) for n in range(count))
    body = b"Action=DescribeSubnets&Version=2016-11-15" + pairs
    return Long("ec2", "/", FORM, body, (200,))


def json_(count: int, size: int) -> Long:
    body = b'{"x":[' + stretched(b"[],", count, size) + b"[]]}"
    return Long("ecs", "/", ECS, body, (200,))


def xml(count: int, size: int) -> Long:
    name = b"CompleteMultipartUpload"
    body = b"<%b>%b</%b>" % (name, stretched(b"<b/>", count, size), name)
    return Long("s3", "/bucket/key?uploadId=x", {"content-type": "application/xml"}, body, (404,))


def cbor(count: int, size: int) -> Long:
    body = b"\xa1\x61x\x9f" + b"\x80" * count + b"\xff"
    return Long("monitoring", CBOR_PATH, CBOR, body, (200,))


def send(door: Door, asked: Long) -> int:
    """The status of the answer."""
    credential = door.daemon.credential
    request = AWSRequest("POST", door.endpoint + asked.path, headers=asked.headers, data=asked.body)
    signer = auth.S3SigV4Auth if asked.service == "s3" else auth.SigV4Auth
    keys = Credentials(credential.access_key_id, credential.secret_access_key)
    signer(keys, asked.service, "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(urlsplit(door.endpoint).netloc, timeout=60)
    try:
        connection.request("POST", asked.path, asked.body, dict(request.headers.items()))
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    "asked",
    [
        form(bounds.MAX_PARAMETERS - 10, bounds.MAX_FORM_BYTES - 100_000),
        json_(bounds.MAX_CONTAINERS - 10, MEGABYTES),
        xml(bounds.MAX_ELEMENTS - 10, MEGABYTES),
        cbor(bounds.MAX_READS - 10, 0),
    ],
    ids=["form", "json", "xml", "cbor"],
)
def test_others_are_answered_while_a_long_body_is_read(
    door: Door, asked: Long, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the clock: another caller is answered between the body's first bytes and its last."""
    from neargate.wire import cbor_body, json_body, xml_reader
    from neargate.wire import form as forms

    begun, ended = threading.Event(), threading.Event()
    held = threading.Event()

    def watched(decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def watch(body: Any) -> Any:
            if len(body) < bounds.LONG_BYTES:
                return decode(body)
            begun.set()
            assert held.wait(60), "nobody else was answered"
            made = decode(body)
            ended.set()
            return made

        return watch

    for module, name in (
        (forms, "pairs_of"), (json_body, "decode"), (xml_reader, "decode"), (cbor_body, "decode"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    answers: list[int] = []
    sender = threading.Thread(target=lambda: answers.append(send(door, asked)))
    sender.start()
    try:
        assert begun.wait(60)
        assert door.client("sts").get_caller_identity()["Account"]
        assert not ended.is_set()
    finally:
        held.set()
        sender.join(90)
    assert ended.is_set()
    assert answers[0] in asked.answers


@pytest.mark.parametrize(
    "asked",
    [
        form(10, MEGABYTES),
        form(bounds.MAX_PARAMETERS + 1, 0),
        json_(bounds.MAX_CONTAINERS + 1, 0),
        Long("ecs", "/", ECS, b'{"x":[' + b"1," * bounds.MAX_VALUES + b"1,1]}", ()),
        Long("ecs", "/", ECS, b'{"x":[' + b'"",' * bounds.MAX_STRINGS + b'"",""]}', ()),
        Long("ecs", "/", ECS, b'{"x":["\\\\\\"",' + b"[]," * bounds.MAX_CONTAINERS + b'"["]}', ()),
        xml(bounds.MAX_ELEMENTS + 1, 0),
        xml(10, bounds.MAX_XML_BYTES + 1000),
        cbor(bounds.MAX_READS + 1, 0),
    ],
)
def test_more_than_any_operation_takes_is_refused(door: Door, asked: Long) -> None:
    assert send(door, asked) == 413
    assert door.client("sts").get_caller_identity()["Account"]


def test_what_only_looks_like_much_is_read() -> None:
    """Brackets, commas and escaped quotes inside a log's text are text."""
    text = "[{," * 200_000 + '\\"' * 1000
    assert len(text) > bounds.MAX_CONTAINERS
    body = b'{"taskDefinition":"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"}'
    headers = {"x-amz-target": "AmazonEC2ContainerServiceV20141113.RunTask"}
    request = Request("POST", "/", "", headers, body)
    assert parse(Catalogue().service("ecs"), request).params == {"taskDefinition": text}


def test_long_cbor_is_read_as_short_cbor_is() -> None:
    data = [{"MetricName": "m", "Values": [0.5] * 140, "Counts": [1.0] * 140} for _ in range(1000)]
    body = cbor2.dumps({"Namespace": "n", "MetricData": data})
    request = Request("POST", CBOR_PATH.replace("ListMetrics", "PutMetricData"), "", CBOR, body)
    assert parse(Catalogue().service("cloudwatch"), request).params["MetricData"] == data
