"""Random parameters and results of real operations: what botocore writes is read, and the other way round."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.parsers import PROTOCOL_PARSERS
from botocore.serialize import SERIALIZERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neargate.wire.codec import Codec
from neargate.wire.codec_cbor import CborCodec
from neargate.wire.codec_json import JsonCodec
from neargate.wire.codec_query import QueryCodec
from neargate.wire.codec_rest import RestJsonCodec, RestXmlCodec
from neargate.wire.models import Catalogue
from tests.unit.wire.clients import request_by_client, response_for_client

CATALOGUE, LOADER = Catalogue(), Loader()
CODECS: dict[str, Any] = {
    "json": JsonCodec,
    "query": QueryCodec,
    "ec2": lambda service: QueryCodec(service, ec2=True),
    "rest-json": RestJsonCodec,
    "rest-xml": RestXmlCodec,
    "smithy-rpc-v2-cbor": CborCodec,
}
OPERATIONS = [
    ("json", "ecs", "RegisterTaskDefinition"),
    ("json", "ecs", "DescribeTasks"),
    ("json", "dynamodb", "TransactWriteItems"),
    ("json", "kinesis", "PutRecords"),
    ("json", "logs", "FilterLogEvents"),
    ("json", "cloudwatch", "PutMetricAlarm"),
    ("query", "cloudwatch", "GetMetricData"),
    ("query", "elbv2", "CreateRule"),
    ("query", "iam", "SimulateCustomPolicy"),
    ("query", "sns", "PublishBatch"),
    ("ec2", "ec2", "RunInstances"),
    ("ec2", "ec2", "DescribeNetworkInterfaces"),
    ("rest-json", "eks", "CreateCluster"),
    ("rest-json", "batch", "RegisterJobDefinition"),
    ("rest-json", "lambda", "CreateFunction"),
    ("rest-json", "lambda", "ListFunctions"),
    ("rest-xml", "s3", "PutBucketLifecycleConfiguration"),
    ("rest-xml", "s3", "ListObjectsV2"),
    ("rest-xml", "route53", "ListResourceRecordSets"),
    ("rest-xml", "route53", "ChangeResourceRecordSets"),
    ("smithy-rpc-v2-cbor", "cloudwatch", "PutMetricData"),
    ("smithy-rpc-v2-cbor", "cloudwatch", "DescribeAlarms"),
]
IDS = ["-".join(operation) for operation in OPERATIONS]
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=8).map(
    lambda text: text.strip() or "x"
)
PLAIN = st.text("abcxyz019", min_size=1, max_size=8)
SCALARS = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(-1e6, 1e6, width=32),
    "double": st.floats(-1e12, 1e12),
    "blob": st.binary(max_size=8),
    "timestamp": st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
}


def values(draw: st.DrawFn, shape: Shape, depth: int = 0) -> Any:
    """A value of a shape. Lists, maps and structures have members: the query protocols send no empty ones."""
    kind = shape.type_name
    if kind == "structure":
        return structure(draw, shape, depth)
    if kind == "list":
        return [values(draw, shape.member, depth + 1) for _ in range(draw(st.integers(1, 2)))]
    if kind == "map":
        return {draw(PLAIN): values(draw, shape.value, depth + 1)}
    if kind in ("string", "character"):
        outside = "location" in shape.serialization or "xmlAttribute" in shape.serialization
        return draw(PLAIN if outside else TEXT)
    return draw(SCALARS[kind])


def structure(draw: st.DrawFn, shape: Shape, depth: int) -> dict[str, Any]:
    members = {
        name: member
        for name, member in shape.members.items()
        if not deep(member, depth) and not getattr(member, "is_document_type", False)
    }
    # Of members with a place in the path none may miss.
    needed = [name for name, member in members.items() if member.serialization.get("location") == "uri"]
    most = 1 if shape.is_tagged_union else 4
    names = draw(st.lists(st.sampled_from(sorted(members)), min_size=1, max_size=most, unique=True))
    return {name: values(draw, members[name], depth + 1) for name in {*names, *needed}}


def deep(shape: Shape, depth: int) -> bool:
    if depth > 5 and shape.type_name in ("structure", "list", "map"):
        return True
    if shape.type_name == "structure":
        return not shape.members or (depth > 3 and all(deep(member, 6) for member in shape.members.values()))
    return shape.type_name == "list" and deep(shape.member, depth + 1)


def seconds(value: Any) -> Any:
    """A value with times as neargate has them."""
    if isinstance(value, dict):
        return {name: seconds(item) for name, item in value.items()}
    if isinstance(value, list):
        return [seconds(item) for item in value]
    return value.timestamp() if isinstance(value, datetime) else value


def prepared(protocol: str, service: str, operation: str) -> tuple[OperationModel, Codec]:
    model = ServiceModel(LOADER.load_service_model(service, "service-2"), service)
    return model.operation_model(operation), CODECS[protocol](CATALOGUE.service(service))


@pytest.mark.parametrize(("protocol", "service", "operation"), OPERATIONS, ids=IDS)
def test_requests(protocol: str, service: str, operation: str) -> None:
    model, codec = prepared(protocol, service, operation)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.composite(values)(model.input_shape))
    def check(params: dict[str, Any]) -> None:
        request = request_by_client(SERIALIZERS[protocol](), model, params)
        found = codec.find(request)
        assert found.name == operation
        assert codec.parameters(found, request) == seconds(params)

    check()


@pytest.mark.parametrize(("protocol", "service", "operation"), OPERATIONS, ids=IDS)
def test_results(protocol: str, service: str, operation: str) -> None:
    model, codec = prepared(protocol, service, operation)
    if model.output_shape is None or not model.output_shape.members:
        return
    found = CATALOGUE.service(service).operations[operation]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.composite(values)(model.output_shape))
    def check(result: dict[str, Any]) -> None:
        answer = codec.write(found, {**seconds(result), "NoSuchMember": 1}, "the-id")
        read = PROTOCOL_PARSERS[protocol]().parse(response_for_client(answer), model.output_shape)
        assert read.pop("ResponseMetadata")["HTTPStatusCode"] in (200, 201, 202)
        assert seconds(read) == seconds(result)

    check()
