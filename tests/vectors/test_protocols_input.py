"""AWS's protocol vectors, requests: what clients send is read into the parameters they were given."""

from typing import Any
from urllib.parse import parse_qs

import pytest

from neargate.kit.errors import ApiError
from neargate.wire import protocols
from tests.support.protocol_vectors import Vector, comparable, in_model_types, request_of, vectors

VECTORS = vectors("input")

_EMPTY = "clients send nothing for an empty list or map, so that a server reads none"
_PAYLOAD = "botocore sends {} for a payload that is not given"
_TOKEN = "the client makes the token up: it is sent, but is no parameter of the vector"
_ZIPPED = "the vector leaves the body out; tests/unit/wire/test_compression.py has bodies"
_MAP = "the map has the whole query string, also what clients were given by name"
_UUID = "00000000-0000-4000-8000-000000000000"
READ_OTHERWISE: dict[str, tuple[dict[str, Any], str]] = {
    "ec2:Ec2EmptyQueryLists": ({}, _EMPTY),
    "query:QueryEmptyQueryMaps": ({}, _EMPTY),
    "rest-json:RestJsonOmitsEmptyListQueryValues": ({}, _EMPTY),
    "rest-json:RestJsonHttpPrefixHeadersAreNotPresent": ({"foo": "Foo"}, _EMPTY),
    "rest-xml:HttpPrefixHeadersAreNotPresent": ({"foo": "Foo"}, _EMPTY),
    "rest-json:RestJsonHttpWithEmptyStructurePayload": ({"payloadConfig": {}}, _PAYLOAD),
    "rest-json:RestJsonHttpWithHeadersButNoPayload": ({"testId": "t-12345", "payloadConfig": {}}, _PAYLOAD),
    "ec2:Ec2ProtocolIdempotencyTokenAutoFill": ({"token": _UUID}, _TOKEN),
    "query:QueryProtocolIdempotencyTokenAutoFill": ({"token": _UUID}, _TOKEN),
    "rest-json:RestJsonQueryIdempotencyTokenAutoFill": ({"token": _UUID}, _TOKEN),
    "rest-xml:QueryIdempotencyTokenAutoFill": ({"token": _UUID}, _TOKEN),
    "json:SDKAppliedContentEncoding_awsJson1_1": ({}, _ZIPPED),
    "json:SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsJson1_1": ({}, _ZIPPED),
    "json_1_0:SDKAppliedContentEncoding_awsJson1_0": ({}, _ZIPPED),
    "json_1_0:SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsJson1_0": ({}, _ZIPPED),
    "rest-json:SDKAppliedContentEncoding_restJson1": ({}, _ZIPPED),
    "rest-json:SDKAppendedGzipAfterProvidedEncoding_restJson1": ({"encoding": "custom"}, _ZIPPED),
    "rest-xml:SDKAppliedContentEncoding_restXml": ({}, _ZIPPED),
    "rest-xml:SDKAppendedGzipAfterProvidedEncoding_restXml": ({"encoding": "custom"}, _ZIPPED),
    "rest-json:RestJsonQueryPrecedence": (
        {"foo": "named", "baz": {"bar": "named", "qux": "alsoFromMap"}},
        "the name given for itself replaces the map's in the query string",
    ),
    "rest-xml:RestXmlQueryPrecedence": (
        {"foo": "named", "baz": {"bar": "named", "qux": "alsoFromMap"}},
        "the name given for itself replaces the map's in the query string",
    ),
    "rest-json:MediaTypeHeaderInputBase64": (
        {"json": True},
        "the model takes the value for JSON, the vector for its text",
    ),
    "rest-json:RestJsonQueryParamsStringListMap": (
        {"qux": "named", "foo": {"corge": ["named"], "baz": ["bar", "qux"]}},
        _MAP,
    ),
    "rest-xml:RestXmlQueryParamsStringListMap": (
        {"qux": "named", "foo": {"corge": ["named"], "baz": ["bar", "qux"]}},
        _MAP,
    ),
}
"""Vectors whose parameters do not all stand in the request as they were given: what is read, and why."""

IN_THE_MAP_TOO = {
    "rest-xml:AllQueryStringTypes",
    "rest-xml:RestXmlQueryStringEscaping",
    "rest-xml:RestXmlSupportsNaNFloatQueryValues",
    "rest-xml:RestXmlSupportsInfinityFloatQueryValues",
    "rest-xml:RestXmlSupportsNegativeInfinityFloatQueryValues",
    "rest-xml:RestXmlZeroAndFalseQueryValues",
}
"""Vectors of rest-xml that do not tell of the map of the query string's parameters, unlike rest-json's."""

_NO_ACTION = "the vector leaves out the body, in which the operation is named"
REFUSED = {
    "rest-json:RestJsonHostWithPath": ("UnknownOperation", "its endpoint has a path, where ours has none"),
    "ec2:SDKAppliedContentEncoding_ec2Query": ("MissingParameter", _NO_ACTION),
    "ec2:SDKAppendsGzipAndIgnoresHttpProvidedEncoding_ec2Query": ("MissingParameter", _NO_ACTION),
    "query:SDKAppliedContentEncoding_awsQuery": ("MissingAction", _NO_ACTION),
    "query:SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsQuery": ("MissingAction", _NO_ACTION),
}
"""Vectors that are no whole request to this server: the error, and why."""


@pytest.mark.parametrize("vector", VECTORS, ids=[vector.name for vector in VECTORS])
def test_request_is_read_into_its_parameters(vector: Vector) -> None:
    operation = vector.operation()
    request = request_of(vector)
    if vector.name in REFUSED:
        with pytest.raises(ApiError, match=REFUSED[vector.name][0]):
            protocols.parse(operation.service, request)
        return
    parsed = protocols.parse(operation.service, request)
    assert parsed.operation is operation
    assert str(parsed.protocol) == vector.protocol
    expected = in_model_types(vector.client_model().input_shape, vector.case["params"])
    read = dict(parsed.params)
    if vector.name in READ_OTHERWISE:
        otherwise, _ = READ_OTHERWISE[vector.name]
        assert comparable(expected) != comparable(otherwise), "the table need not name it"
        expected = otherwise
    if vector.name in IN_THE_MAP_TOO:
        assert read.pop("queryParamsMapOfStrings").keys() == parse_qs(request.query).keys()
    assert comparable(read) == comparable(expected)


def test_the_tables_name_vectors_that_exist() -> None:
    assert {*READ_OTHERWISE, *IN_THE_MAP_TOO, *REFUSED} <= {vector.name for vector in VECTORS}
