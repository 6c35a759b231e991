"""Deliveries on a clock that the test drives: retries, order, dead letters, what a daemon that died left."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.control.event_targets import Later, Refused
from neargate.control.events import Events, pause_of, plan
from neargate.kit.errors import ApiError
from neargate.model import event_ecs
from neargate.model.event import Delivery, Event, Rule, Target
from neargate.model.queue import Message, Queue
from neargate.model.record import Scope
from neargate.state import outbox
from neargate.state.catalog_events import EVENT_DELIVERY, EVENT_RULE, QUEUE, QUEUE_MESSAGE
from neargate.state.store import Tx
from tests.unit.control.house import SCOPE, Parts, house

CLUSTER = SCOPE.arn("ecs", "cluster/c")
ARN = SCOPE.arn("events", "rule/r")
ECS = {"TaskDefinitionArn": "job"}


def target(**fields: Any) -> Target:
    return Target(**{"id": "1", "arn": CLUSTER, "ecs": ECS, **fields})


def rule(*targets: Target, **fields: Any) -> Rule:
    values = {"arn": ARN, "name": "r", "bus": "default", "pattern": '{"source": ["app"]}', **fields}
    return Rule(account=SCOPE.account, region=SCOPE.region, targets=targets, **values)


def event(detail: dict[str, Any] | None = None, source: str = "app", at: float = 1_800_000_000.0) -> Event:
    return Event(SCOPE.account, SCOPE.region, source, "d", at, lambda: detail or {})


def queue(name: str = "q") -> Queue:
    return Queue(
        account=SCOPE.account, region=SCOPE.region, arn=SCOPE.arn("sqs", name), name=name, number=len(name)
    )


@dataclass
class Runner:
    """RunTask, as the test wants it: each answer once, then success."""

    answers: list[Any] = field(default_factory=list)
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, params: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(params)
        self.came.set()
        answer = self.answers.pop(0) if self.answers else {"tasks": [{}] * params["count"], "failures": []}
        if isinstance(answer, Exception):
            raise answer
        found: Mapping[str, Any] = answer
        return found


@contextlib.asynccontextmanager
async def delivering(parts: Parts, runner: Runner) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Events(parts, runner).run())
        yield
        task.cancel()


async def waiting(parts: Parts) -> list[Delivery]:
    return await parts.store.read(lambda tx: tx.all(EVENT_DELIVERY))


async def emptied(parts: Parts) -> None:
    await parts.until(lambda tx: not tx.all(EVENT_DELIVERY))


async def emit(parts: Parts, *events: Event) -> None:
    def body(tx: Tx) -> None:
        for each in events:
            outbox.emit(tx, each)

    await parts.store.write(body)


async def set_up(parts: Parts, *targets: Target, **fields: Any) -> None:
    def body(tx: Tx) -> None:
        tx.put(EVENT_RULE, rule(*targets, **fields))
        tx.put(QUEUE, queue("q"))
        tx.put(QUEUE, queue("dead"))

    await parts.store.write(body)


async def messages(parts: Parts, name: str) -> list[Message]:
    number = f"{queue(name).number:09d}"
    return await parts.store.read(lambda tx: tx.find(QUEUE_MESSAGE, "queue", number))


async def settled(parts: Parts, met: Callable[[Delivery], bool]) -> Delivery:
    """The only delivery, once it is as wanted."""
    head = parts.store.head()
    while not (found := [d for d in await waiting(parts) if met(d)]):
        head = await parts.store.wait(head)
    return found[0]


async def test_nothing_is_written_where_no_rule_listens(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        made: list[int] = []
        lazy = replace_detail(event(), lambda: made.append(1) or {})
        head = parts.store.head()
        await emit(parts, lazy)
        assert parts.store.head() == head and not made
        await set_up(parts, target(), state="DISABLED")
        await set_up(parts, target(), arn=ARN + "2", pattern='{"source": ["other"]}')
        await set_up(parts, arn=ARN + "3")  # without a target
        head = parts.store.head()
        await emit(parts, lazy)
        assert parts.store.head() == head and not made


def replace_detail(event: Event, detail: Callable[[], Any]) -> Event:
    return Event(event.account, event.region, event.source, event.detail_type, event.time, detail)


@pytest.mark.parametrize(
    "pattern", ['{"source": ["app", "x"]}', '{"source": [{"prefix": "a"}]}', '{"detail-type": ["d"]}']
)
async def test_a_rule_that_listens_to_more_than_one_source_is_found(tmp_path: Path, pattern: str) -> None:
    async with house(tmp_path) as parts:
        await set_up(parts, target(), pattern=pattern)
        await emit(parts, event())
        assert len(await waiting(parts)) == 1


async def test_a_source_that_looks_like_any_source_is_one_event(tmp_path: Path) -> None:
    async with house(tmp_path) as parts:
        await set_up(parts, target(), pattern='{"detail-type": ["d"]}')
        await emit(parts, event(source="*"))
        assert len(await waiting(parts)) == 1


async def test_so_many_wait_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 3)
    monkeypatch.setattr(outbox, "_LOOK_EVERY", 1)
    async with house(tmp_path) as parts:
        await set_up(parts, target())
        await emit(parts, *[event({"n": n}) for n in range(5)])
        assert [d.event["detail"]["n"] for d in await waiting(parts)] == [2, 3, 4]


async def test_run_task_is_asked_for_what_the_target_says(tmp_path: Path) -> None:
    runner = Runner()
    network = {"awsvpcConfiguration": {"Subnets": ["s"], "AssignPublicIp": "ENABLED"}}
    ecs = {**ECS, "TaskCount": 3, "LaunchType": "FARGATE", "NetworkConfiguration": network}
    text = '{"containerOverrides": [{"name": "a"}], "unknown": 1}'
    async with house(tmp_path) as parts, delivering(parts, runner):
        await set_up(parts, target(ecs=ecs, input=text))
        await emit(parts, event())
        await emptied(parts)
    (asked,) = runner.asked
    assert len(asked["clientToken"]) == 36
    assert {**asked, "clientToken": ""} == {
        "cluster": CLUSTER,
        "taskDefinition": "job",
        "count": 3,
        "clientToken": "",
        "startedBy": "events-rule/r",
        "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"], "assignPublicIp": "ENABLED"}},
        "overrides": {"containerOverrides": [{"name": "a"}]},
    }


async def test_a_failure_is_tried_again_later_and_later(tmp_path: Path) -> None:
    full = {"tasks": [], "failures": [{"reason": "RESOURCE:FARGATE", "detail": "none"}]}
    runner = Runner([full, ApiError("ServerException", "oops", status=500), full])
    async with house(tmp_path) as parts, delivering(parts, runner):
        await set_up(parts, target())
        await emit(parts, event())
        for attempts, pause in ((1, 1.0), (2, 2.0), (3, 4.0)):
            found = await settled(parts, lambda d, n=attempts: d.attempts == n)  # type: ignore[misc]
            assert found.due_at == parts.clock.now() + pause
            assert len(runner.asked) == attempts
            await sleeping(parts)
            parts.clock.advance(pause)
        await emptied(parts)
    assert len(runner.asked) == 4


async def sleeping(parts: Parts) -> None:
    """Until somebody waits for the clock."""
    while not parts.clock._sleepers:  # noqa: ASYNC110 (a clock of tests has nothing to wait on)
        await asyncio.sleep(0)


async def test_of_several_tasks_only_the_rest_is_tried_again(tmp_path: Path) -> None:
    runner = Runner([{"tasks": [{}, {}], "failures": [{"reason": "RESOURCE:FARGATE"}]}])
    async with house(tmp_path) as parts, delivering(parts, runner):
        await set_up(parts, target(ecs={**ECS, "TaskCount": 3}))
        await emit(parts, event())
        assert (await settled(parts, lambda d: d.attempts == 1)).done == 2
        await sleeping(parts)
        parts.clock.advance(1)
        await emptied(parts)
    assert [asked["count"] for asked in runner.asked] == [3, 1]
    assert runner.asked[0]["clientToken"] != runner.asked[1]["clientToken"]


async def test_a_target_that_fails_does_not_keep_later_events_waiting(tmp_path: Path) -> None:
    runner = Runner([ApiError("ServerException", "oops")])
    async with house(tmp_path) as parts, delivering(parts, runner):
        await set_up(parts, target())
        await emit(parts, event({"n": 1}), event({"n": 2}))
        left = await settled(parts, lambda d: d.attempts == 1)
        assert left.event["detail"] == {"n": 1}
        while len(runner.asked) < 2:
            await parts.store.wait(parts.store.head())


async def test_what_a_daemon_left_when_it_died_is_delivered_under_the_same_token(tmp_path: Path) -> None:
    """It died after RunTask had answered, before the delivery was ended."""
    runner = Runner()
    async with house(tmp_path) as parts:
        await set_up(parts, target())
        await emit(parts, event())
        (left,) = await waiting(parts)
        async with delivering(parts, runner):
            await emptied(parts)
        await parts.store.write(lambda tx: tx.insert(EVENT_DELIVERY, left))
        async with delivering(parts, runner):
            await emptied(parts)
    assert runner.asked[0] == runner.asked[1]


async def test_a_refusal_goes_to_the_dead_letter_queue_at_once(tmp_path: Path) -> None:
    runner = Runner([ApiError("ClusterNotFoundException", "Cluster not found.")])
    async with house(tmp_path) as parts, delivering(parts, runner):
        await set_up(parts, target(dead_letter_arn=SCOPE.arn("sqs", "dead")))
        await emit(parts, event({"n": 1}))
        await emptied(parts)
        (message,) = await messages(parts, "dead")
    assert json.loads(message.body)["detail"] == {"n": 1}
    assert message.attributes["ERROR_CODE"]["StringValue"] == "ClusterNotFoundException"
    assert "EXHAUSTED_RETRY_CONDITION" not in message.attributes


async def test_a_template_that_comes_to_too_much_is_given_up_before_it_is_made(tmp_path: Path) -> None:
    template = "<aws.events.event.json>" * 340
    given = target(
        arn=SCOPE.arn("sqs", "q"), ecs={}, input_template=template, dead_letter_arn=SCOPE.arn("sqs", "dead")
    )
    async with house(tmp_path) as parts, delivering(parts, Runner()):
        await set_up(parts, given)
        await emit(parts, event({"text": "x" * 10_000}))
        await emptied(parts)
        (message,) = await messages(parts, "dead")
    assert message.attributes["ERROR_CODE"]["StringValue"] == "INVALID_PARAMETER"
    assert "InputTemplate" in message.attributes["ERROR_MESSAGE"]["StringValue"]


async def test_when_attempts_are_used_up_it_is_a_dead_letter(tmp_path: Path) -> None:
    runner = Runner([ApiError("ServerException", "oops")] * 2)
    async with house(tmp_path) as parts, delivering(parts, runner):
        await set_up(parts, target(dead_letter_arn=SCOPE.arn("sqs", "dead"), max_attempts=1))
        await emit(parts, event())
        await settled(parts, lambda d: d.attempts == 1)
        await sleeping(parts)
        parts.clock.advance(1)
        await emptied(parts)
        (message,) = await messages(parts, "dead")
    assert message.attributes["EXHAUSTED_RETRY_CONDITION"]["StringValue"] == "MaximumRetryAttempts"
    assert message.attributes["RETRY_ATTEMPTS"]["StringValue"] == "1"


async def test_what_waited_for_a_daemon_too_long_is_given_up(tmp_path: Path) -> None:
    runner = Runner()
    async with house(tmp_path) as parts:
        await set_up(parts, target(dead_letter_arn=SCOPE.arn("sqs", "dead"), max_age=3600))
        await emit(parts, event({"n": 1}), event({"n": 2}, at=1_800_000_002.0))
        parts.clock.advance(3601)
        async with delivering(parts, runner):
            await emptied(parts)
        (message,) = await messages(parts, "dead")
    assert json.loads(message.body)["detail"] == {"n": 1} and len(runner.asked) == 1
    assert message.attributes["EXHAUSTED_RETRY_CONDITION"]["StringValue"] == "MaximumEventAgeInSeconds"


async def test_events_reach_a_queue_once_each_and_in_order(tmp_path: Path) -> None:
    async with house(tmp_path) as parts, delivering(parts, Runner()):
        await set_up(parts, target(arn=SCOPE.arn("sqs", "q"), ecs={}))
        await emit(parts, *[event({"n": n}) for n in range(120)])
        await emptied(parts)
        found = await messages(parts, "q")
    assert [json.loads(m.body)["detail"]["n"] for m in found] == list(range(120))


async def test_a_defect_met_by_one_event_keeps_no_other_from_its_target(tmp_path: Path) -> None:
    runner = Runner([RuntimeError("defect")])
    async with house(tmp_path) as parts, delivering(parts, runner):
        await set_up(parts, target())
        await emit(parts, event({"n": 1}), event({"n": 2}))
        left = await settled(parts, lambda d: d.attempts == 1)
        assert "defect" in left.error
        while len(runner.asked) < 2:
            await parts.store.wait(parts.store.head())


def test_the_pause_grows_to_a_bound_and_is_never_shorter_than_asked_for() -> None:
    assert [pause_of(n, 0.0) for n in (1, 2, 5, 9, 185)] == [1.0, 2.0, 16.0, 256.0, 300.0]
    assert pause_of(1, 60.0) == 60.0


@given(st.integers(0, 185), st.integers(60, 86_400), st.floats(0, 3600))
def test_a_delivery_ends_by_itself(max_attempts: int, max_age: int, asked: float) -> None:
    """Whatever the target says each time: attempts and age are bounded, and the first bound met is told."""
    now = 1_800_000_000.0
    delivery: Delivery | str = Delivery(
        account="a",
        region="r",
        queue="q",
        sequence=1,
        target=target(max_attempts=max_attempts, max_age=max_age),
        rule_arn=ARN,
        event={},
        created_at=now,
        due_at=now,
    )
    tries = 0
    while isinstance(delivery, Delivery):
        assert delivery.created_at + max_age >= delivery.due_at >= now
        now = delivery.due_at
        tries += 1
        delivery = plan(delivery, Later("X", "x", after=asked), now)
    assert tries <= max_attempts + 1
    assert delivery == ("MaximumRetryAttempts" if tries == max_attempts + 1 else "MaximumEventAgeInSeconds")


def test_a_refusal_is_not_tried_again() -> None:
    assert plan(None, Refused("X", "x"), 0.0) == "NonRetryableError"  # type: ignore[arg-type]


def test_shapes_of_services_events() -> None:
    action = event_ecs.service_action(
        "1", "r", "arn:s", "arn:c", "SERVICE_STEADY_STATE", 1_800_000_000.0, providers=["FARGATE"]
    )
    assert action.envelope("id") == {
        "version": "0",
        "id": "id",
        "detail-type": "ECS Service Action",
        "source": "aws.ecs",
        "account": "1",
        "time": "2027-01-15T08:00:00Z",
        "region": "r",
        "resources": ["arn:s"],
        "detail": {
            "eventType": "INFO",
            "eventName": "SERVICE_STEADY_STATE",
            "clusterArn": "arn:c",
            "capacityProviderArns": ["arn:aws:ecs:r:1:capacity-provider/FARGATE"],
            "createdAt": "2027-01-15T08:00:00.000Z",
        },
    }
    changed = event_ecs.deployment_changed(
        "1", "r", "arn:s", "ecs-svc/1", "SERVICE_DEPLOYMENT_FAILED", "why", 1_800_000_000.0
    )
    assert changed.envelope("id")["detail"] == {
        "eventType": "ERROR",
        "eventName": "SERVICE_DEPLOYMENT_FAILED",
        "deploymentId": "ecs-svc/1",
        "updatedAt": "2027-01-15T08:00:00.000Z",
        "reason": "why",
    }
