"""Rules of composite alarms, and when their actions are held back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.alarm import ALARM, COMPOSITE, INSUFFICIENT_DATA, OK, Alarm
from neargate.model.alarm_rule import RuleError, parse
from neargate.model.alarm_suppression import elapsed, suppressor_turned, turned

STATES = {
    "a": ALARM,
    "b": OK,
    "c": INSUFFICIENT_DATA,
    "d x (1)": ALARM,
    "arn:aws:cloudwatch:r:0:alarm:e": ALARM,
}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("TRUE", True),
        ("FALSE", False),
        ("ALARM(a)", True),
        ("ALARM( a )", True),
        ("OK(a)", False),
        ("INSUFFICIENT_DATA(c)", True),
        ("INSUFFICIENT_DATA(unknown)", True),
        ('ALARM("d x (1)")', True),
        ("ALARM(arn:aws:cloudwatch:r:0:alarm:e)", True),
        ("ALARM(a) AND ALARM(b)", False),
        ("ALARM(a) OR ALARM(b)", True),
        ("NOT ALARM(b) AND ALARM(a)", True),
        ("FALSE AND FALSE OR TRUE", True),
        ("TRUE OR TRUE AND FALSE", True),
        ("(TRUE OR TRUE) AND FALSE", False),
        ("NOT (ALARM(a) AND ALARM(b))", True),
        ('AT_LEAST(2, ALARM, (a, b, "d x (1)"))', True),
        ('AT_LEAST(3, ALARM, (a, b, "d x (1)"))', False),
        ("AT_LEAST(50%, OK, (a, b))", True),
        ("AT_LEAST(51%, OK, (a, b))", False),
        ("AT_LEAST(2, NOT OK, (a, b, c))", True),
    ],
)
def test_what_a_rule_says(rule: str, holds: bool) -> None:
    assert parse(rule).holds(STATES) is holds


def test_children_are_named_once_in_their_order() -> None:
    assert parse('ALARM(b) OR OK("a") OR ALARM(b) AND AT_LEAST(1, OK, (c))').children == ("b", "a", "c")


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("", "ends too early"),
        ("ALARM", "'\\(' expected"),
        ("ALARM()", "name expected"),
        ("ALARM(a", "'\\)' expected, not 'the end'"),
        ("ALARM(a) ALARM(b)", "Unexpected 'ALARM'"),
        ("ALERT(a)", "Unexpected 'ALERT'"),
        ("AND", "Unexpected 'AND'"),
        ('ALARM("a)', "Unexpected '\"'"),
        ("AT_LEAST(0, OK, (a))", "AT_LEAST takes"),
        ("AT_LEAST(3, OK, (a, b))", "cannot be 3"),
        ("AT_LEAST(1, GOOD, (a))", "no state"),
        ("(" * 100 + "TRUE" + ")" * 100, "nested too deeply"),
        (" OR ".join(f"ALARM(a{i})" for i in range(101)), "at most 100"),
    ],
)
def test_rules_that_cannot_be_read(rule: str, problem: str) -> None:
    with pytest.raises(RuleError, match=problem):
        parse(rule)


PIECES = st.sampled_from(
    [*'()," ', "ALARM", "OK", "AND", "OR", "NOT", "TRUE", "AT_LEAST", "a", "2", "50%", "\\"]
)


@given(st.one_of(st.text(max_size=100), st.lists(PIECES, max_size=30).map(" ".join)))
def test_no_text_crashes_the_reader(text: str) -> None:
    try:
        rule = parse(text)
    except RuleError:
        return
    assert rule.holds(STATES) in (True, False)
    assert parse(f"NOT ({text})").holds(STATES) is not rule.holds(STATES)


def composite(**fields: object) -> Alarm:
    values: dict[str, object] = {"arn": "arn:p", "name": "p", "kind": COMPOSITE, "rule": "ALARM(a)", **fields}
    return Alarm(account="0", region="r", **values)  # type: ignore[arg-type]


def test_without_a_suppressor_nothing_is_held_back() -> None:
    assert turned(composite(state=ALARM), False, 100.0).acts


def test_actions_wait_while_the_suppressor_is_in_alarm_and_some_time_after() -> None:
    it = composite(state=ALARM, suppressor="s", suppressor_wait=60, suppressor_extension=30)
    held = turned(it, True, 100.0)
    assert (held.suppressed_by, held.suppressed_action, held.acts) == ("Alarm", True, False)
    longer = suppressor_turned(held, False, 200.0)
    assert (longer.suppressed_by, longer.suppressed_until, longer.acts) == ("ExtensionPeriod", 230.0, False)
    assert elapsed(longer, 229.0) == longer
    over = elapsed(longer, 230.0)
    assert (over.suppressed_by, over.suppressed_action, over.acts) == ("", True, True)


def test_the_suppressor_has_some_time_to_follow() -> None:
    it = composite(state=ALARM, suppressor="s", suppressor_wait=60, suppressor_extension=0)
    waits = turned(it, False, 100.0)
    assert (waits.suppressed_by, waits.suppressed_until) == ("WaitPeriod", 160.0)
    assert elapsed(waits, 160.0).acts
    assert suppressor_turned(waits, True, 120.0).suppressed_by == "Alarm"
    assert suppressor_turned(suppressor_turned(waits, True, 120.0), False, 130.0).acts
    fine = turned(composite(state=OK, suppressor="s", suppressor_wait=60), False, 100.0)
    assert fine.acts
