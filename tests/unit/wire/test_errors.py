"""Errors in every protocol, as botocore's parsers read them: code, message, status, members, request id."""

import json
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import PROTOCOL_PARSERS

from neargate.kit.errors import ApiError
from neargate.wire import protocols
from neargate.wire.http import Response
from neargate.wire.models import Catalogue
from tests.unit.wire.clients import response_for_client

CATALOGUE, LOADER = Catalogue(), Loader()


def written(service: str, protocol: str, error: ApiError) -> Response:
    found = CATALOGUE.service(service)
    return protocols.serialize_error(found, None, protocols.Protocol(protocol), error, "the-id")


def read(protocol: str, response: Response) -> tuple[int, str, str]:
    parsed = PROTOCOL_PARSERS[protocol]().parse(response_for_client(response), None)
    metadata = parsed["ResponseMetadata"]
    assert "the-id" in (metadata.get("RequestId"), response.headers["x-amzn-requestid"])
    return metadata["HTTPStatusCode"], parsed["Error"]["Code"], parsed["Error"]["Message"]


@pytest.mark.parametrize(
    ("service", "protocol", "error", "status", "code"),
    [
        ("ecs", "json", ApiError("ClientException", "m"), 400, "ClientException"),
        ("ecs", "json", ApiError("ServerException", "m"), 500, "ServerException"),
        ("ecs", "json", ApiError("ClientException", "m", status=409), 409, "ClientException"),
        ("ecs", "json", ApiError("NotInTheModel", "m"), 400, "NotInTheModel"),
        ("ecs", "json", ApiError("NotInTheModel", "m", status=501), 501, "NotInTheModel"),
        ("ecr", "json", ApiError("RepositoryNotFoundException", "m"), 400, "RepositoryNotFoundException"),
        ("sts", "query", ApiError("ExpiredTokenException", "m"), 400, "ExpiredTokenException"),
        ("sts", "query", ApiError("AccessDenied", "m", status=403), 403, "AccessDenied"),
        ("iam", "query", ApiError("NoSuchEntityException", "m"), 404, "NoSuchEntity"),
        ("iam", "query", ApiError("NoSuchEntity", "m"), 404, "NoSuchEntity"),
        ("ec2", "ec2", ApiError("InvalidSubnetID.NotFound", "m"), 400, "InvalidSubnetID.NotFound"),
        ("eks", "rest-json", ApiError("ResourceNotFoundException", "m"), 404, "ResourceNotFoundException"),
        ("eks", "rest-json", ApiError("ServerException", "m"), 500, "ServerException"),
        ("s3", "rest-xml", ApiError("NoSuchBucket", "m", status=404), 404, "NoSuchBucket"),
        ("route53", "rest-xml", ApiError("NoSuchHostedZone", "m"), 404, "NoSuchHostedZone"),
        ("cloudwatch", "query", ApiError("ResourceNotFound", "m"), 404, "ResourceNotFound"),
        (
            "cloudwatch",
            "smithy-rpc-v2-cbor",
            ApiError("InvalidFormatFault", "m"),
            400,
            "InvalidFormat",
        ),
        (
            "sqs",
            "json",
            ApiError("QueueDoesNotExist", "m"),
            400,
            "AWS.SimpleQueueService.NonExistentQueue",
        ),
        ("sqs", "json", ApiError("InvalidAttributeName", "m"), 400, "InvalidAttributeName"),
    ],
)
def test_code_and_status(service: str, protocol: str, error: ApiError, status: int, code: str) -> None:
    assert read(protocol, written(service, protocol, error)) == (status, code, "m")


@pytest.mark.parametrize("code", ["InvalidFormatFault", "InvalidFormat"])
def test_clients_that_once_spoke_query_are_told_its_code_too(code: str) -> None:
    response = written("cloudwatch", "json", ApiError(code, "m"))
    assert response.headers["x-amzn-query-error"] == "InvalidFormat;Sender"
    assert json.loads(response.body) == {"__type": "InvalidFormatFault", "message": "m"}


@pytest.mark.parametrize(
    ("service", "protocol", "error", "members"),
    [
        (
            "ecs",
            "json",
            ApiError("ConflictException", "m", fields={"resourceIds": ["a"]}),
            {"resourceIds": ["a"]},
        ),
        (
            "eks",
            "rest-json",
            ApiError("ResourceInUseException", "m", fields={"clusterName": "c"}),
            {"clusterName": "c"},
        ),
        (
            "cloudwatch",
            "query",
            ApiError(
                "DashboardInvalidInputError",
                "m",
                fields={"dashboardValidationMessages": [{"DataPath": "x", "Message": "y"}]},
            ),
            {"dashboardValidationMessages": [{"DataPath": "x", "Message": "y"}]},
        ),
    ],
)
def test_members(service: str, protocol: str, error: ApiError, members: dict[str, Any]) -> None:
    response = written(service, protocol, error)
    model = ServiceModel(LOADER.load_service_model(service, "service-2"), service)
    shape = model.shape_for(error.code)
    parsed = PROTOCOL_PARSERS[protocol]().parse(response_for_client(response), shape)
    assert {name: parsed[name] for name in members} == members


def test_texts_cannot_leave_their_place() -> None:
    evil = "</Message><Code>x</Code>\x00\ud7ff\ufffe&"
    for service, protocol in (("sts", "query"), ("ec2", "ec2"), ("s3", "rest-xml")):
        _, code, message = read(protocol, written(service, protocol, ApiError("Bad", evil)))
        assert code == "Bad"
        assert message == "</Message><Code>x</Code>\ufffd\ud7ff\ufffd&"


def test_message_spelled_as_the_shape_has_it() -> None:
    body = json.loads(written("kms", "json", ApiError("AlreadyExistsException", "m")).body)
    assert body == {"__type": "AlreadyExistsException", "message": "m"}
    body = json.loads(written("lambda", "rest-json", ApiError("ServiceException", "m")).body)
    assert body == {"Message": "m"}
