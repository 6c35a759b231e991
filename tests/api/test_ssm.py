"""Parameter Store through boto3: what is put is what is got, in AWS's words where it is refused."""

import base64
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.door import Door


@pytest.fixture
def ssm(door: Door) -> Any:
    return door.client("ssm")


def refused(code: str, call: Any, **params: Any) -> str:
    """The message of a refusal with this code."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return str(caught.value.response["Error"]["Message"])


def put(ssm: Any, name: str, value: str = "v", kind: str = "String", **more: Any) -> Any:
    return ssm.put_parameter(Name=name, Value=value, Type=kind, **more)


def listed(ssm: Any, operation: str, **params: Any) -> list[str]:
    pages = ssm.get_paginator(operation).paginate(**params)
    return [parameter["Name"] for page in pages for parameter in page["Parameters"]]


def test_a_parameter_from_birth_to_death(ssm: Any) -> None:
    made = put(ssm, "/app/db/host", "db.internal", Description="where", Tags=[{"Key": "team", "Value": "a"}])
    assert (made["Version"], made["Tier"]) == (1, "Standard")
    got = ssm.get_parameter(Name="/app/db/host")["Parameter"]
    assert (got["Value"], got["Type"], got["Version"], got["DataType"]) == (
        "db.internal",
        "String",
        1,
        "text",
    )
    assert got["ARN"] == "arn:aws:ssm:us-east-1:000000000000:parameter/app/db/host"
    assert ssm.get_parameter(Name=got["ARN"])["Parameter"] == got
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/app/db/host")["TagList"]
    assert tags == [{"Key": "team", "Value": "a"}]
    ssm.add_tags_to_resource(
        ResourceType="Parameter", ResourceId="/app/db/host", Tags=[{"Key": "x", "Value": ""}]
    )
    ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId="/app/db/host", TagKeys=["team"])
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/app/db/host")["TagList"]
    assert tags == [{"Key": "x", "Value": ""}]
    ssm.delete_parameter(Name="/app/db/host")
    refused("ParameterNotFound", ssm.get_parameter, Name="/app/db/host")
    refused("ParameterNotFound", ssm.delete_parameter, Name="/app/db/host")
    refused("ParameterNotFound", ssm.get_parameter_history, Name="/app/db/host")
    refused(
        "InvalidResourceId", ssm.list_tags_for_resource, ResourceType="Parameter", ResourceId="/app/db/host"
    )
    refused("InvalidResourceType", ssm.list_tags_for_resource, ResourceType="Document", ResourceId="x")


def test_versions_labels_and_history(ssm: Any) -> None:
    put(ssm, "p", "one", Description="first")
    text = refused("ParameterAlreadyExists", ssm.put_parameter, Name="p", Value="two")
    assert text.startswith("The parameter already exists. To overwrite this value, set the overwrite option")
    assert ssm.put_parameter(Name="p", Value="two", Overwrite=True)["Version"] == 2
    assert ssm.put_parameter(Name="p", Value="three", Overwrite=True)["Version"] == 3
    assert ssm.get_parameter(Name="p")["Parameter"]["Value"] == "three"
    got = ssm.get_parameter(Name="p:1")["Parameter"]
    assert (got["Value"], got["Version"], got["Selector"], got["Name"]) == ("one", 1, ":1", "p")
    answer = ssm.label_parameter_version(
        Name="p", ParameterVersion=1, Labels=["prod", "1st", "awsish", "ssm"]
    )
    assert (answer["InvalidLabels"], answer["ParameterVersion"]) == (["1st", "awsish", "ssm"], 1)
    assert ssm.get_parameter(Name="p:prod")["Parameter"]["Value"] == "one"
    assert ssm.label_parameter_version(Name="p", Labels=["prod"])["ParameterVersion"] == 3
    assert ssm.get_parameter(Name="p:prod")["Parameter"]["Value"] == "three"
    history = ssm.get_parameter_history(Name="p")["Parameters"]
    assert [(p["Version"], p["Value"], p["Labels"]) for p in history] == [
        (1, "one", []), (2, "two", []), (3, "three", ["prod"]),
    ]  # fmt: skip
    assert all(p["Description"] == "first" for p in history)
    assert history[0]["LastModifiedUser"] == "arn:aws:iam::000000000000:root"
    pages = ssm.get_paginator("get_parameter_history").paginate(Name="p", PaginationConfig={"PageSize": 2})
    assert [[p["Version"] for p in page["Parameters"]] for page in pages] == [[1, 2], [3]]
    answer = ssm.unlabel_parameter_version(Name="p", ParameterVersion=3, Labels=["prod", "none"])
    assert (answer["RemovedLabels"], answer["InvalidLabels"]) == (["prod"], ["none"])
    for name, text in (
        ("p:4", "version 4 of p"),
        ("p:0", "version 0"),
        ("p:prod", "version label prod of p"),
    ):
        assert text in refused("ParameterVersionNotFound", ssm.get_parameter, Name=name)
    refused(
        "ParameterVersionNotFound", ssm.label_parameter_version, Name="p", ParameterVersion=9, Labels=["x"]
    )
    refused("ValidationException", ssm.get_parameter, Name="p:1:2")
    ssm.label_parameter_version(Name="p", Labels=[f"l{n}" for n in range(10)])
    refused("ParameterVersionLabelLimitExceeded", ssm.label_parameter_version, Name="p", Labels=["more"])


def test_the_oldest_version_gives_way_unless_a_label_holds_it(ssm: Any) -> None:
    put(ssm, "p", "0")
    for number in range(1, 101):
        ssm.put_parameter(Name="p", Value=str(number), Overwrite=True)
    refused("ParameterVersionNotFound", ssm.get_parameter, Name="p:1")
    assert ssm.get_parameter(Name="p:2")["Parameter"]["Value"] == "1"
    ssm.label_parameter_version(Name="p", ParameterVersion=2, Labels=["keep"])
    text = refused("ParameterMaxVersionLimitExceeded", ssm.put_parameter, Name="p", Value="x", Overwrite=True)
    assert "Version 2, the oldest version, can't be deleted because it has a label" in text
    assert ssm.get_parameter(Name="p")["Parameter"]["Version"] == 101


def test_a_secure_string_is_in_clear_for_who_asks_only(ssm: Any, door: Door) -> None:
    words = "correct horse battery staple"
    put(ssm, "/s", words, "SecureString")
    closed = ssm.get_parameter(Name="/s")["Parameter"]["Value"]
    assert closed != words and words.encode() not in base64.b64decode(closed)
    assert ssm.get_parameter(Name="/s", WithDecryption=True)["Parameter"]["Value"] == words
    (shown,) = ssm.describe_parameters()["Parameters"]
    assert shown["KeyId"] == "alias/aws/ssm" and "Value" not in shown
    put(ssm, "/t", words)
    for path in Path(door.settings.data_dir).rglob("*"):
        assert not path.is_file() or words.encode() not in path.read_bytes(), path


def test_many_at_once(ssm: Any) -> None:
    put(ssm, "a", "1")
    put(ssm, "/b/c", "2,3", "StringList")
    answer = ssm.get_parameters(Names=["a", "/b/c:1", "none", "a:7"])
    assert [(p["Name"], p["Value"]) for p in answer["Parameters"]] == [("a", "1"), ("/b/c", "2,3")]
    assert answer["InvalidParameters"] == ["none", "a:7"]
    answer = ssm.delete_parameters(Names=["a", "none"])
    assert (answer["DeletedParameters"], answer["InvalidParameters"]) == (["a"], ["none"])
    assert listed(ssm, "describe_parameters") == ["/b/c"]


def test_hierarchies_in_pages(ssm: Any) -> None:
    names = ["/app/a", "/app/db/host", "/app/db/user", "/app-x", "/apple/a", "flat"]
    names += [f"/app/n{number:02d}" for number in range(23)]
    for name in names:
        put(ssm, name)
    inside = sorted(n for n in names if n.startswith("/app/"))
    assert listed(ssm, "get_parameters_by_path", Path="/app", Recursive=True) == inside
    level = [n for n in inside if n.count("/") == 2]
    assert listed(ssm, "get_parameters_by_path", Path="/app/") == level
    assert listed(ssm, "get_parameters_by_path", Path="/") == ["/app-x", "flat"]
    assert sorted(listed(ssm, "get_parameters_by_path", Path="/", Recursive=True)) == sorted(names)
    assert listed(ssm, "get_parameters_by_path", Path="/none") == []
    first = ssm.get_parameters_by_path(Path="/app", Recursive=True)
    assert len(first["Parameters"]) == 10
    refused("ValidationException", ssm.get_parameters_by_path, Path="app")
    refused("InvalidNextToken", ssm.get_parameters_by_path, Path="/app", NextToken="!")
    pages = ssm.get_paginator("describe_parameters").paginate(PaginationConfig={"PageSize": 7})
    assert [p["Name"] for page in pages for p in page["Parameters"]] == sorted(names)


def test_a_hierarchy_by_label_shows_the_versions_that_have_it(ssm: Any) -> None:
    for value in ("old", "new"):
        put(ssm, "/app/db", value, Overwrite=True)
        put(ssm, "/app/web", value, Overwrite=True)
    ssm.label_parameter_version(Name="/app/db", ParameterVersion=1, Labels=["live"])
    ssm.label_parameter_version(Name="/app/db", ParameterVersion=2, Labels=["next"])
    for labels, shown in ((["live"], [(1, "old")]), (["next"], [(2, "new")]), (["none"], [])):
        label = [{"Key": "Label", "Values": labels}]
        found = ssm.get_parameters_by_path(Path="/app", ParameterFilters=label)["Parameters"]
        assert [(p["Version"], p["Value"]) for p in found] == shown, labels


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([{"Key": "Name", "Option": "Contains", "Values": ["db"]}], ["/app/db", "/x/db"]),
        ([{"Key": "Name", "Values": ["plain"]}], ["plain"]),
        ([{"Key": "Name", "Option": "BeginsWith", "Values": ["/x", "pl"]}], ["/x/db", "plain"]),
        ([{"Key": "Path", "Values": ["/app"]}], ["/app/db"]),
        ([{"Key": "Path", "Option": "Recursive", "Values": ["/"]}], ["/app/db", "/x/db", "plain"]),
        ([{"Key": "Type", "Values": ["SecureString"]}], ["/x/db"]),
        ([{"Key": "KeyId", "Option": "BeginsWith", "Values": ["alias/"]}], ["/x/db"]),
        ([{"Key": "Tier", "Values": ["Advanced"]}], ["plain"]),
        ([{"Key": "tag:of"}], ["/app/db", "plain"]),
        ([{"Key": "tag:of", "Values": ["b"]}, {"Key": "Type", "Values": ["String"]}], ["plain"]),
        ([{"Key": "DataType", "Values": ["aws:ec2:image"]}], []),
    ],
)
def test_described_by_filters(ssm: Any, filters: list[dict[str, Any]], expected: list[str]) -> None:
    put(ssm, "/app/db", "a,b", "StringList", Tags=[{"Key": "of", "Value": "a"}])
    put(ssm, "/x/db", "v", "SecureString")
    put(ssm, "plain", "v" * 5000, Tier="Intelligent-Tiering", Tags=[{"Key": "of", "Value": "b"}])
    assert listed(ssm, "describe_parameters", ParameterFilters=filters) == expected


def test_filters_that_are_refused(ssm: Any) -> None:
    describe, by_path = ssm.describe_parameters, ssm.get_parameters_by_path
    label = [{"Key": "Label", "Values": ["x"]}]
    text = refused("InvalidFilterKey", describe, ParameterFilters=label)
    assert text.startswith("The following filter key is not valid: Label. Valid filter keys include: [Path, ")
    name = [{"Key": "Name", "Values": ["x"]}]
    refused("InvalidFilterKey", by_path, Path="/", ParameterFilters=name)
    assert by_path(Path="/", ParameterFilters=label)["Parameters"] == []
    odd = [{"Key": "Tier", "Option": "BeginsWith", "Values": ["x"]}]
    refused("InvalidFilterOption", describe, ParameterFilters=odd)
    refused("InvalidFilterValue", describe, ParameterFilters=[{"Key": "Name"}])
    refused("InvalidFilterValue", describe, ParameterFilters=[{"Key": "Path", "Values": ["x"]}])
    both = {"Filters": [{"Key": "Name", "Values": ["x"]}], "ParameterFilters": name}
    refused("ValidationException", describe, **both)


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"Name": "a b"}, "ValidationException", "letters, numbers and the following 3 symbols .-_"),
        ({"Name": "/a//b"}, "ValidationException", "sub-path"),
        ({"Name": "/a/"}, "ValidationException", "sub-path"),
        ({"Name": "SSM-x"}, "ValidationException", 'can\'t be prefixed with "ssm"'),
        ({"Name": "/aws/x"}, "AccessDeniedException", "No access to reserved parameter name: /aws/x."),
        ({"Name": "a/b"}, "ValidationException", "Parameter name must be a fully qualified name."),
        ({"Name": "/a" * 16}, "HierarchyLevelLimitExceededException", "maximum of 15 levels"),
        ({"Name": "a" * 1012}, "ValidationException", "1011"),
        ({"Value": ""}, "ValidationException", "length greater than or equal to 1"),
        ({"Value": "x" * 4097}, "ValidationException", "maximum parameter value of 4096 characters"),
        ({"Value": "x" * 8193, "Tier": "Advanced"}, "ValidationException", "value of 8192 characters"),
        ({"AllowedPattern": "[0-9]+"}, "ParameterPatternMismatchException", "allowedPattern: [0-9]+"),
        ({"AllowedPattern": "("}, "InvalidAllowedPatternException", "("),
        ({"DataType": "x"}, "ValidationException", "The following data type is not supported: x"),
        ({"Policies": "[]"}, "InvalidPolicyTypeException", "not built"),
        ({"KeyId": "k"}, "ValidationException", "SecureString"),
        ({"Type": "StringList", "Value": "a,,b"}, "ValidationException", "empty"),
        ({"Overwrite": True, "Tags": [{"Key": "a", "Value": "b"}]}, "ValidationException", "together"),
        ({"Tags": [{"Key": "aws:x", "Value": "b"}]}, "ValidationException", "aws:"),
        ({"Type": "Number"}, "ValidationException", "enum value set"),
    ],
)
def test_what_put_parameter_refuses(ssm: Any, params: dict[str, Any], code: str, text: str) -> None:
    given = {"Name": "p", "Value": "v", "Type": "String", **params}
    assert text in refused(code, ssm.put_parameter, **given)
    assert ssm.describe_parameters()["Parameters"] == []


def test_types_and_tiers_over_versions(ssm: Any) -> None:
    text = refused("ValidationException", ssm.put_parameter, Name="p", Value="v")
    assert text == "A parameter type is required when you create a parameter."
    put(ssm, "p", "12", AllowedPattern="[0-9]+")
    big = ssm.put_parameter(Name="p", Value="x" * 5000, Tier="Advanced", Overwrite=True)
    assert (big["Version"], big["Tier"]) == (2, "Advanced")
    assert ssm.put_parameter(Name="p", Value="small", Overwrite=True)["Tier"] == "Advanced"
    text = refused(
        "ValidationException", ssm.put_parameter, Name="p", Value="v", Tier="Standard", Overwrite=True
    )
    assert "You can't downgrade a parameter" in text
    ssm.put_parameter(Name="p", Value="hidden", Type="SecureString", Overwrite=True)
    assert ssm.get_parameter(Name="p:3")["Parameter"]["Value"] == "small"
    assert ssm.get_parameter(Name="p:4")["Parameter"]["Value"] != "hidden"


def test_each_region_has_its_own(ssm: Any, door: Door) -> None:
    put(ssm, "p", "here")
    there = door.client("ssm", region_name="eu-west-1")
    refused("ParameterNotFound", there.get_parameter, Name="p")
    refused("ParameterNotFound", there.get_parameter, Name="arn:aws:ssm:us-east-1:000000000000:parameter/p")
