"""Bodies that are broken or meant to break: each a 400 in the protocol's words, in little time and memory."""

import tracemalloc
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.kit.errors import ApiError
from neargate.wire import protocols
from neargate.wire.http import Request
from neargate.wire.models import Catalogue

CATALOGUE = Catalogue()
JSON = {"x-amz-target": "AmazonEC2ContainerServiceV20141113.RunTask"}
CBOR = {"smithy-protocol": "rpc-v2-cbor"}
CBOR_PATH = "/service/GraniteServiceVersion20100801/operation/PutMetricData"


def refused(service: str, request: Request, code: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        _ = protocols.parse(CATALOGUE.service(service), request).params
    assert (caught.value.code, caught.value.status) == (code, 400)
    assert len(caught.value.message) < 2000
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b'{"count": NaN}', b'{"count": 1e400}', b"{}{}",
        b"[" * 100_000, b'{"a":' * 100_000, b'{"count": "1"}', b'{"count": true}', b'{"count": 1.5}',
        b'{"count": 2147483648}', b'{"count": ' + b"9" * 5000 + b"}", b'{"count": []}', b'{"cluster": 1}',
        b'{"cluster": {}}', b'{"tags": {}}', b'{"tags": [1]}', b'{"tags": [[]]}', b'{"overrides": []}',
        b'{"cluster": "\\ud800"}', b'{"cluster": "\xff"}', b'{"enableECSManagedTags": 1}',
        b'{"enableECSManagedTags": "true"}', b'{"networkConfiguration": "x"}',
    ],
)  # fmt: skip
def test_json(body: bytes) -> None:
    refused("ecs", Request("POST", "/", "", JSON, body), "SerializationException")


HALVES = [r"\ud800", r"\udc00", r"a\udbffb", r"\ud800\ud800", r"\udc00\ud800", "\xed\xa0\x80"]


@pytest.mark.parametrize("half", HALVES)
def test_halves_of_characters_are_no_text_in_any_protocol(half: str) -> None:
    """No store can keep them, so no operation need look for them."""
    raw = half.encode("latin-1")
    for body in (b'{"taskDefinition": "%b"}' % raw, b'{"taskDefinition": "x", "%b": 1}' % raw):
        refused("ecs", Request("POST", "/", "", JSON, body), "SerializationException")
    tag = b'{"taskDefinition": "x", "tags": [{"key": "%b"}]}' % raw
    refused("ecs", Request("POST", "/", "", JSON, tag), "SerializationException")
    refused("eks", Request("POST", "/clusters", "", {}, b'{"name": "%b"}' % raw), "SerializationException")


def test_halves_of_characters_are_refused_where_they_are_bytes() -> None:
    half = b"\xed\xa0\x80"
    escaped = "%ED%A0%80"
    xml = b"<Delete><Object><Key>%b</Key></Object></Delete>"
    for text in (half, b"&#xD800;", b"&#56320;"):
        refused("s3", Request("POST", "/bucket", "delete", {}, xml % text), "MalformedXML")
    refused("s3", Request("PUT", f"/bucket/{escaped}", "", {}), "MalformedXML")
    for form in (half, escaped.encode()):
        refused("ec2", Request("POST", "/", "", {}, b"Action=RunInstances&ImageId=" + form), "MalformedInput")
    for body in (b"\xa1\x69Namespace\x63" + half, b"\xa1\x63" + half + b"\x01"):
        refused("cloudwatch", Request("POST", CBOR_PATH, "", CBOR, body), "SerializationException")


def test_json_of_other_types() -> None:
    headers = {"x-amz-target": "Kinesis_20131202.PutRecord"}
    for value in (b'"a"', b"1", b'"YQ"', b'"Y Q=="'):
        body = b'{"StreamName": "x", "PartitionKey": "x", "Data": ' + value + b"}"
        refused("kinesis", Request("POST", "/", "", headers, body), "SerializationException")
    headers = {"x-amz-target": "Kinesis_20131202.GetShardIterator"}
    for value in (b'"x"', b"true", b"1e99", b"[]", b'"2014-02-30"'):
        body = (
            b'{"StreamName": "x", "ShardId": "x", "ShardIteratorType": "LATEST", "Timestamp": ' + value + b"}"
        )
        refused("kinesis", Request("POST", "/", "", headers, body), "SerializationException")


def test_null_members_are_absent() -> None:
    request = Request("POST", "/", "", JSON, b'{"taskDefinition": "x", "cluster": null, "unknown": [[]]}')
    assert protocols.parse(CATALOGUE.service("ecs"), request).params == {"taskDefinition": "x"}


@pytest.mark.parametrize(
    "body",
    [
        b"\xff", b"Action=RunInstances&MinCount=x", b"Action=RunInstances&MinCount=1.5",
        b"Action=RunInstances&MinCount=99999999999", b"Action=RunInstances&EbsOptimized=maybe",
        b"Action=RunInstances&MinCount.1=1", b"Action=RunInstances&ImageId=%FF",
        b"Action=RunInstances&" + b"a." * 10_000 + b"=1",
    ],
)  # fmt: skip
def test_forms(body: bytes) -> None:
    refused("ec2", Request("POST", "/", "", {}, body), "MalformedInput")


