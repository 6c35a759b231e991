"""Where secrets come from, what files of variables say, and which of several values counts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.environment import (
    ParameterSource,
    SecretSource,
    bucket_and_key,
    json_member,
    merged,
    source_of,
    variables_of,
)

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"
PARAMETER = "arn:aws:ssm:eu-west-1:123456789012:parameter/app/db"


@pytest.mark.parametrize(
    ("value_from", "source"),
    [
        (SECRET, SecretSource(SECRET, "us-east-1")),
        (f"{SECRET}:password::", SecretSource(SECRET, "us-east-1", "password")),
        (f"{SECRET}::AWSPREVIOUS:", SecretSource(SECRET, "us-east-1", "", "AWSPREVIOUS")),
        (f"{SECRET}:k:s:v", SecretSource(SECRET, "us-east-1", "k", "s", "v")),
        (PARAMETER, ParameterSource(PARAMETER, "eu-west-1")),
        (f"{PARAMETER}:3", ParameterSource(f"{PARAMETER}:3", "eu-west-1")),
        ("/app/db", ParameterSource("/app/db", "")),
        ("db:prod", ParameterSource("db:prod", "")),
    ],
)
def test_sources(value_from: str, source: object) -> None:
    assert source_of(value_from) == source


@pytest.mark.parametrize("value_from", [f"{SECRET}:k", f"{SECRET}:a:b:c:d", "arn:aws:s3:::b/k", "arn:aws"])
def test_sources_that_are_none(value_from: str) -> None:
    with pytest.raises(ValueError, match="unexpected ARN format"):
        source_of(value_from)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"k":"v"}', "v"),
        ('{"k":5432}', "5432"),
        ('{"k":1.50}', "1.50"),
        ('{"k":1e400}', "1e400"),
        ('{"k":true}', "true"),
        ('{"k":null}', "null"),
        ('{"k":{"a":[1, "b"]}}', '{"a": [1, "b"]}'),
    ],
)
def test_members_of_json(text: str, value: str) -> None:
    assert json_member(text, "k") == value


@pytest.mark.parametrize("text", ["hunter2", '["hunter2"]', '{"other":"hunter2"}', "[" * 10_000, ""])
def test_members_that_are_not_there_and_no_value_in_the_error(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        json_member(text, "k")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "variables"),
    [
        (b"A=1\nB=2\n", {"A": "1", "B": "2"}),
        (b"# A=1\nA=2", {"A": "2"}),
        (b"A='q' \"x\" $HOME # no comment", {"A": "'q' \"x\" $HOME # no comment"}),
        (b"A=b=c", {"A": "b=c"}),
        (b"A = 1", {"A ": " 1"}),
        (b"A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        (b"\xef\xbb\xbfA=1", {"A": "1"}),
        (b"A=1\nA=2", {"A": "2"}),
        (b"A=\n=1\nA\n\n   \n", {}),
        ("N=é€".encode(), {"N": "é€"}),
        (b"", {}),
    ],
)
def test_files_of_variables(data: bytes, variables: dict[str, str]) -> None:
    assert variables_of(data) == variables


def test_a_file_that_is_no_text() -> None:
    with pytest.raises(ValueError, match="not UTF-8"):
        variables_of(b"A=\xff")


@pytest.mark.parametrize(
    ("files", "environment", "secrets", "result"),
    [
        ([{"A": "1"}, {"A": "2", "B": "2"}], [], [], {"A": "1", "B": "2"}),
        ([{"A": "file"}], [("A", "plain")], [], {"A": "plain"}),
        ([{"A": "file"}], [("A", "plain")], [("A", "secret")], {"A": "secret"}),
    ],
)
def test_which_value_counts(
    files: list[dict[str, str]],
    environment: list[tuple[str, str]],
    secrets: list[tuple[str, str]],
    result: dict[str, str],
) -> None:
    assert dict(merged(files, environment, secrets)) == result


def test_a_value_that_no_process_can_be_given() -> None:
    with pytest.raises(ValueError, match="'A' has a NUL") as caught:
        merged([], [], [("A", "hunter\0two")])
    assert "hunter" not in str(caught.value)


@given(st.dictionaries(st.from_regex(r"[A-Za-z_]\w*", fullmatch=True), st.text(min_size=1)))
def test_what_is_written_a_line_each_is_read_again(variables: dict[str, str]) -> None:
    kept = {k: v for k, v in variables.items() if "\n" not in v and not v.endswith("\r")}
    text = "".join(f"{name}={value}\n" for name, value in kept.items())
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    assert variables_of(data) == kept


def test_objects_of_arns() -> None:
    assert bucket_and_key("arn:aws:s3:::config/a/b.env") == ("config", "a/b.env")
    for arn in ("arn:aws:s3:::config", "s3://config/x.env", "arn:aws:s3:us-east-1::config/x"):
        with pytest.raises(ValueError, match="not the ARN of an object"):
            bucket_and_key(arn)
    assert json.loads(json_member('{"k":[1]}', "k")) == [1]
