"""What policies say of requests: tables of cases, and what has to hold whatever the policies are."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.policy import Decision, Policy, Purpose, Request, decide
from neargate.model.policy_document import parse_identity, parse_kept, parse_resource, parse_trust

ALLOWED, IMPLICIT, EXPLICIT = Decision.ALLOWED, Decision.IMPLICIT_DENY, Decision.EXPLICIT_DENY
SECRET = "arn:aws:secretsmanager:eu-west-1:111111111111:secret:db-AbCdEf"
Made = list[list[dict[str, Any]]]


def document(*statements: dict[str, Any], version: str = "2012-10-17") -> str:
    filled = [{"Effect": "Allow", "Action": "*", "Resource": "*"} | statement for statement in statements]
    for statement in filled:
        if "NotAction" in statement:
            del statement["Action"]
        if "NotResource" in statement:
            del statement["Resource"]
    return json.dumps({"Version": version, "Statement": filled})


def policy(*statements: dict[str, Any]) -> Policy:
    return parse_identity(document(*statements))


def policies(made: Made) -> list[Policy]:
    """Of drawn statements, which are read only now: drawing has to be quick."""
    return [policy(*each) for each in made]


def asked(
    statement: dict[str, Any], action: str = "s3:GetObject", resource: str | None = "*", **context: Any
) -> Decision:
    return decide([policy(statement)], Request(action, resource, context.get("context", {})))


@pytest.mark.parametrize(
    ("said", "action", "decision"),
    [
        ({"Action": "s3:GetObject"}, "s3:GetObject", ALLOWED),
        ({"Action": "S3:getobject"}, "s3:GetObject", ALLOWED),
        ({"Action": "s3:GetObject"}, "S3:GETOBJECT", ALLOWED),
        ({"Action": "s3:Get*"}, "s3:GetObject", ALLOWED),
        ({"Action": "s3:*Object"}, "s3:GetObject", ALLOWED),
        ({"Action": "s3:?etObject"}, "s3:GetObject", ALLOWED),
        ({"Action": "s3:?GetObject"}, "s3:GetObject", IMPLICIT),
        ({"Action": "*"}, "s3:GetObject", ALLOWED),
        ({"Action": "*:*"}, "s3:GetObject", ALLOWED),
        ({"Action": "s3:Get"}, "s3:GetObject", IMPLICIT),
        ({"Action": ["ecs:*", "s3:*"]}, "s3:GetObject", ALLOWED),
        ({"Action": "s3:Get.bject"}, "s3:GetObject", IMPLICIT),
        ({"NotAction": "iam:*"}, "s3:GetObject", ALLOWED),
        ({"NotAction": ["iam:*", "S3:get*"]}, "s3:GetObject", IMPLICIT),
        ({"Effect": "Deny", "Action": "s3:*"}, "s3:GetObject", EXPLICIT),
        ({"Effect": "Deny", "NotAction": "s3:*"}, "s3:GetObject", IMPLICIT),
    ],
)
def test_actions(said: dict[str, Any], action: str, decision: Decision) -> None:
    assert asked(said, action) is decision


@pytest.mark.parametrize(
    ("said", "resource", "decision"),
    [
        ("*", SECRET, ALLOWED),
        ("*", "*", ALLOWED),
        (SECRET, SECRET, ALLOWED),
        (SECRET, "*", IMPLICIT),
        (SECRET, SECRET.upper(), IMPLICIT),
        ("arn:aws:secretsmanager:*:*:secret:db-??????", SECRET, ALLOWED),
        ("arn:aws:secretsmanager:*:*:secret:db-?????", SECRET, IMPLICIT),
        ("arn:aws:secretsmanager:*", SECRET, ALLOWED),
        ("arn:aws:secretsmanager:eu-*", SECRET, ALLOWED),
        ("arn:*:secretsmanager:eu-west-1:111111111111:*", SECRET, ALLOWED),
        # The last character of a segment reaches beyond its colon; others do not.
        ("arn:aws:secretsmanager:*:secret:db-AbCdEf", SECRET, ALLOWED),
        ("arn:aws:secretsmanager:e*1:111111111111:secret:db-AbCdEf", SECRET, ALLOWED),
        ("arn:aws:secretsmanager:e*1:secret:db-AbCdEf", SECRET, IMPLICIT),
        ("arn:aws:secretsmanager:eu-west-1?111111111111:secret:db-AbCdEf", SECRET, IMPLICIT),
        # In the resource itself a colon is a character like others.
        ("arn:aws:secretsmanager:eu-west-1:111111111111:s*Ef", SECRET, ALLOWED),
        ("arn:aws:secretsmanager:eu-west-1:111111111111:secret?db-AbCdEf", SECRET, ALLOWED),
        ("arn:aws:secretsmanager:eu-west-1:111111111111:secret.db-AbCdEf", SECRET, IMPLICIT),
        ("arn:aws:secretsmanager:eu-west-1:222222222222:secret:*", SECRET, IMPLICIT),
        ("arn:aws:s3:::bucket/*", "arn:aws:s3:::bucket/a/b:c\nd", ALLOWED),
        ("arn:aws:s3:::bucket/*", "arn:aws:s3:::bucket", IMPLICIT),
        ("arn:aws:s3:::bucket/é?", "arn:aws:s3:::bucket/éü", ALLOWED),
    ],
)
def test_resources(said: str, resource: str, decision: Decision) -> None:
    assert asked({"Resource": said}, resource=resource) is decision
    assert asked({"NotResource": said}, resource=resource) is (IMPLICIT if decision is ALLOWED else ALLOWED)


def test_an_unnamed_resource_is_whatever_is_said() -> None:
    for element in ("Resource", "NotResource"):
        assert asked({element: SECRET}, resource=None) is ALLOWED
        assert asked({"Effect": "Deny", element: SECRET}, resource=None) is EXPLICIT


WHO = {
    "aws:username": "ana",
    "aws:PrincipalTag/team": "blue*",
    "aws:userid": "AROA:one",
    "aws:many": ["a", "b"],
}


@pytest.mark.parametrize(
    ("said", "resource", "decision"),
    [
        ("arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/ana/x", ALLOWED),
        ("arn:aws:s3:::b/${AWS:UserName}/*", "arn:aws:s3:::b/ana/x", ALLOWED),
        ("arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/bob/x", IMPLICIT),
        ("arn:aws:s3:::b/${aws:missing}", "arn:aws:s3:::b/", IMPLICIT),
        ("arn:aws:s3:::b/${aws:many}", "arn:aws:s3:::b/a", IMPLICIT),
        ("arn:aws:s3:::b/${aws:missing, 'all'}", "arn:aws:s3:::b/all", ALLOWED),
        ("arn:aws:s3:::b/${aws:missing,'all'}", "arn:aws:s3:::b/all", ALLOWED),
        ("arn:aws:s3:::b/${aws:username, 'all'}", "arn:aws:s3:::b/all", IMPLICIT),
        ("arn:aws:s3:::b/${aws:PrincipalTag/team}", "arn:aws:s3:::b/blue*", ALLOWED),
        # What a request brings is never a wildcard.
        ("arn:aws:s3:::b/${aws:PrincipalTag/team}", "arn:aws:s3:::b/bluebird", IMPLICIT),
        ("arn:aws:s3:::b/${aws:PrincipalTag/team}?", "arn:aws:s3:::b/blue*x", ALLOWED),
        ("arn:aws:s3:::b/${*}", "arn:aws:s3:::b/*", ALLOWED),
        ("arn:aws:s3:::b/${*}", "arn:aws:s3:::b/x", IMPLICIT),
        ("arn:aws:s3:::b/${?}*", "arn:aws:s3:::b/?x", ALLOWED),
        ("arn:aws:s3:::b/${$}{x}", "arn:aws:s3:::b/${x}", ALLOWED),
        ("arn:aws:s3:::b/${aws:userid}/*", "arn:aws:s3:::b/AROA:one/x", ALLOWED),
    ],
)
def test_variables(said: str, resource: str, decision: Decision) -> None:
    assert asked({"Resource": said}, resource=resource, context=WHO) is decision


def test_documents_of_2008_have_no_variables() -> None:
    old = parse_kept(document({"Resource": "arn:aws:s3:::b/${aws:username}"}, version="2008-10-17"))
    assert decide([old], Request("s3:GetObject", "arn:aws:s3:::b/ana", WHO)) is IMPLICIT
    assert decide([old], Request("s3:GetObject", "arn:aws:s3:::b/${aws:username}", WHO)) is ALLOWED


def test_boundaries_and_session_policies_bound() -> None:
    grant = policy({"Action": ["s3:*", "ecs:*"]})
    boundary = parse_kept(document({"Action": "s3:*"}), purpose=Purpose.BOUNDARY)
    session = parse_kept(document({"Action": "s3:Get*"}), purpose=Purpose.SESSION)
    denying = parse_kept(document({"Effect": "Deny", "Action": "s3:GetObject"}), purpose=Purpose.BOUNDARY)
    get, put, run = (Request(action, "*", {}) for action in ("s3:GetObject", "s3:PutObject", "ecs:RunTask"))
    assert [decide([grant, boundary], each) for each in (get, put, run)] == [ALLOWED, ALLOWED, IMPLICIT]
    assert [decide([grant, boundary, session], each) for each in (get, put)] == [ALLOWED, IMPLICIT]
    assert decide([boundary], get) is decide([session], get) is decide([], get) is IMPLICIT
    assert decide([grant, boundary, denying], get) is EXPLICIT


ROLE = "arn:aws:iam::111111111111:role/web"
SESSION = "arn:aws:sts::111111111111:assumed-role/web/one"
OF_ROLE = {
    "aws:PrincipalArn": ROLE,
    "aws:PrincipalAccount": "111111111111",
    "neargate:PrincipalSession": SESSION,
}
OF_TASKS = {"aws:PrincipalServiceName": "ecs-tasks.amazonaws.com"}


@pytest.mark.parametrize(
    ("principal", "context", "decision"),
    [
        ("*", OF_ROLE, ALLOWED),
        ({"AWS": "*"}, {}, ALLOWED),
        ({"AWS": ROLE}, OF_ROLE, ALLOWED),
        ({"AWS": [SESSION]}, OF_ROLE, ALLOWED),
        ({"AWS": "111111111111"}, OF_ROLE, ALLOWED),
        ({"AWS": "arn:aws:iam::111111111111:root"}, OF_ROLE, ALLOWED),
        ({"AWS": "222222222222"}, OF_ROLE, IMPLICIT),
        ({"AWS": f"{ROLE}x"}, OF_ROLE, IMPLICIT),
        ({"Service": "ecs-tasks.amazonaws.com"}, OF_TASKS, ALLOWED),
        ({"Service": "ecs-tasks.amazonaws.com"}, OF_ROLE, IMPLICIT),
        ({"Service": "ec2.amazonaws.com", "AWS": ROLE}, OF_ROLE, ALLOWED),
        ({"AWS": "111111111111"}, OF_TASKS, IMPLICIT),
    ],
)
def test_principals(principal: Any, context: dict[str, str], decision: Decision) -> None:
    said = parse_resource(document({"Principal": principal}))
    assert decide([said], Request("s3:GetObject", "*", context)) is decision
    other = parse_resource(document({"Effect": "Deny", "NotPrincipal": principal}))
    expected = IMPLICIT if decision is ALLOWED else EXPLICIT
    assert decide([other], Request("s3:GetObject", "*", context)) is expected


def test_a_trust_policy_says_who_may_assume() -> None:
    trust = parse_trust(
        json.dumps(
            {
                "Statement": {
                    "Effect": "Allow",
                    "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            }
        )
    )
    assert decide([trust], Request("sts:AssumeRole", None, OF_TASKS)) is ALLOWED
    assert decide([trust], Request("sts:AssumeRole", ROLE, OF_ROLE)) is IMPLICIT


ACTIONS = ("s3:GetObject", "s3:PutObject", "ecs:RunTask")
RESOURCES = ("arn:aws:s3:::a/x", "arn:aws:s3:::b/y", "*")
statements = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Action": st.lists(st.sampled_from([*ACTIONS, "s3:*", "*"]), min_size=1, max_size=3),
        "Resource": st.lists(st.sampled_from([*RESOURCES, "arn:aws:s3:::a/*"]), min_size=1, max_size=3),
    },
    optional={
        "Condition": st.sampled_from(
            [{"Bool": {"k:x": "true"}}, {"StringEqualsIfExists": {"k:y": "1"}}, {"Null": {"k:x": "false"}}]
        )
    },
)
drawn = st.lists(st.lists(statements, min_size=1, max_size=2), max_size=3)
requests = st.builds(
    Request,
    st.sampled_from(ACTIONS),
    st.sampled_from([*RESOURCES, None]),
    st.dictionaries(st.sampled_from(["k:x", "K:Y"]), st.sampled_from(["true", "1"])),
)


@given(drawn, statements, requests)
def test_a_deny_wins_and_never_widens(made: Made, said: dict[str, Any], request: Request) -> None:
    held, deny = policies(made), policy(said | {"Effect": "Deny"})
    before, after = decide(held, request), decide([*held, deny], request)
    assert after is EXPLICIT if decide([deny], request) is EXPLICIT else after is before


@given(drawn, statements, requests)
def test_an_allow_never_narrows(made: Made, said: dict[str, Any], request: Request) -> None:
    held = policies(made)
    before, after = decide(held, request), decide([*held, policy(said | {"Effect": "Allow"})], request)
    assert after is before or (before is IMPLICIT and after is ALLOWED)


@given(drawn, requests, st.randoms())
def test_order_does_not_matter(made: Made, request: Request, random: Any) -> None:
    held = policies(made)
    mixed = [Policy(tuple(random.sample(each.statements, len(each.statements)))) for each in held]
    random.shuffle(mixed)
    assert decide(mixed, request) is decide(held, request)


@given(drawn, drawn, requests)
def test_a_boundary_never_widens(made: Made, bounds: Made, request: Request) -> None:
    held, limits = policies(made), policies(bounds)
    bounded = [*held, *(Policy(each.statements, purpose=Purpose.BOUNDARY) for each in limits)]
    if decide(bounded, request) is ALLOWED:
        assert decide(held, request) is ALLOWED
        assert not limits or decide(limits, request) is ALLOWED


@given(
    st.lists(st.sampled_from(["*", "?", "a", "ab", "é"]), max_size=12).map("".join),
    st.text("abé", max_size=12),
)
def test_wildcards_are_what_a_slow_reading_says(pattern: str, value: str) -> None:
    def slow(pattern: str, value: str) -> bool:
        if not pattern:
            return not value
        if pattern[0] == "*":
            return slow(pattern[1:], value) or (bool(value) and slow(pattern, value[1:]))
        return bool(value) and pattern[0] in ("?", value[0]) and slow(pattern[1:], value[1:])

    said = {"Resource": f"arn:aws:s3:::{pattern}"}
    assert (asked(said, resource=f"arn:aws:s3:::{value}") is ALLOWED) is slow(pattern, value)


def test_a_hostile_pattern_takes_no_time() -> None:
    assert (
        asked({"Resource": "arn:aws:s3:::" + "*a" * 3000}, resource="arn:aws:s3:::" + "a" * 2999) is IMPLICIT
    )
