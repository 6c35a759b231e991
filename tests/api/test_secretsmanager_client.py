"""Secrets Manager through boto3: stages, batches, passwords, policies; rotation says what it is not."""

import string
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.door import Door


@pytest.fixture
def client(door: Door) -> Any:
    return door.client("secretsmanager")


def refused(code: str, call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return str(caught.value.response["Error"]["Message"])


def stages(client: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = client.describe_secret(SecretId="db")["VersionIdsToStages"]
    return found


def value(client: Any, **params: Any) -> str:
    return str(client.get_secret_value(SecretId="db", **params)["SecretString"])


def test_a_rotation_by_hand(client: Any) -> None:
    """As a rotation function does it: pending, tested, current."""
    old = client.create_secret(Name="db", SecretString="old")["VersionId"]
    new = client.put_secret_value(SecretId="db", SecretString="new", VersionStages=["AWSPENDING"])[
        "VersionId"
    ]
    assert value(client) == "old" and value(client, VersionStage="AWSPENDING") == "new"
    move = {"SecretId": "db", "VersionStage": "AWSCURRENT", "MoveToVersionId": new}
    text = refused("InvalidParameterException", client.update_secret_version_stage, **move)
    assert text == (
        "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to "
        f"version {old}, so you must explicitly reference that version in RemoveFromVersionId."
    )
    refused("InvalidParameterException", client.update_secret_version_stage, **move, RemoveFromVersionId=new)
    client.update_secret_version_stage(**move, RemoveFromVersionId=old)
    assert stages(client) == {old: ["AWSPREVIOUS"], new: ["AWSCURRENT", "AWSPENDING"]}
    client.update_secret_version_stage(SecretId="db", VersionStage="AWSPENDING", RemoveFromVersionId=new)
    assert stages(client) == {old: ["AWSPREVIOUS"], new: ["AWSCURRENT"]}
    assert (value(client), value(client, VersionStage="AWSPREVIOUS")) == ("new", "old")
    client.update_secret_version_stage(
        SecretId="db", VersionStage="AWSCURRENT", MoveToVersionId=old, RemoveFromVersionId=new
    )
    assert stages(client) == {new: ["AWSPREVIOUS"], old: ["AWSCURRENT"]}


def test_stages_that_cannot_be_moved(client: Any) -> None:
    one = client.create_secret(Name="db", SecretString="1")["VersionId"]
    update = client.update_secret_version_stage
    text = refused(
        "InvalidParameterException", update, SecretId="db", VersionStage="AWSCURRENT", RemoveFromVersionId=one
    )
    assert text.startswith("You can only move staging label AWSCURRENT to a different secret version.")
    refused("InvalidParameterException", update, SecretId="db", VersionStage="x")
    refused("InvalidParameterException", update, SecretId="db", VersionStage="x", RemoveFromVersionId=one)
    missing = "0" * 32
    refused("ResourceNotFoundException", update, SecretId="db", VersionStage="x", MoveToVersionId=missing)
    refused("ResourceNotFoundException", update, SecretId="none", VersionStage="x", MoveToVersionId=one)
    update(SecretId="db", VersionStage="x", MoveToVersionId=one)
    assert stages(client) == {one: ["AWSCURRENT", "x"]}


def test_versions_in_pages(client: Any) -> None:
    made = [client.create_secret(Name="db", SecretString="0")["VersionId"]]
    made += [client.put_secret_value(SecretId="db", SecretString=str(n))["VersionId"] for n in range(1, 6)]
    labelled = client.list_secret_version_ids(SecretId="db")
    assert [v["VersionId"] for v in labelled["Versions"]] == made[-2:]
    assert [v["VersionStages"] for v in labelled["Versions"]] == [["AWSPREVIOUS"], ["AWSCURRENT"]]
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = client.list_secret_version_ids(SecretId="db", IncludeDeprecated=True, MaxResults=4, **token)
        found += [version["VersionId"] for version in page["Versions"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert found == made
    refused("InvalidNextTokenException", client.list_secret_version_ids, SecretId="db", NextToken="x")


def test_many_values_at_once(client: Any) -> None:
    for name in ("prod/a", "prod/b", "prod/c", "test/a"):
        client.create_secret(Name=name, SecretString=f"of {name}")
    client.create_secret(Name="prod/empty")
    client.create_secret(Name="bytes", SecretBinary=b"\x00\xff")
    answer = client.batch_get_secret_value(SecretIdList=["prod/a", "bytes", "none", "prod/empty"])
    assert [v.get("SecretString", v.get("SecretBinary")) for v in answer["SecretValues"]] == [
        "of prod/a", b"\x00\xff",
    ]  # fmt: skip
    assert [(e["SecretId"], e["ErrorCode"]) for e in answer["Errors"]] == [
        ("none", "ResourceNotFoundException"), ("prod/empty", "ResourceNotFoundException"),
    ]  # fmt: skip
    filters = [{"Key": "name", "Values": ["prod/"]}]
    first = client.batch_get_secret_value(Filters=filters, MaxResults=2)
    second = client.batch_get_secret_value(Filters=filters, MaxResults=2, NextToken=first["NextToken"])
    names = [v["Name"] for page in (first, second) for v in page["SecretValues"]]
    assert sorted(names) == ["prod/a", "prod/b", "prod/c"] and "NextToken" not in second
    refused("InvalidParameterException", client.batch_get_secret_value)
    refused("InvalidParameterException", client.batch_get_secret_value, SecretIdList=["a"], Filters=filters)
    refused("InvalidParameterException", client.batch_get_secret_value, SecretIdList=["a"], MaxResults=1)


def test_passwords(client: Any) -> None:
    def password(**params: Any) -> str:
        return str(client.get_random_password(**params)["RandomPassword"])

    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation)
    assert len(password()) == 32 and password() != password()
    for _ in range(20):
        short = password(PasswordLength=4)
        assert len(short) == 4 and all(any(c in kind for c in short) for kind in kinds)
    rest = {"ExcludePunctuation": True, "ExcludeUppercase": True}
    letters = password(PasswordLength=1000, ExcludeCharacters="0aeiou", **rest)
    assert set(letters) <= set("bcdfghjklmnpqrstvwxyz123456789") and len(set(letters)) == 30
    assert " " in password(PasswordLength=200, IncludeSpace=True)
    assert len(password(PasswordLength=4096)) == 4096
    refused("InvalidParameterException", client.get_random_password, PasswordLength=3)
    assert len(password(PasswordLength=1, RequireEachIncludedType=False)) == 1
    nothing = {"ExcludeLowercase": True, "ExcludeNumbers": True, **rest}
    refused("InvalidParameterException", client.get_random_password, **nothing)


POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},'
    '"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}'
)


def test_policies_are_kept(client: Any) -> None:
    arn = client.create_secret(Name="db")["ARN"]
    assert "ResourcePolicy" not in client.get_resource_policy(SecretId="db")
    assert client.put_resource_policy(SecretId="db", ResourcePolicy=POLICY)["ARN"] == arn
    assert client.get_resource_policy(SecretId="db")["ResourcePolicy"] == POLICY
    for text in ("x", "{}", '{"Statement":[{}]}', POLICY.replace("Allow", "May")):
        refused(
            "MalformedPolicyDocumentException", client.put_resource_policy, SecretId="db", ResourcePolicy=text
        )
        checked = client.validate_resource_policy(ResourcePolicy=text)
        assert checked["PolicyValidationPassed"] is False and checked["ValidationErrors"]
    assert client.validate_resource_policy(ResourcePolicy=POLICY)["PolicyValidationPassed"] is True
    public = POLICY.replace('{"AWS":"arn:aws:iam::000000000000:root"}', '"*"')
    refused(
        "PublicPolicyException", client.put_resource_policy, SecretId="db", ResourcePolicy=public,
        BlockPublicPolicy=True,
    )  # fmt: skip
    client.delete_resource_policy(SecretId="db")
    assert "ResourcePolicy" not in client.get_resource_policy(SecretId="db")


def test_rotation_is_recorded_and_refused_where_it_would_run(client: Any) -> None:
    client.create_secret(Name="db", SecretString="x")
    function = "arn:aws:lambda:us-east-1:000000000000:function:rotate"
    text = refused("InvalidRequestException", client.rotate_secret, SecretId="db")
    assert text == "No Lambda rotation function ARN is associated with this secret."
    text = refused("InvalidRequestException", client.rotate_secret, SecretId="db", RotationLambdaARN=function)
    assert "not built into neargate" in text
    for rules in ({"ScheduleExpression": "nonsense"}, {"ScheduleExpression": "at(2030-01-01T00:00:00)"}):
        refused(
            "InvalidParameterException", client.rotate_secret, SecretId="db", RotationLambdaARN=function,
            RotateImmediately=False, RotationRules=rules,
        )  # fmt: skip
    assert "RotationEnabled" not in client.describe_secret(SecretId="db")
    client.rotate_secret(
        SecretId="db", RotationLambdaARN=function, RotateImmediately=False,
        RotationRules={"AutomaticallyAfterDays": 30, "Duration": "2h"},
    )  # fmt: skip
    shown = client.describe_secret(SecretId="db")
    assert (shown["RotationEnabled"], shown["RotationLambdaARN"]) == (True, function)
    assert shown["RotationRules"] == {"AutomaticallyAfterDays": 30, "Duration": "2h"}
    assert "NextRotationDate" not in shown
    schedule = {"ScheduleExpression": "cron(0 16 1,15 * ? *)", "Duration": "2h"}
    client.rotate_secret(SecretId="db", RotateImmediately=False, RotationRules=schedule)
    assert client.describe_secret(SecretId="db")["RotationRules"] == schedule
    rules = {"AutomaticallyAfterDays": 30, "Duration": "2h"}
    client.rotate_secret(SecretId="db", RotateImmediately=False, RotationRules=rules)
    client.cancel_rotate_secret(SecretId="db")
    assert client.describe_secret(SecretId="db")["RotationEnabled"] is False
    assert client.list_secrets()["SecretList"][0]["RotationRules"]["AutomaticallyAfterDays"] == 30
