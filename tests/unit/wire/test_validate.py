"""What is wrong with a request, told as the service tells it; Java's patterns matched by RE2."""

import json
from typing import Any

import msgspec
import pytest

from neargate.kit.errors import ApiError
from neargate.wire import patterns, protocols, validate
from neargate.wire.http import Request
from neargate.wire.models import Catalogue, Service
from neargate.wire.shapes import ServiceModel

CATALOGUE = Catalogue()


def error_of(service: str, operation: str, params: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(ApiError) as caught:
        validate.check(CATALOGUE.service(service).operations[operation], params)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


SHAPES = {
    "Input": {
        "type": "structure",
        "required": ["Name"],
        "members": {
            "Name": {"shape": "Name"},
            "kind": {"shape": "Kind"},
            "count": {"shape": "Count"},
            "secret": {"shape": "Secret"},
            "blob": {"shape": "Blob"},
            "names": {"shape": "Names"},
            "inner": {"shape": "Inners"},
            "tags": {"shape": "Tags"},
            "map": {"shape": "InnerMap"},
            "self": {"shape": "Input"},
        },
    },
    "Name": {"type": "string", "min": 2, "max": 5, "pattern": "[a-z]+"},
    "Kind": {"type": "string", "enum": ["A", "B"]},
    "Count": {"type": "integer", "min": 1, "max": 10},
    "Secret": {"type": "string", "min": 8, "sensitive": True},
    "Blob": {"type": "blob", "max": 3},
    "Names": {"type": "list", "member": {"shape": "Name"}, "min": 1, "max": 2},
    "Inner": {"type": "structure", "required": ["Key"], "members": {"Key": {"shape": "Kind"}}},
    "Inners": {"type": "list", "member": {"shape": "Inner"}},
    "Tags": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Kind"}},
    "InnerMap": {"type": "map", "key": {"shape": "Free"}, "value": {"shape": "Inner"}},
    "Free": {"type": "string"},
}
MODEL = {
    "metadata": {"protocol": "json", "apiVersion": "1", "targetPrefix": "T"},
    "operations": {"Do": {"name": "Do", "http": {}, "input": {"shape": "Input"}}},
    "shapes": SHAPES,
}
SERVICE = Service.of_model("made-up", msgspec.json.decode(json.dumps(MODEL), type=ServiceModel))
LENGTHS = (
    "Member must have length less than or equal to 5, Member must have length greater than or equal to 2"
)


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "Value null at 'name' failed to satisfy constraint: Member must not be null"),
        (
            {"Name": "a"},
            "Value 'a' at 'name' failed to satisfy constraint: "
            "Member must have length greater than or equal to 2",
        ),
        (
            {"Name": "abcdef"},
            "Value 'abcdef' at 'name' failed to satisfy constraint: "
            "Member must have length less than or equal to 5",
        ),
        (
            {"Name": "AB"},
            "Value 'AB' at 'name' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [a-z]+",
        ),
        (
            {"Name": "ab", "kind": "C"},
            "Value 'C' at 'kind' failed to satisfy constraint: Member must satisfy enum value set: [A, B]",
        ),
        (
            {"Name": "ab", "count": 0},
            "Value '0' at 'count' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1",
        ),
        (
            {"Name": "ab", "count": 11},
            "Value '11' at 'count' failed to satisfy constraint: "
            "Member must have value less than or equal to 10",
        ),
        (
            {"Name": "ab", "secret": "pass"},
            "Value at 'secret' failed to satisfy constraint: "
            "Member must have length greater than or equal to 8",
        ),
        (
            {"Name": "ab", "blob": b"1234"},
            "Value 'java.nio.HeapByteBuffer[pos=0 lim=4 cap=4]' at 'blob' failed to satisfy constraint: "
            "Member must have length less than or equal to 3",
        ),
        (
            {"Name": "ab", "names": []},
            "Value '[]' at 'names' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1",
        ),
        (
            {"Name": "ab", "names": ["ok", "x"]},
            "Value '[ok, x]' at 'names' failed to satisfy constraint: Member must satisfy constraint: "
            f"[{LENGTHS}, Member must satisfy regular expression pattern: [a-z]+]",
        ),
        (
            {"Name": "ab", "names": ["ok", None]},
            "Value null at 'names.2.member' failed to satisfy constraint: Member must not be null",
        ),
        (
            {"Name": "ab", "inner": [{"Key": "A"}, {}]},
            "Value null at 'inner.2.member.key' failed to satisfy constraint: Member must not be null",
        ),
        (
            {"Name": "ab", "tags": {"X": "A"}},
            "Value '{X=A}' at 'tags' failed to satisfy constraint: Map keys must satisfy constraint: "
            f"[{LENGTHS}, Member must satisfy regular expression pattern: [a-z]+]",
        ),
        (
            {"Name": "ab", "tags": {"ab": "C"}},
            "Value '{ab=C}' at 'tags' failed to satisfy constraint: Map value must satisfy constraint: "
            "[Member must satisfy enum value set: [A, B]]",
        ),
        (
            {"Name": "ab", "map": {"k": {"Key": "C"}}},
            "Value 'C' at 'map.k.member.key' failed to satisfy constraint: "
            "Member must satisfy enum value set: [A, B]",
        ),
        (
            {"Name": "ab", "self": {"Name": "ab", "self": {"kind": "A"}}},
            "Value null at 'self.self.name' failed to satisfy constraint: Member must not be null",
        ),
    ],
)
def test_each_constraint(params: dict[str, Any], problem: str) -> None:
    with pytest.raises(ApiError) as caught:
        validate.check(SERVICE.operations["Do"], params)
    problems = caught.value.message.removeprefix("1 validation error detected: ")
    assert (caught.value.code, problems) == ("ValidationException", problem)


