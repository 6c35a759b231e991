import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.event_pattern import PatternError, compiled

EVENT = {
    "source": "aws.ecs",
    "detail-type": "ECS Task State Change",
    "resources": ["arn:a", "arn:b"],
    "detail": {
        "lastStatus": "STOPPED",
        "clusterArn": "arn:aws:ecs:us-east-1:1:cluster/prod",
        "version": 5,
        "ratio": 0.5,
        "ok": True,
        "nothing": None,
        "ip": "10.1.2.3",
        "ip6": "2001:db8::1",
        "empty": [],
        "list": [["x", ["y"]], "z"],
        "containers": [
            {"name": "app", "exitCode": 1},
            {"name": "sidecar", "exitCode": 0},
        ],
    },
}


def detail(**fields):
    return {"detail": fields}


MATCHING = [
    {"source": ["aws.ecs"]},
    {"source": ["aws.s3", "aws.ecs"]},
    {"source": ["aws.ecs"], "detail-type": [{"prefix": "ECS Task"}]},
    {"resources": ["arn:b"]},
    detail(version=[5]),
    detail(version=[5.0]),
    detail(ok=[True]),
    detail(nothing=[None]),
    detail(list=["y"]),
    detail(lastStatus=[{"prefix": "STOP"}]),
    detail(lastStatus=[{"prefix": {"equals-ignore-case": "stop"}}]),
    detail(lastStatus=[{"suffix": "PED"}]),
    detail(lastStatus=[{"suffix": {"equals-ignore-case": "ped"}}]),
    detail(lastStatus=[{"equals-ignore-case": "stopped"}]),
    detail(clusterArn=[{"wildcard": "*:cluster/*"}]),
    detail(clusterArn=[{"wildcard": "arn:*ecs*prod"}]),
    detail(clusterArn=[{"wildcard": "*"}]),
    detail(lastStatus=[{"anything-but": "RUNNING"}]),
    detail(lastStatus=[{"anything-but": ["RUNNING", "PENDING"]}]),
    detail(version=[{"anything-but": 4}]),
    detail(version=[{"anything-but": "5"}]),
    detail(lastStatus=[{"anything-but": {"prefix": "RUN"}}]),
    detail(lastStatus=[{"anything-but": {"prefix": ["RUN", "PEN"]}}]),
    detail(lastStatus=[{"anything-but": {"suffix": "ING"}}]),
    detail(lastStatus=[{"anything-but": {"equals-ignore-case": ["running"]}}]),
    detail(lastStatus=[{"anything-but": {"wildcard": "*ING"}}]),
    detail(version=[{"numeric": ["=", 5]}]),
    detail(version=[{"numeric": [">", 4, "<=", 5]}]),
    detail(ratio=[{"numeric": ["<", 0.75]}]),
    detail(version=[{"exists": True}]),
    detail(nothing=[{"exists": True}]),
    detail(missing=[{"exists": False}]),
    detail(empty=[{"exists": False}]),
    detail(missing={"deeper": [{"exists": False}]}),
    {"absent": {"x": [{"exists": False}]}},
    detail(containers=[{"exists": False}]),
    detail(ip=[{"cidr": "10.0.0.0/8"}]),
    detail(ip6=[{"cidr": "2001:db8::/32"}]),
    detail(containers={"name": ["app"], "exitCode": [1]}),
    detail(containers={"exitCode": [{"anything-but": 0}]}),
    {"$or": [{"source": ["aws.s3"]}, {"detail": {"version": [5]}}]},
    {"source": ["aws.ecs"], "detail": {"$or": [{"version": [1]}, {"ok": [True]}]}},
    {"source": [{"anything-but": ["aws.s3"]}]},
]
OTHERS = [
    {"source": ["aws.s3"]},
    {"source": ["aws.ecs"], "detail-type": ["ECS Service Action"]},
    {"resources": ["arn:c"]},
    detail(version=["5"]),
    detail(version=[1]),
    detail(ok=[1]),
    detail(ok=["true"]),
    detail(nothing=["null"]),
    detail(missing=[None]),
    detail(lastStatus=["stopped"]),
    detail(lastStatus=[{"prefix": "stop"}]),
    detail(clusterArn=[{"wildcard": "*:cluster"}]),
    detail(lastStatus=[{"wildcard": "S*X*D"}]),
    detail(lastStatus=[{"wildcard": "STOPPED*D"}]),
    detail(lastStatus=[{"anything-but": ["STOPPED"]}]),
    detail(missing=[{"anything-but": ["STOPPED"]}]),
    detail(missing=[{"anything-but": {"prefix": "x"}}]),
    detail(lastStatus=[{"anything-but": {"prefix": "STOP"}}]),
    detail(lastStatus=[{"anything-but": {"wildcard": "S*D"}}]),
    detail(version=[{"numeric": [">", 5]}]),
    detail(ok=[{"numeric": ["=", 1]}]),
    detail(lastStatus=[{"numeric": ["=", 1]}]),
    detail(version=[{"exists": False}]),
    detail(missing=[{"exists": True}]),
    detail(empty=[{"exists": True}]),
    detail(ip=[{"cidr": "10.2.0.0/16"}]),
    detail(lastStatus=[{"cidr": "10.0.0.0/8"}]),
    detail(containers={"name": ["app"], "exitCode": [0]}),
    {"$or": [{"source": ["aws.s3"]}, {"detail": {"version": [4]}}]},
    {"source": ["aws.s3"], "$or": [{"detail": {"version": [5]}}, {"detail": {"ok": [True]}}]},
]


