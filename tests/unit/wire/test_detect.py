"""One protocol per request: CloudWatch's clients speak three, each read and answered in its own."""

from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import PROTOCOL_PARSERS
from botocore.serialize import SERIALIZERS

from neargate.kit.errors import ApiError
from neargate.wire import protocols
from neargate.wire.http import Request
from neargate.wire.models import Catalogue
from tests.unit.wire.clients import request_by_client, response_for_client

CATALOGUE = Catalogue()
CLOUDWATCH = CATALOGUE.service("cloudwatch")
MODEL = ServiceModel(Loader().load_service_model("cloudwatch", "service-2"), "cloudwatch")
PARAMS = {"AlarmNames": ["a", "b"], "MaxRecords": 5}


@pytest.mark.parametrize("protocol", ["json", "query", "smithy-rpc-v2-cbor"])
def test_cloudwatch_speaks_three(protocol: str) -> None:
    model = MODEL.operation_model("DescribeAlarms")
    request = request_by_client(SERIALIZERS[protocol](), model, PARAMS)
    assert str(protocols.detect(CLOUDWATCH, request)) == protocol
    parsed = protocols.parse(CLOUDWATCH, request)
    assert (parsed.operation.name, parsed.params) == ("DescribeAlarms", PARAMS)
    result: dict[str, Any] = {"MetricAlarms": [{"AlarmName": "a", "Threshold": 1.5}]}
    answer = protocols.serialize(parsed.operation, parsed.protocol, result, "the-id")
    read = PROTOCOL_PARSERS[protocol]().parse(response_for_client(answer), model.output_shape)
    metadata = read.pop("ResponseMetadata")
    assert read == result
    assert "the-id" in (metadata.get("RequestId"), answer.headers["x-amzn-requestid"])


@pytest.mark.parametrize(
    ("service", "request_", "protocol"),
    [
        ("ecs", Request("POST", "/", "", {}), "json"),
        ("sts", Request("GET", "/", "Action=GetCallerIdentity&Version=2011-06-15", {}), "query"),
        ("ec2", Request("POST", "/", "", {"x-amz-target": "Nonsense"}), "ec2"),
        ("eks", Request("GET", "/clusters", "", {}), "rest-json"),
        ("s3", Request("GET", "/bucket", "", {}), "rest-xml"),
        ("cloudwatch", Request("POST", "/", "", {}), "smithy-rpc-v2-cbor"),
    ],
)
def test_the_service_decides_where_a_request_does_not_tell(
    service: str, request_: Request, protocol: str
) -> None:
    assert str(protocols.detect(CATALOGUE.service(service), request_)) == protocol


@pytest.mark.parametrize(
    ("service", "request_", "code", "status"),
    [
        ("ecs", Request("POST", "/", "", {"x-amz-target": "A.B"}), "UnknownOperationException", 400),
        ("ecs", Request("POST", "/", "", {}), "UnknownOperationException", 400),
        ("sts", Request("POST", "/", "", {}, b"Action=Nothing"), "InvalidAction", 400),
        ("sts", Request("POST", "/", "", {}, b"x=y"), "MissingAction", 400),
        ("ec2", Request("POST", "/", "", {}, b"Action=Nothing"), "InvalidAction", 400),
        ("ec2", Request("POST", "/", "", {}, b""), "MissingParameter", 400),
        ("eks", Request("GET", "/nothing/here/at/all", "", {}), "UnknownOperationException", 404),
        ("eks", Request("PATCH", "/clusters", "", {}), "UnknownOperationException", 404),
        (
            "cloudwatch",
            Request("POST", "/service/X/operation/Nothing", "", {"smithy-protocol": "rpc-v2-cbor"}),
            "UnknownOperationException",
            404,
        ),
    ],
)
def test_operations_that_are_not_there(service: str, request_: Request, code: str, status: int) -> None:
    with pytest.raises(ApiError) as caught:
        protocols.parse(CATALOGUE.service(service), request_)
    assert (caught.value.code, caught.value.status) == (code, status)


def test_an_operation_that_is_not_built_is_named() -> None:
    error = protocols.not_built(CATALOGUE.service("ecs").operations["CreateService"])
    assert (error.status, "CreateService" in error.message) == (501, True)


def test_an_operation_is_known_before_its_parameters_are_read() -> None:
    headers = {"x-amz-target": "AmazonEC2ContainerServiceV20141113.CreateService"}
    parsed = protocols.parse(CATALOGUE.service("ecs"), Request("POST", "/", "", headers, b"{"))
    assert parsed.operation.name == "CreateService"
    with pytest.raises(ApiError, match="SerializationException"):
        _ = parsed.params


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "name"),
    [
        ("GET", "/", "", {}, "ListBuckets"),
        ("GET", "/bucket", "", {}, "ListObjects"),
        ("GET", "/bucket/", "", {}, "ListObjects"),
        ("GET", "/bucket", "list-type=2", {}, "ListObjectsV2"),
        ("GET", "/bucket", "acl", {}, "GetBucketAcl"),
        ("GET", "/bucket", "versioning=", {}, "GetBucketVersioning"),
        ("GET", "/bucket/a/key", "", {}, "GetObject"),
        ("GET", "/bucket/a/key/", "", {}, "GetObject"),
        ("GET", "/bucket/acl", "", {}, "GetObject"),
        ("GET", "/bucket/key", "acl", {}, "GetObjectAcl"),
        ("PUT", "/bucket/key", "", {}, "PutObject"),
        ("PUT", "/bucket/key", "", {"x-amz-copy-source": "/other/key"}, "CopyObject"),
        ("PUT", "/bucket/key", "partNumber=1&uploadId=x", {}, "UploadPart"),
        ("POST", "/bucket/key", "uploads", {}, "CreateMultipartUpload"),
        ("POST", "/bucket/key", "uploadId=x", {}, "CompleteMultipartUpload"),
        ("POST", "/bucket", "delete", {}, "DeleteObjects"),
    ],
)
def test_routes_of_s3(method: str, path: str, query: str, headers: dict[str, str], name: str) -> None:
    parsed = protocols.parse(CATALOGUE.service("s3"), Request(method, path, query, headers))
    assert parsed.operation.name == name
