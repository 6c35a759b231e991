"""AWS's protocol vectors, answers: a result is written as the vector has it, and read back by the client."""

from typing import Any

import pytest
from botocore.parsers import ResponseParserError

from neargate.kit.errors import ApiError
from neargate.wire import protocols
from neargate.wire.http import Response
from tests.support.protocol_vectors import (
    REQUEST_ID,
    Vector,
    body_value,
    comparable,
    expected_response,
    in_model_types,
    read_by_client,
    vectors,
)

VECTORS = vectors("output")
RESULTS = [vector for vector in VECTORS if "error" not in vector.case]
ERRORS = [vector for vector in VECTORS if "error" in vector.case]
_OFFSET = "clients take times of any zone; a server writes UTC"
_NULL = "clients put up with null members; a server leaves them out"
_UNKNOWN = "clients put up with members that the model does not have; a server has none to write"
_NO_BODY = "clients put up with a missing body; a server writes an empty structure"
WRITTEN_OTHERWISE = {
    "ec2:Ec2QueryDateTimeWithNegativeOffset": _OFFSET,
    "ec2:Ec2QueryDateTimeWithPositiveOffset": _OFFSET,
    "json:AwsJson11DateTimeWithNegativeOffset": _OFFSET,
    "json:AwsJson11DateTimeWithPositiveOffset": _OFFSET,
    "query:AwsQueryDateTimeWithNegativeOffset": _OFFSET,
    "query:AwsQueryDateTimeWithPositiveOffset": _OFFSET,
    "rest-json:RestJsonDateTimeWithNegativeOffset": _OFFSET,
    "rest-json:RestJsonDateTimeWithPositiveOffset": _OFFSET,
    "rest-xml:RestXmlDateTimeWithNegativeOffset": _OFFSET,
    "rest-xml:RestXmlDateTimeWithPositiveOffset": _OFFSET,
    "json:AwsJson11StructuresDontDeserializeNullValues": _NULL,
    "json_1_0:AwsJson10DeserializeAllowNulls": _NULL,
    "rest-json:RestJsonDeserializesDenseSetMapAndSkipsNull": _NULL,
    "rest-json:RestJsonDoesntDeserializeNullStructureValues": _NULL,
    "smithy-rpc-v2-cbor:RpcV2CborDeserializesDenseSetMapAndSkipsNull": _NULL,
    "smithy-rpc-v2-cbor:RpcV2CborClientDoesntDeserializeNullStructureValues": _NULL,
    "json:handles_unexpected_json_output": _UNKNOWN,
    "json:AwsJson11DeserializeIgnoreType": _UNKNOWN,
    "json_1_0:AwsJson10DeserializeIgnoreType": _UNKNOWN,
    "json_1_0:AwsJson10HandlesUnexpectedJsonOutput": _UNKNOWN,
    "rest-json:RestJsonDeserializeIgnoreType": _UNKNOWN,
    "rest-xml:SimpleScalarPropertiesWithXMLPreamble": "clients put up with text between elements",
    "smithy-rpc-v2-cbor:RpcV2CborExtraFieldsInTheBodyShouldBeSkippedByClients": _UNKNOWN,
    "json:json_1_1_service_responds_with_no_payload": _NO_BODY,
    "json_1_0:AwsJson10ServiceRespondsWithNoPayload": _NO_BODY,
    "rest-json:RestJsonEmptyInputAndEmptyOutputJsonObjectOutput": _NO_BODY,
    "rest-json:RestJsonGreetingWithErrorsNoPayload": _NO_BODY,
    "rest-json:RestJsonHttpResponseCodeWithNoPayload": _NO_BODY,
    "rest-json:RestJsonIgnoreQueryParamsInResponseNoPayload": _NO_BODY,
    "rest-json:RestJsonNoInputAndOutputNoPayload": _NO_BODY,
    "smithy-rpc-v2-cbor:empty_output_no_body": _NO_BODY,
    "smithy-rpc-v2-cbor:NoOutputClientAllowsEmptyCbor": "a server sends no body where there is no output",
    "smithy-rpc-v2-cbor:NoOutputClientAllowsEmptyBody": "a server names no type of a body it does not send",
    "smithy-rpc-v2-cbor:RpcV2CborPayloadWithUnsetUnion": "the vector's body has members of another result",
    "json:AwsJson11IntEnums": "the vector's answer has a header of requests",
    "rest-json:MediaTypeHeaderOutputBase64": "the model takes the value for JSON, the vector for its text",
}
"""Vectors about what clients must put up with, and why a server answers otherwise."""