@pytest.mark.parametrize("pattern", MATCHING, ids=json.dumps)
def test_matches(pattern):
    assert compiled(json.dumps(pattern)).matches(EVENT)


@pytest.mark.parametrize("pattern", OTHERS, ids=json.dumps)
def test_does_not_match(pattern):
    assert not compiled(json.dumps(pattern)).matches(EVENT)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "Filter is not an object"),
        ("{}", "Empty objects are not allowed"),
        ('{"a": {}}', "Empty objects are not allowed"),
        ('{"a": []}', "Empty arrays are not allowed"),
        ('{"source": "aws.ecs"}', '"source" must be an object or an array'),
        ('{"a": [1], "a": [2]}', "same key"),
        ('{"a": [[1]]}', "Match value must be"),
        ('{"a": [NaN]}', "NaN"),
        ('{"a": [{"prefix": 1}]}', "prefix match pattern must be a string"),
        ('{"a": [{"prefix": "x", "suffix": "y"}]}', "Only one key allowed"),
        ('{"a": [{"regex": "x"}]}', "Unrecognized match type regex"),
        ('{"a": [{"wildcard": "a**b"}]}', "Consecutive wildcard"),
        ('{"a": [{"wildcard": "a\\\\b"}]}', "Invalid escape"),
        ('{"a": [{"anything-but": []}]}', "Empty arrays"),
        ('{"a": [{"anything-but": ["a", 1]}]}', "mixed type"),
        ('{"a": [{"anything-but": {"cidr": "10.0.0.0/8"}}]}', "Unsupported anything-but"),
        ('{"a": [{"numeric": ["=", "1"]}]}', "must be numeric"),
        ('{"a": [{"numeric": ["=="]}]}', "too many elements or a value is missing"),
        ('{"a": [{"numeric": ["~", 1]}]}', "Unrecognized numeric range operator"),
        ('{"a": [{"numeric": ["=", 1e10]}]}', "between -5.0E9 and 5.0E9"),
        ('{"a": [{"numeric": [">", 5, "<", 1]}]}', "Bottom must be less than top"),
        ('{"a": [{"numeric": ["<", 5, ">", 1]}]}', "Bad numeric range operator"),
        ('{"a": [{"exists": "yes"}]}', "exists match pattern"),
        ('{"a": [{"cidr": "10.0.0.0"}]}', "Malformed CIDR"),
        ('{"$or": [{"a": [1]}]}', "at least 2 Objects in $or"),
        ("{", "Expecting property name"),
        (r'{"source": ["\ud800"]}', "surrogates not allowed"),
        ('{"a": ' * 400 + "[1]" + "}" * 400, "nested too deep"),
    ],
)
def test_what_is_no_pattern(text, told):
    with pytest.raises(PatternError) as caught:
        compiled(text)
    assert told in str(caught.value)