def test_what_is_right_passes() -> None:
    params = {
        "Name": "abc",
        "kind": "B",
        "count": 10,
        "secret": "password",
        "blob": b"123",
        "names": ["ab", "cd"],
        "inner": [{"Key": "A"}],
        "tags": {"ab": "A"},
        "map": {"anything": {"Key": "A"}},
        "self": {"Name": "ab"},
    }
    validate.check(SERVICE.operations["Do"], params)


def test_several_at_once() -> None:
    with pytest.raises(ApiError) as caught:
        validate.check(SERVICE.operations["Do"], {"kind": "C", "count": 99})
    assert caught.value.message == (
        "3 validation errors detected: "
        "Value null at 'name' failed to satisfy constraint: Member must not be null; "
        "Value 'C' at 'kind' failed to satisfy constraint: Member must satisfy enum value set: [A, B]; "
        "Value '99' at 'count' failed to satisfy constraint: Member must have value less than or equal to 10"
    )


def test_an_error_is_bounded() -> None:
    with pytest.raises(ApiError) as caught:
        validate.check(SERVICE.operations["Do"], {"Name": "x" * 100_000, "inner": [{}] * 1000})
    assert len(caught.value.message) < 5000


@pytest.mark.parametrize(
    ("service", "operation", "params", "code", "text"),
    [
        ("ecs", "RunTask", {}, "InvalidParameterException", "Value null at 'taskDefinition'"),
        ("logs", "CreateLogGroup", {"logGroupName": "?"}, "InvalidParameterException", "1 validation error"),
        (
            "ecr",
            "CreateRepository",
            {"repositoryName": "A"},
            "InvalidParameterException",
            "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must ",
        ),
        ("sts", "AssumeRole", {"RoleArn": "x" * 20}, "ValidationError", "Value null at 'roleSessionName'"),
        (
            "ec2",
            "DeleteSubnet",
            {},
            "MissingParameter",
            "The request must contain the parameter SubnetId",
        ),
        ("ec2", "CreateVpc", {"InstanceTenancy": "x"}, "InvalidParameterValue", "Value (x) for parameter"),
        (
            "dynamodb",
            "GetItem",
            {"TableName": "x"},
            "ValidationException",
            "Value null at 'key'",
        ),
    ],
)
def test_services_spell_it_their_way(
    service: str, operation: str, params: dict[str, Any], code: str, text: str
) -> None:
    got, message = error_of(service, operation, params)
    assert got == code
    assert text in message


def test_a_request_is_validated() -> None:
    request = Request("POST", "/", "", {"x-amz-target": "T.Do"}, b'{"Name": "a", "unknown": 1}')
    with pytest.raises(ApiError, match="greater than or equal to 2"):
        _ = protocols.parse(SERVICE, request).params


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (r"[\w+=,.@-]+", ["a", "a+b@c"], ["", "a b", "a\n"]),
        (r"^[a-z]{1,3}$", ["abc"], ["abcd"]),
        (r"[\u0020-\u00FF]*", ["é "], ["\u0100", "\n"]),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*", ["😀\t"], ["\x00"]),
        (r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*", ["né 1"], ["#"]),
        (r"\p{Alnum}", ["a", "z", "7"], ["-", ":"]),
        (r"\p{Print}+", ["cpu-1 of [x]"], ["", "a\n"]),
        (r"[a\]\p{Digit}]+", ["a]1"], ["b"]),
        (r"[\p{ASCII}]{1,2048}", ["x" * 2048], ["", "é"]),
        (r"a|b", ["a", "b"], ["ab"]),
        (r".{0,4000}", [""], ["\n"]),
    ],
)
def test_patterns_of_java(pattern: str, right: list[str], wrong: list[str]) -> None:
    match = patterns.matcher(pattern)
    assert match is not None
    assert all(match(text) for text in right)
    assert not any(match(text) for text in wrong)


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"(a)\1", r"[a-z&&[^b]]"])
def test_patterns_that_are_not_checked(pattern: str) -> None:
    assert patterns.matcher(pattern) is None


def test_nearly_all_patterns_of_the_models_are_checked() -> None:
    for name in ("ecs", "ecr", "logs", "ec2", "iam", "sts", "elbv2", "cloudwatch", "s3", "eks"):
        found = {shape.pattern for shape in CATALOGUE.service(name).shapes.values() if shape.pattern}
        unchecked = {pattern for pattern in found if patterns.matcher(pattern) is None}
        assert all("(?" in pattern or "&&" in pattern for pattern in unchecked), (name, unchecked)


def test_time_is_bounded() -> None:
    match = patterns.matcher("(a+)+b")
    assert match is not None
    assert not match("a" * 100_000)