@pytest.mark.parametrize(
    "body",
    [b"&&&==&.1.=x", b"=", b".=.", b"Filter.1.Value.-1=x&Filter.x.Name=y&Filter.99999999999.Name=z"],
)
def test_forms_with_odd_names(body: bytes) -> None:
    request = Request("POST", "/", "", {}, b"Action=DescribeSubnets&" + body)
    params = protocols.parse(CATALOGUE.service("ec2"), request).params
    assert params in ({}, {"Filters": [{"Values": []}]})


def test_form_names_cost_no_memory() -> None:
    form = "&".join(f"x{number}.a.b.c.d.e.f.g.h.i.j.k.l.m=1" for number in range(20_000))
    request = Request("POST", "/", "", {}, f"Action=DescribeSubnets&{form}".encode())
    tracemalloc.start()
    protocols.parse(CATALOGUE.service("ec2"), request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * len(request.body)


BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    b"<Delete><Object><Key>&b;</Key></Object></Delete>"
)


@pytest.mark.parametrize(
    "body",
    [
        b"<", b"<a>", b"<a></b>", b"x", BOMB, BOMB.decode().encode("utf-16"), b"<a>" * 5000,
        b'<?xml version="1.0" encoding="nothing"?><a/>', b"<a>\xff</a>", b"<a>&undefined;</a>", b"<a/><b/>",
        b"<Delete><Object><Key>x</Key><Size>y</Size></Object></Delete>",
        b"<Delete><Quiet>maybe</Quiet></Delete>", b"\x00",
    ],
)  # fmt: skip
def test_xml(body: bytes) -> None:
    refused("s3", Request("POST", "/bucket", "delete", {}, body), "MalformedXML")


def test_xml_in_pieces_is_read_in_linear_time() -> None:
    key = b"a<!---->" * 100_000
    body = b"<Delete><Object><Key>" + key + b"</Key></Object></Delete>"
    params = protocols.parse(CATALOGUE.service("s3"), Request("POST", "/bucket", "delete", {}, body)).params
    assert params["Delete"]["Objects"] == [{"Key": "a" * 100_000}]


def metrics(value: Any) -> dict[str, Any]:
    return {"Namespace": "x", "MetricData": [{"MetricName": "x", **value}]}


@pytest.mark.parametrize(
    "body",
    [
        b"\x81", b"\xff", b"\x5f", b"\xa1\x01", b"\x9f" * 100_000, b"\x81" * 100_000,
        b"\xbb" + b"\xff" * 8, b"\x5b" + b"\x7f" * 8, cbor2.dumps([]), cbor2.dumps(1), cbor2.dumps(None),
        cbor2.dumps({"Namespace": 1}), cbor2.dumps({"Namespace": cbor2.CBORTag(35, "(a+)+")}),
        cbor2.dumps({"x": cbor2.CBORTag(2, b"x" * 99)}), cbor2.dumps({"x": cbor2.CBORTag(9, 1)}),
        cbor2.dumps(cbor2.CBORTag(28, {"Namespace": cbor2.CBORTag(29, 0)})),
        cbor2.dumps({(1, 2): 3}), cbor2.dumps(metrics({"Timestamp": "x"})),
        cbor2.dumps(metrics({"Timestamp": cbor2.CBORTag(1, float("nan"))})),
        cbor2.dumps(metrics({"Timestamp": cbor2.CBORTag(1, [1])})),
        cbor2.dumps(metrics({"Timestamp": cbor2.CBORTag(0, "2020-01-01T00:00:00Z")})),
        cbor2.dumps(metrics({"Value": "x"})), cbor2.dumps(metrics({"StorageResolution": 2**40})),
        b"\xa1\x69Namespace\x62\xff\xff",
    ],
)  # fmt: skip
def test_cbor(body: bytes) -> None:
    refused("cloudwatch", Request("POST", CBOR_PATH, "", CBOR, body), "SerializationException")


@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        ("/clusters/%FF", "", {}),
        ("/clusters", "maxResults=x", {}),
        ("/clusters", "maxResults=99999999999", {}),
        ("/clusters", "nextToken=%FF", {}),
    ],
)
def test_bindings(path: str, query: str, headers: dict[str, str]) -> None:
    refused("eks", Request("GET", path, query, headers), "SerializationException")


@given(
    st.binary(max_size=200), st.sampled_from(["ecs", "ec2", "s3", "cloudwatch", "eks"]), st.text(max_size=20)
)
def test_no_bytes_break_a_protocol(body: bytes, service: str, query: str) -> None:
    requests = {
        "ecs": Request("POST", "/", query, JSON, body),
        "ec2": Request("POST", "/", query, {}, b"Action=RunInstances&" + body),
        "s3": Request("POST", "/bucket", f"delete&{query}", {}, body),
        "cloudwatch": Request("POST", CBOR_PATH, query, CBOR, body),
        "eks": Request("POST", "/clusters", query, {}, body),
    }
    try:
        params = protocols.parse(CATALOGUE.service(service), requests[service]).params
        assert isinstance(msgspec.json.encode(params), bytes)  # text, numbers and bytes that a store can keep
    except ApiError as error:
        assert error.status in (400, 404)