def test_an_escaped_star_is_a_star():
    pattern = compiled(json.dumps({"a": [{"wildcard": "x\\*y*"}]}))
    assert pattern.matches({"a": "x*yz"}) and not pattern.matches({"a": "xzyz"})


@pytest.mark.parametrize(
    ("pattern", "sources"),
    [
        ({"source": ["aws.ecs"]}, ("aws.ecs",)),
        ({"source": ["a", "b"]}, ("a", "b")),
        ({"source": [{"prefix": "aws."}]}, ()),
        ({"source": ["a", {"prefix": "b"}]}, ()),
        ({"detail": {"source": ["a"]}}, ()),
        ({"$or": [{"source": ["a"]}, {"source": ["b"]}]}, ()),
    ],
)
def test_the_sources_that_a_pattern_listens_to(pattern, sources):
    assert compiled(json.dumps(pattern)).sources == sources


def test_no_wildcard_makes_a_match_expensive():
    pattern = compiled(json.dumps({"a": [{"wildcard": "*".join("a" * 30) + "*b"}]}))
    assert not pattern.matches({"a": "a" * 5000})  # years, if it tried all ways


def test_lists_in_lists_are_looked_into_however_deep():
    inner: object = {"x": 1}
    for _ in range(5000):
        inner = [inner]
    assert compiled('{"a": {"x": [1]}}').matches({"a": inner})
    assert not compiled('{"a": [{"prefix": "b"}]}').matches({"a": inner})


def test_each_value_of_an_event_is_looked_at_once():
    seen = []

    class Text(str):
        def startswith(self, *args):
            seen.append(self)
            return super().startswith(*args)

    pattern = compiled(json.dumps({"a": [*map(str, range(100)), {"prefix": "y"}]}))
    assert not pattern.matches({"a": [Text("x") for _ in range(1000)]})
    assert len(seen) == 1


scalars = st.none() | st.booleans() | st.integers(-100, 100) | st.text("ab*\\", max_size=4)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
events = st.dictionaries(st.sampled_from("pqr"), values, max_size=3)


def naive_wildcard(pattern, text):
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naive_wildcard(pattern[1:], text[i:]) for i in range(len(text) + 1))
    return bool(text) and text[0] == pattern[0] and naive_wildcard(pattern[1:], text[1:])


@given(st.from_regex(r"\*?([ab]+\*)*[ab]*", fullmatch=True), st.text("ab", max_size=10))
def test_a_wildcard_is_any_run(pattern, text):
    if pattern:
        matcher = compiled(json.dumps({"a": [{"wildcard": pattern}]}))
        assert matcher.matches({"a": text}) == naive_wildcard(pattern, text)


@given(events, st.sampled_from("pqr"), scalars)
def test_anything_but_is_the_opposite_of_exact_on_a_plain_value(event, name, value):
    if not isinstance(value, str) or not (name in event and not isinstance(event[name], list | dict)):
        return
    exact = compiled(json.dumps({name: [value]}))
    other = compiled(json.dumps({name: [{"anything-but": value}]}))
    assert exact.matches(event) != other.matches(event)


@given(events, st.sampled_from("pqr"))
def test_a_field_exists_or_does_not(event, name):
    there = compiled(json.dumps({name: [{"exists": True}]}))
    away = compiled(json.dumps({name: [{"exists": False}]}))
    assert there.matches(event) != away.matches(event)


@given(events, st.lists(scalars, min_size=1, max_size=3), st.lists(scalars, min_size=1, max_size=3))
def test_or_is_either_and_fields_are_both(event, first, second):
    one, two = {"p": first}, {"q": second}
    matches = [compiled(json.dumps(pattern)).matches(event) for pattern in (one, two)]
    assert compiled(json.dumps({"$or": [one, two]})).matches(event) == any(matches)
    assert compiled(json.dumps({**one, **two})).matches(event) == all(matches)
