"""Policy documents: what is read, and what is refused in which words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.kit.errors import ApiError
from neargate.model.policy import Policy, Principal, Purpose
from neargate.model.policy_document import parse_identity, parse_kept, parse_resource, parse_trust

SYNTAX = "Syntax errors in policy."
VENDOR = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
LEGACY = "The policy failed legacy parsing"
ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}


def document(statement: Any, **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statement} | more)


def refusal(parse: Any, text: str) -> str:
    with pytest.raises(ApiError) as caught:
        parse(text)
    assert (caught.value.code, caught.value.status) == ("MalformedPolicyDocument", 400)
    return caught.value.message


def without(statement: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in statement.items() if name not in names}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", SYNTAX),
        ("{", SYNTAX),
        ("[]", SYNTAX),
        ("null", SYNTAX),
        ("[" * 100_000, SYNTAX),
        ('{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}', SYNTAX),
        ('{"Version": "2012-10-17", "Statement": NaN}', SYNTAX),
        ('{"Version": "2012-10-17"}', SYNTAX),
        (document([]), SYNTAX),
        (document("x"), SYNTAX),
        (document([ALLOW, 1]), SYNTAX),
        (document(ALLOW, Id=1), SYNTAX),
        (document(ALLOW, Version="2013-10-17"), SYNTAX),
        (document(ALLOW, Version=["2012-10-17"]), SYNTAX),
        (document(ALLOW, Comment="x"), "Unknown field Comment"),
        (document(ALLOW | {"Actions": "x"}), "Unknown field Actions"),
        (document(ALLOW, Version="2008-10-17"), "Policy document must be version 2012-10-17 or greater."),
        (json.dumps({"Statement": ALLOW}), "Policy document must be version 2012-10-17 or greater."),
        (document(ALLOW | {"Effect": "Maybe"}), SYNTAX),
        (document(without(ALLOW, "Effect")), "Missing required field Effect"),
        (document(ALLOW | {"Sid": 1}), SYNTAX),
        (
            document([ALLOW | {"Sid": "a"}, ALLOW | {"Sid": "a"}]),
            "Statement IDs (SID) in a single policy must be unique.",
        ),
        (document(without(ALLOW, "Action")), "Policy statement must contain actions."),
        (document(ALLOW | {"Action": []}), "Policy statement must contain actions."),
        (document(ALLOW | {"NotAction": "s3:x"}), SYNTAX),
        (document(ALLOW | {"Action": {"a": "b"}}), SYNTAX),
        (document(ALLOW | {"Action": ["s3:x", 1]}), SYNTAX),
        (document(ALLOW | {"Action": "GetObject"}), VENDOR),
        (document(ALLOW | {"Action": "a:b:c"}), "Actions/Condition can contain only one colon."),
        (document(ALLOW | {"Action": "a b:c"}), "Vendor a b is not valid"),
        (document(without(ALLOW, "Resource")), "Policy statement must contain resources."),
        (document(ALLOW | {"Resource": []}), "Policy statement must contain resources."),
        (document(ALLOW | {"NotResource": "*"}), SYNTAX),
        (document(ALLOW | {"Resource": "bucket"}), 'Resource bucket must be in ARN format or "*".'),
        (document(ALLOW | {"Resource": "urn:aws:s3:::b"}), LEGACY),
        (document(ALLOW | {"Resource": "arn:aws:s3"}), LEGACY),
        (
            document(ALLOW | {"Resource": "arn:gcp:s3:::b"}),
            'Partition "gcp" is not valid for resource "arn:gcp:s3:::b".',
        ),
        (
            document(ALLOW | {"Resource": "arn:aws:s*:::b"}),
            "Resource vendor must be fully qualified and cannot contain regexes.",
        ),
        (document(ALLOW | {"Principal": "*"}), "Policy document should not specify a principal."),
        (document(ALLOW | {"NotPrincipal": "*"}), "Policy document should not specify a principal."),
        (document(ALLOW | {"Condition": []}), SYNTAX),
        (document(ALLOW | {"Condition": {"StringEquals": "x"}}), SYNTAX),
        (document(ALLOW | {"Condition": {"StringEquals": {"aws:x": {}}}}), SYNTAX),
        (document(ALLOW | {"Condition": {"StringSame": {"aws:x": "y"}}}), SYNTAX),
        (document(ALLOW | {"Condition": {"ForSome:StringEquals": {"aws:x": "y"}}}), SYNTAX),
        (document(ALLOW | {"Condition": {"NullIfExists": {"aws:x": "true"}}}), SYNTAX),
        (document(ALLOW | {"Condition": {"Null": {"aws:x": "maybe"}}}), SYNTAX),
        (document(ALLOW | {"Condition": {"NumericEquals": {"aws:x": "y"}}}), SYNTAX),
        (document(ALLOW | {"Condition": {"IpAddress": {"aws:SourceIp": "1.2.3.400"}}}), SYNTAX),
        (document(ALLOW | {"Condition": {"BinaryEquals": {"aws:x": "?"}}}), SYNTAX),
        (document(ALLOW | {"Condition": {"DateLessThan": {"aws:CurrentTime": "soon"}}}), LEGACY),
        (document(ALLOW | {"Condition": {"StringEquals": {"x": "y"}}}), VENDOR),
    ],
)
def test_what_identities_are_refused(text: str, message: str) -> None:
    assert refusal(parse_identity, text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trust.json", "This policy contains invalid Json"),
        (document([]), SYNTAX),
        (document(without(TRUST, "Principal")), "Missing required field Principal"),
        (document(without(TRUST, "Action")), "Missing required field Action"),
        (document(TRUST | {"Resource": "*"}), "Has prohibited field Resource"),
        (
            document(without(TRUST, "Action") | {"Action": "sts:AssumeRole", "NotResource": "*"}),
            "Has prohibited field NotResource",
        ),
        (document(without(TRUST, "Principal") | {"NotPrincipal": "*"}), "Has prohibited field NotPrincipal"),
        (
            document(TRUST | {"Action": "s3:Get"}),
            "AssumeRole policy may only specify STS AssumeRole actions.",
        ),
        (document(TRUST | {"Action": "*"}), VENDOR),
        (document(TRUST | {"Principal": "*"}), 'AssumeRolepolicy contained an invalid principal: "STAR".'),
        (document(TRUST | {"Principal": "x"}), "Invalid principal in policy"),
        (document(TRUST | {"Principal": {}}), "Invalid principal in policy"),
        (document(TRUST | {"Principal": {"AWS": "ana"}}), 'Invalid principal in policy: "AWS":"ana"'),
        (
            document(TRUST | {"Principal": {"AWS": "arn:aws:iam::111111111111:role/*"}}),
            'Invalid principal in policy: "AWS":"arn:aws:iam::111111111111:role/*"',
        ),
        (
            document(TRUST | {"Principal": {"Service": "ecs-tasks"}}),
            'Invalid principal in policy: "SERVICE":"ecs-tasks"',
        ),
        (document(TRUST | {"Principal": {"Service": [1]}}), SYNTAX),
    ],
)
def test_what_trust_is_refused(text: str, message: str) -> None:
    assert refusal(parse_trust, text) == message


def test_what_is_read() -> None:
    text = document(
        [
            ALLOW | {"Sid": "One", "Action": ["S3:Get*"]},
            {"Effect": "Deny", "NotAction": "iam:*", "NotResource": ["arn:aws:s3:::b", "arn:aws:s3:::c/*"]},
        ],
        Id="id",
    )
    one, two = parse_identity(text).statements
    assert (one.sid, one.allow, one.actions, one.resources) == ("One", True, ("s3:get*",), ("*",))
    assert (two.allow, two.other_actions, two.other_resources) == (False, True, True)
    assert two.principals is None and not two.conditions
    kept = parse_kept(json.dumps({"Statement": ALLOW}), purpose=Purpose.SESSION, id="x")
    assert (kept.version, kept.purpose, kept.id) == ("2008-10-17", Purpose.SESSION, "x")


def test_accounts_are_their_roots() -> None:
    (statement,) = parse_trust(document(TRUST | {"Principal": {"AWS": ["111111111111", "*"]}})).statements
    assert statement.principals == (
        Principal("AWS", "arn:aws:iam::111111111111:root"),
        Principal("AWS", "*"),
    )
    everybody = parse_resource(document(ALLOW | {"Principal": "*"})).statements[0]
    assert everybody.principals == (Principal("AWS", "*"),)
    assert parse_trust(json.dumps({"Statement": TRUST})).version == "2008-10-17"


WORDS = (
    "* ? : Version 2012-10-17 Statement Effect Allow Deny Action NotAction Resource Sid Principal AWS Service"
    " Condition StringLike DateEquals IpAddress aws:x s3:*"
)
words = st.sampled_from(WORDS.split()) | st.text(max_size=4)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
nearly = st.builds(
    lambda base, odd, more: {"Version": "2012-10-17", "Statement": [base | odd]} | more,
    st.sampled_from([ALLOW, TRUST, ALLOW | {"Principal": "*"}]),
    st.dictionaries(st.sampled_from([*ALLOW, *TRUST, "Condition", "NotAction", "Sid"]), anything, max_size=2),
    st.dictionaries(words, anything, max_size=1),
)


@given(st.text() | anything.map(json.dumps) | nearly.map(json.dumps))
def test_anything_is_read_or_refused(text: str) -> None:
    for parse in (parse_identity, parse_trust, parse_resource, parse_kept):
        try:
            assert isinstance(parse(text), Policy)  # type: ignore[operator]
        except ApiError as error:
            assert error.code == "MalformedPolicyDocument"
