"""What is scaled, given alarms: by tables, and by properties of a service under a load that is simulated."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from neargate.model.scaling import (
    Cooling,
    ScalableTarget,
    ScalingPolicy,
    Step,
    Steps,
    Suspended,
    Tracking,
)
from neargate.model.scaling_decision import (
    Alarmed,
    Capacity,
    Scale,
    Stay,
    adjusted,
    aggregated,
    decide,
    step_for,
)

NOW = 1_800_000_000.0


def make_target(minimum: int = 1, maximum: int = 10, **more: Any) -> ScalableTarget:
    return ScalableTarget(
        account="1",
        region="r",
        arn="arn:t",
        resource_id="service/c/s",
        service_arn="arn:s",
        minimum=minimum,
        maximum=maximum,
        role_arn="arn:role",
        **more,
    )


def policy(name: str = "p", **rule: Any) -> ScalingPolicy:
    return ScalingPolicy(
        account="1", region="r", arn=f"arn:{name}", name=name, resource_id="service/c/s", rule={}, **rule
    )


def tracking(name: str = "p", target: float = 70.0, **more: Any) -> ScalingPolicy:
    return policy(name, tracking=Tracking(target=target, **more))


def stepping(*steps: Step, name: str = "p", kind: str = "ChangeInCapacity", **more: Any) -> ScalingPolicy:
    return policy(name, steps=Steps(adjustment_type=kind, steps=steps, **more))


def high(by: ScalingPolicy, value: float | None, **more: Any) -> Alarmed:
    threshold = by.tracking.target if by.tracking else 50.0
    return Alarmed(by, f"{by.name}-high", value, value, threshold, True, **more)


def low(by: ScalingPolicy, value: float | None, **more: Any) -> Alarmed:
    threshold = by.tracking.target * 0.9 if by.tracking else 50.0
    return Alarmed(by, f"{by.name}-low", value, value, threshold, False, **more)


def scaled(
    target: ScalableTarget, capacity: Capacity, *alarmed: Alarmed, also: tuple[ScalingPolicy, ...] = ()
) -> int | str | None:
    """The new capacity; the code of why not; None."""
    policies = {it.policy.name: it.policy for it in alarmed} | {p.name: p for p in also}
    made = decide(target, policies.values(), alarmed, capacity, NOW)
    if isinstance(made, Stay):
        return str(made.reason["Code"])
    return made.capacity if isinstance(made, Scale) else None


def cooling(direction: Any, seconds: int = 300, ago: float = 10.0, base: int = 2) -> Cooling:
    return Cooling(direction=direction, at=NOW - ago, seconds=seconds, base=base)


@pytest.mark.parametrize(
    ("capacity", "value", "expected"),
    [
        (Capacity(2, 2), 140.0, 4),
        (Capacity(3, 3), 70.1, 4),
        (Capacity(2, 2), 700.0, 10),
        (Capacity(10, 10), 90.0, "AlreadyAtMaxCapacity"),
        (Capacity(12, 12), 90.0, "AlreadyAtMaxCapacity"),
        (Capacity(0, 0), 90.0, 1),
        (Capacity(2, 0), 90.0, None),
        (Capacity(4, 2), 140.0, None),
        (Capacity(4, 2), 210.0, 6),
        (Capacity(2, 2, deploying=True), 140.0, 4),
        (Capacity(2, 2), None, None),
    ],
)
def test_target_tracking_out(capacity: Capacity, value: float | None, expected: Any) -> None:
    assert scaled(make_target(), capacity, high(tracking(), value)) == expected


@pytest.mark.parametrize(
    ("capacity", "value", "expected"),
    [
        (Capacity(4, 4), 35.0, 2),
        (Capacity(8, 8), 7.0, 4),
        (Capacity(3, 3), 60.0, "AutoScalingAnticipatedFlapping"),
        (Capacity(1, 1), 1.0, "AlreadyAtMinCapacity"),
        (Capacity(2, 2), 0.0, 1),
        (Capacity(4, 4, deploying=True), 35.0, None),
        (Capacity(4, 4), None, None),
        (Capacity(14, 14), 65.0, 10),
    ],
)
def test_target_tracking_in(capacity: Capacity, value: float | None, expected: Any) -> None:
    assert scaled(make_target(), capacity, low(tracking(), value)) == expected


def test_a_minimum_of_zero_can_be_reached() -> None:
    assert scaled(make_target(0), Capacity(1, 1), low(tracking(), 0.0)) == 0
    assert scaled(make_target(3), Capacity(0, 0), high(tracking(), 90.0)) == 3


def test_out_if_any_wants_out_and_the_largest_wins() -> None:
    a, b, c = tracking("a"), tracking("b"), tracking("c")
    assert scaled(make_target(), Capacity(2, 2), high(a, 140.0), high(b, 210.0), low(c, 1.0)) == 6
    # A high alarm that has acted already, or has no value, still keeps the service from being scaled in.
    assert scaled(make_target(), Capacity(4, 4), high(a, 140.0, due=False), low(c, 1.0)) is None
    assert scaled(make_target(), Capacity(4, 4), high(a, None), low(c, 1.0)) is None


def test_in_only_if_all_agree() -> None:
    a, b = tracking("a"), tracking("b")
    assert scaled(make_target(), Capacity(4, 4), low(a, 35.0), also=(b,)) is None
    assert scaled(make_target(), Capacity(4, 4), low(a, 35.0), low(b, 50.0)) == 3
    assert scaled(make_target(), Capacity(4, 4), low(a, 35.0), low(b, None)) is None
    never = tracking("n", scale_in=False)
    assert scaled(make_target(), Capacity(4, 4), low(a, 35.0), also=(never,)) == 2
    assert scaled(make_target(), Capacity(4, 4), low(never, 1.0)) is None


def test_cooldowns_and_their_exceptions() -> None:
    after_out = make_target(cooling=cooling("out", base=2))
    p = tracking()
    # Counted from where the last scale-out counted from: no more than what it brought.
    assert scaled(after_out, Capacity(4, 4), high(p, 140.0)) is None
    assert scaled(after_out, Capacity(4, 4), high(p, 210.0)) == 6
    assert scaled(after_out, Capacity(4, 4), low(p, 1.0)) is None
    over = make_target(cooling=cooling("out", ago=300.0))
    assert scaled(over, Capacity(4, 4), high(p, 140.0)) == 8
    after_in = make_target(cooling=cooling("in", base=4))
    assert scaled(after_in, Capacity(4, 4), low(p, 35.0)) is None
    made = decide(after_in, [p], [high(p, 140.0)], Capacity(2, 2), NOW)
    assert isinstance(made, Scale) and made.capacity == 4
    assert (made.cooling.direction, made.cooling.at, made.cooling.base) == ("out", NOW, 2)


def test_suspended_directions() -> None:
    p = tracking()
    no_out = make_target(suspended=Suspended(scale_out=True))
    no_in = make_target(suspended=Suspended(scale_in=True))
    assert scaled(no_out, Capacity(2, 2), high(p, 140.0)) is None
    assert scaled(no_out, Capacity(4, 4), low(p, 35.0)) == 2
    assert scaled(no_in, Capacity(4, 4), low(p, 35.0)) is None
    assert scaled(no_in, Capacity(2, 2), high(p, 140.0)) == 4


UP = (Step(lower=0, upper=10, adjustment=1), Step(lower=10, upper=None, adjustment=3))
DOWN = (Step(lower=None, upper=-10, adjustment=-2), Step(lower=-10, upper=0, adjustment=-1))


@pytest.mark.parametrize(
    ("steps", "breach", "above", "adjustment"),
    [
        (UP, 0.0, True, 1),
        (UP, 9.9, True, 1),
        (UP, 10.0, True, 3),
        (UP, 1e9, True, 3),
        (UP, -0.1, True, None),
        (DOWN, 0.0, False, -1),
        (DOWN, -9.9, False, -1),
        (DOWN, -10.0, False, -2),
        (DOWN, -1e9, False, -2),
        (DOWN, 0.1, False, None),
    ],
)
def test_the_step_of_a_breach(
    steps: tuple[Step, ...], breach: float, above: bool, adjustment: int | None
) -> None:
    found = step_for(steps, breach, above)
    assert (found.adjustment if found else None) == adjustment


@pytest.mark.parametrize(
    ("kind", "adjustment", "magnitude", "count", "expected"),
    [
        ("ChangeInCapacity", 3, None, 2, 5),
        ("ChangeInCapacity", -3, None, 2, 0),
        ("ExactCapacity", 7, None, 2, 7),
        ("PercentChangeInCapacity", 200, None, 10, 30),
        ("PercentChangeInCapacity", 25, 2, 4, 6),
        ("PercentChangeInCapacity", 10, None, 3, 4),
        ("PercentChangeInCapacity", 50, None, 3, 4),
        ("PercentChangeInCapacity", -10, None, 3, 2),
        ("PercentChangeInCapacity", -50, None, 3, 2),
        ("PercentChangeInCapacity", 10, None, 0, 0),
        ("PercentChangeInCapacity", 0, 5, 4, 4),
    ],
)
def test_adjustments(kind: str, adjustment: int, magnitude: int | None, count: int, expected: int) -> None:
    steps = Steps(adjustment_type=kind, steps=(), min_magnitude=magnitude)
    assert adjusted(steps, adjustment, count) == expected


@pytest.mark.parametrize(("kind", "value"), [("Average", 60.0), ("Minimum", 30.0), ("Maximum", 90.0)])
def test_data_points_are_aggregated_for_a_step(kind: str, value: float) -> None:
    steps = Steps(adjustment_type="ChangeInCapacity", steps=UP, aggregation=kind)
    assert aggregated(steps, [30.0, 60.0, 90.0]) == value


def test_step_scaling() -> None:
    up, down = stepping(*UP, name="up"), stepping(*DOWN, name="down")
    assert scaled(make_target(), Capacity(2, 2), high(up, 55.0)) == 3
    assert scaled(make_target(), Capacity(2, 2), high(up, 65.0)) == 5
    assert scaled(make_target(), Capacity(4, 4), low(down, 45.0)) == 3
    assert scaled(make_target(), Capacity(4, 4), low(down, 30.0)) == 2
    assert scaled(make_target(), Capacity(4, 4), high(up, 55.0), low(down, 30.0)) == 5
    # A larger step during the cooldown adds the difference alone.
    after = make_target(cooling=cooling("out", base=2))
    assert scaled(after, Capacity(3, 3), high(up, 55.0)) is None
    assert scaled(after, Capacity(3, 3), high(up, 65.0)) == 5
    # From zero the minimum is what is added at least.
    assert scaled(make_target(2), Capacity(0, 0), high(up, 55.0)) == 2


numbers = st.integers(0, 20)


@settings(deadline=None)
@given(
    st.tuples(numbers, numbers).map(sorted),
    st.tuples(numbers, numbers),
    st.lists(
        st.tuples(st.booleans(), st.none() | st.floats(0, 1e12), st.booleans(), st.booleans()), max_size=4
    ),
    st.none() | st.tuples(st.sampled_from(["out", "in"]), numbers, st.integers(0, 600)),
    st.booleans(),
)
def test_no_decision_leaves_the_bounds_or_goes_the_wrong_way(
    bounds: list[int],
    counts: tuple[int, int],
    asked: list[tuple[bool, float | None, bool, bool]],
    last: tuple[Any, int, int] | None,
    deploying: bool,
) -> None:
    cool = Cooling(direction=last[0], at=NOW - last[2], seconds=300, base=last[1]) if last else None
    target = make_target(*bounds, cooling=cool)
    alarmed = []
    for number, (above, value, tracked, due) in enumerate(asked):
        name = f"p{number}"
        by = tracking(name) if tracked else stepping(*(UP if above else DOWN), name=name)
        alarmed.append((high if above else low)(by, value, due=due))
    capacity = Capacity(counts[0], counts[1], deploying)
    made = decide(target, [it.policy for it in alarmed], alarmed, capacity, NOW)
    if not isinstance(made, Scale):
        return
    assert target.minimum <= made.capacity <= target.maximum
    assert made.capacity != capacity.desired
    assert made.alarmed.due and made.alarmed.value is not None
    if made.capacity < capacity.desired:
        assert made.cooling.direction == "in" and not deploying
        assert cool is None or not cool.runs(NOW)
    else:
        assert made.cooling.direction == "out"


class Simulated:
    """A service under a load, minute by minute: its alarms as CloudWatch has them, tasks that start late.

    Load is in tasks' worth: a task that has all of 1.0 is at 100 %.
    """

    def __init__(self, rule: Tracking, target: ScalableTarget, start_minutes: int) -> None:
        self.policy = policy(tracking=rule)
        self.rule = rule
        self.target = target
        self.desired = self.running = target.minimum
        self.late = start_minutes
        self.starting: list[int] = []
        self.values: list[float] = []
        self.history: list[tuple[float, int]] = []
        self.now = NOW

    def minute(self, load: float) -> None:
        self.now += 60
        wanted = [self.desired, *self.starting][: self.late + 1]
        self.starting = wanted[: self.late]
        # Tasks stop at once, and start some minutes after they were asked for.
        self.running = min(self.desired, max(self.running, min(wanted)))
        self.values.append(100 * load / self.running if self.running else 0.0)
        alarmed = list(self._alarms())
        made = decide(self.target, [self.policy], alarmed, Capacity(self.desired, self.running), self.now)
        if isinstance(made, Scale):
            self.history.append((self.now, made.capacity - self.desired))
            self.desired = made.capacity
            self.target = replace(self.target, cooling=made.cooling)
        assert self.target.minimum <= self.desired <= self.target.maximum

    def _alarms(self) -> list[Alarmed]:
        value, recent = self.values[-1], max(self.values[-3:])
        last = self.values[-15:]
        if len(self.values) >= 3 and min(self.values[-3:]) > self.rule.target:
            return [Alarmed(self.policy, "high", value, recent, self.rule.target, True)]
        if len(last) == 15 and max(last) < 0.9 * self.rule.target:
            return [Alarmed(self.policy, "low", value, recent, 0.9 * self.rule.target, False)]
        return []


@settings(deadline=None)
@given(
    st.floats(0.3, 3.0) | st.integers(3, 30).map(lambda tenths: tenths / 10),
    st.integers(30, 90),
    st.sampled_from([0, 60, 120, 300]),
    st.sampled_from([60, 300, 600]),
    st.integers(0, 2),
)
def test_a_load_that_rises_tenfold_and_falls_is_followed_without_flapping(
    load: float, percent: int, out_seconds: int, in_seconds: int, start_minutes: int
) -> None:
    rule = Tracking(target=float(percent), out_cooldown=out_seconds, in_cooldown=in_seconds)
    before, peak = (max(1, math.ceil(round(worth * 100 / percent, 9))) for worth in (load, 10 * load))
    service = Simulated(rule, make_target(1, 200), start_minutes)
    for _ in range(120):
        service.minute(load)
    settled = service.desired
    assert before <= settled <= math.ceil(before / 0.9) + 1
    rose = service.now
    for _ in range(120):
        service.minute(10 * load)
    # It follows: never above the target for longer than alarm, cooldowns and starts take.
    assert service.values[-1] <= percent + 1e-6
    assert service.desired == peak
    assert all(change > 0 for at, change in service.history if at > rose)
    after = zip(_minutes(rose), service.values[120:], strict=False)
    enough = next(at for at, value in after if value <= percent + 1e-6)
    steps = sum(1 for at, _ in service.history if at > rose)
    assert enough - rose <= steps * (180 + out_seconds + 60 * (start_minutes + 2))
    fell = service.now
    for _ in range(240):
        service.minute(load)
    changes = [change for at, change in service.history if at > fell]
    assert all(change < 0 for change in changes)
    assert service.values[-1] <= percent + 1e-6
    assert service.desired <= math.ceil(before / 0.9) + 1
    gaps = [b - a for (a, _), (b, _) in zip(service.history, service.history[1:], strict=False) if a > fell]
    assert all(gap >= in_seconds for gap in gaps)


def _minutes(since: float) -> Any:
    at = since
    while True:
        at += 60
        yield at


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 30.0), min_size=60, max_size=240), st.sampled_from([60, 300]))
def test_whatever_the_load_scaling_in_makes_no_task_busier_than_the_target(
    loads: list[float], cooldown: int
) -> None:
    service = Simulated(
        Tracking(target=50.0, out_cooldown=cooldown, in_cooldown=cooldown), make_target(1, 60), 1
    )
    for load in loads:
        steps = len(service.history)
        recent = service.values[-2:]
        service.minute(load)
        if len(service.history) > steps and service.history[-1][1] < 0:
            busiest = max([*recent, service.values[-1]])
            assert busiest * service.running / service.desired <= 50.0 + 1e-6
