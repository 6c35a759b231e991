import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.event import Target
from neargate.model.event_input import InputError, check, payload

ARN = "arn:aws:events:us-east-1:000000000000:rule/r"
EVENT = {
    "id": "1",
    "source": "aws.ecs",
    "resources": ["arn:a", "arn:b"],
    "detail": {"state": 'stop"ped', "n": 3, "deep": {"x": [1, {"y": True}]}, "no": None, "a-b": 1},
}


def sent(**fields):
    target = Target(id="1", arn="arn:x", **fields)
    check(target)
    return payload(target, EVENT, ARN, "2026-01-01T00:00:00Z")


def templated(template, **paths):
    return sent(input_template=template, input_paths=paths)


def test_without_anything_the_event_itself_is_sent():
    assert json.loads(sent()) == EVENT


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", EVENT),
        ("$.detail.n", 3),
        ("$.detail.no", None),
        ("$.resources[1]", "arn:b"),
        ("$.detail.deep.x[1].y", True),
        ("$['detail']['a-b']", 1),
        ("$.detail.a-b", 1),
        ("$.resources[*]", ["arn:a", "arn:b"]),
        ("$.detail.missing", {}),
        ("$.resources[7]", {}),
        ("$.source.x", {}),
    ],
)
def test_a_path(path, value):
    assert json.loads(sent(input_path=path)) == value


def test_input_is_sent_as_it_is():
    assert sent(input='{"a": 1}') == '{"a": 1}'


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('{"s": <s>, "n": <n>}', {"s": 'stop"ped', "n": 3}),
        ('{"text": "it is <s>, <n> times"}', {"text": 'it is stop"ped, 3 times'}),
        ('{"deep": <deep>}', {"deep": {"x": [1, {"y": True}]}}),
        ('{"deep": "<deep>"}', {"deep": '{"x":[1,{"y":true}]}'}),
        ('{"none": <gone>, "empty": "<gone>"}', {"none": None, "empty": ""}),
        ('"just <s>"', 'just stop"ped'),
        ('{"rule": <aws.events.rule-name>, "arn": "<aws.events.rule-arn>"}', {"rule": "r", "arn": ARN}),
        ('{"at": <aws.events.event.ingestion-time>}', {"at": "2026-01-01T00:00:00Z"}),
        ('{"event": <aws.events.event.json>}', {"event": EVENT}),
        ('{"event": <aws.events.event>}', {"event": {k: v for k, v in EVENT.items() if k != "detail"}}),
        ('{"q": "a \\" <n> b"}', {"q": 'a " 3 b'}),
    ],
)
def test_a_template(template, text):
    paths = {"s": "$.detail.state", "n": "$.detail.n", "deep": "$.detail.deep", "gone": "$.detail.gone"}
    assert json.loads(templated(template, **paths)) == text


def test_a_template_of_several_lines_is_text():
    assert templated('"<a>"\n"and <a>"', a="$.source") == '"aws.ecs"\n"and aws.ecs"'


@pytest.mark.parametrize(
    "fields",
    [
        {"input_path": "detail"},
        {"input_path": "$.detail["},
        {"input_path": "$..x"},
        {"input_template": "<x>"},
        {"input_template": "<x>", "input_paths": {"x": "nope"}},
        {"input_template": "x", "input_paths": {f"k{i}": "$" for i in range(101)}},
        {"input_template": "x", "input_paths": {"AWSx": "$"}},
        {"input": "{"},
    ],
)
def test_what_cannot_be_carried_out(fields):
    with pytest.raises(InputError):
        sent(**fields)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(values)
def test_any_value_stands_in_a_template_as_itself_and_in_a_text_as_text(value):
    target = Target(id="1", arn="a", input_template='{"bare": <v>, "text": "<v>"}', input_paths={"v": "$.v"})
    out = json.loads(payload(target, {"v": value}, ARN, ""))
    assert out["bare"] == value
    assert (out["text"] if isinstance(value, str) else json.loads(out["text"])) == value