_NAMES = "botocore takes a flattened list's entries by the name that belongs to lists that are not flat"
_NO_BLOB = "botocore reads an absent body as an empty blob"
_UNION = "botocore cannot read an absent union"
_HEADER = "botocore splits headers at every comma"
READ_OTHERWISE = {
    "ec2:Ec2XmlLists": _NAMES,
    "query:QueryXmlLists": _NAMES,
    "rest-xml:XmlLists": _NAMES,
    "rest-json:RestJsonHttpPayloadTraitsWithNoBlobBody": _NO_BLOB,
    "rest-xml:HttpPayloadTraitsWithNoBlobBody": _NO_BLOB,
    "rest-json:RestJsonHttpPayloadWithUnsetUnion": _UNION,
    "rest-xml:RestXmlHttpPayloadWithUnsetUnion": _UNION,
    "rest-json:RestJsonInputAndOutputWithQuotedStringHeaders": _HEADER,
    "rest-json:RestJsonInputAndOutputWithTimestampHeaders": _HEADER,
    "rest-xml:InputAndOutputWithTimestampHeaders": _HEADER,
    "rest-xml:BodyWithXmlName": "botocore looks for an element of the body's own name within the body",
}
"""Vectors that botocore's own tests leave out for the same reasons; they are written as the vectors say."""


def written(vector: Vector) -> Response:
    operation = vector.operation()
    result = in_model_types(vector.client_model().output_shape, vector.case["result"])
    return protocols.serialize(operation, protocols.Protocol(vector.protocol), result, REQUEST_ID)


def differences(vector: Vector, ours: Response) -> list[Any]:
    """Where an answer differs from the vector's."""
    theirs = expected_response(vector)
    found: list[Any] = []
    if ours.status != theirs.status:
        found.append(("status", ours.status, theirs.status))
    for name, value in theirs.headers.items():
        if name.lower() in ("content-length", "x-amzn-requestid"):  # The first is written by http1.py.
            continue
        sent = ours.headers.get(name.lower(), "")
        if name == "Content-Type":
            sent, value = sent.partition(";")[0], value.partition(";")[0]
        if sent != value:
            found.append((name, sent, value))
    if "body" in vector.case["response"]:
        a, b = body_value(vector.protocol, ours.body), body_value(vector.protocol, theirs.body)
        if a != b:
            found.append(("body", a, b))
    return found


@pytest.mark.parametrize("vector", RESULTS, ids=[vector.name for vector in RESULTS])
def test_result_is_written_as_the_vector_describes(vector: Vector) -> None:
    found = differences(vector, written(vector))
    assert (not found) == (vector.name not in WRITTEN_OTHERWISE), found


@pytest.mark.parametrize("vector", RESULTS, ids=[vector.name for vector in RESULTS])
def test_result_is_read_back_by_the_client(vector: Vector) -> None:
    shape = vector.client_model().output_shape
    expected = comparable(in_model_types(shape, vector.case["result"]))
    try:
        read = comparable(read_by_client(vector, written(vector), shape))
    except ResponseParserError as problem:
        read = problem
    assert (read == expected) == (vector.name not in READ_OTHERWISE), read


def written_error(vector: Vector) -> Response:
    operation = vector.operation()
    fields = {name: value for name, value in vector.case["error"].items() if name.lower() != "message"}
    error = ApiError(vector.case["errorCode"], message_of(vector), fields=fields)
    protocol = protocols.Protocol(vector.protocol)
    return protocols.serialize_error(operation.service, operation, protocol, error, REQUEST_ID)


def message_of(vector: Vector) -> str:
    """Some vectors have a message in the response that they do not tell of."""
    theirs = expected_response(vector)
    meant = read_by_client(vector, theirs, None)["Error"].get("Message", "") if theirs.body else ""
    return str(vector.case.get("errorMessage") or meant)


@pytest.mark.parametrize("vector", ERRORS, ids=[vector.name for vector in ERRORS])
def test_error(vector: Vector) -> None:
    """The same to a client as the vector's response, which may spell the code in other places."""
    ours, theirs = written_error(vector), expected_response(vector)
    assert ours.status == theirs.status
    read = read_by_client(vector, ours, None)["Error"]
    assert (read["Code"], read.get("Message", "")) == (vector.case["errorCode"], message_of(vector))
    for name in ("x-amzn-query-error", "X-Header"):
        assert ours.headers.get(name.lower()) == theirs.headers.get(name)
    service = vector.client_model().service_model
    shape = next(s for s in map(service.shape_for, service.shape_names) if codes(s) & {read["Code"]})
    members = comparable(read_by_client(vector, ours, shape))
    assert members == (comparable(read_by_client(vector, theirs, shape)) if theirs.body else {})


def codes(shape: Any) -> set[str]:
    """What an error may be called; nothing for other shapes."""
    trait = shape.metadata.get("error", {})
    return {shape.name, trait.get("code", shape.name)} if shape.metadata.get("exception") else set()


def test_the_tables_name_vectors_that_exist() -> None:
    names = {vector.name for vector in RESULTS}
    assert set(WRITTEN_OTHERWISE) <= names
    assert set(READ_OTHERWISE) <= names
