"""FireLens for real: a router of our own in the task says what it is sent, over kill -9 of the daemon too."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.support import forward
from tests.support.python_image import python_image

Json = dict[str, Any]
ROUTER = "router"
COUNT = "i=0; while [ $i -lt {} ]; do echo line-$i; i=$((i+1)); sleep 0.01; done"


@pytest.fixture(scope="module")
def image(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    layout = python_image(tmp_path_factory.mktemp("router"), Path(forward.__file__))
    return stack.daemon.push(layout, "router")


def router(stack: Stack, image: str, **members: Any) -> Json:
    """Its own lines go to CloudWatch Logs, where the tests read them."""
    definition = stack.container(name=ROUTER, **{"firelensConfiguration": {"type": "fluentbit"}, **members})
    del definition["entryPoint"], definition["command"]
    return {**definition, "image": image}


def app(stack: Stack, script: str, name: str = "app", **options: str) -> Json:
    log = {"logDriver": "awsfirelens", "options": {"Name": "stdout", **options}}
    return stack.container(script, name=name, logConfiguration=log)


def said(stack: Stack, arn: str) -> tuple[Json, list[Json]]:
    """What the router found at its start, and what it was sent, before it was stopped."""
    first, *rest, last = (json.loads(line) for line in stack.lines(arn, ROUTER))
    assert last == {"stopped": True}
    return first, rest


def once(messages: list[Json]) -> list[str]:
    """Lines in the order of their coming, chunks that came again left out as a router would."""
    chunks: dict[str, list[str]] = {}
    for message in messages:
        chunks.setdefault(message["chunk"], []).append(message["record"]["log"])
    found = []
    for chunk, lines in chunks.items():
        copies = sum(1 for m in messages if m["chunk"] == chunk) // len(set(lines))
        assert lines == lines[: len(lines) // copies] * copies, chunk
        found += lines[: len(lines) // copies]
    return found


def test_lines_reach_the_router_with_their_tag_time_and_source(stack: Stack, image: str) -> None:
    before = time.time()
    script = "echo $FLUENT_HOST:$FLUENT_PORT; sleep 1; echo oops >&2; sleep 1; echo; printf unended"
    task, containers = stack.finished(
        app(stack, script, **{"exclude-pattern": "debug"}), router(stack, image, memory=128)
    )
    assert (containers["app"]["exitCode"], containers[ROUTER]["exitCode"]) == (0, 0)
    found, messages = said(stack, task["taskArn"])
    id = task["taskArn"].rsplit("/", 1)[1]
    assert {m["tag"] for m in messages} == {f"app-firelens-{id}"}
    record = {"container_id": containers["app"]["runtimeId"], "container_name": "app"}
    assert [m["record"] for m in messages] == [
        {**record, "source": source, "log": text}
        for source, text in (
            ("stdout", "127.0.0.1:24224"), ("stderr", "oops"), ("stdout", ""), ("stdout", "unended")
        )
    ]  # fmt: skip
    times = [seconds + nanoseconds / 1e9 for seconds, nanoseconds in (m["time"] for m in messages)]
    assert times == sorted(times) and before < times[0] < times[2] < time.time()
    assert found["kept"], "its configuration can be changed from inside"
    assert "\n    Mem_Buf_Limit 64MB\n    unix_path /var/run/fluent.sock\n" in found["config"]
    assert f"\n    Record ecs_cluster e2e\n    Record ecs_task_arn {task['taskArn']}\n" in found["config"]
    assert "\n    Match app-firelens*\n    Exclude log debug\n" in found["config"]


def test_a_daemon_killed_again_and_again_loses_nothing_and_sends_the_same_chunks(
    stack: Stack, image: str
) -> None:
    arn = stack.run(app(stack, COUNT.format(400)), router(stack, image))
    stack.wait(arn, "RUNNING")
    for _ in range(2):
        time.sleep(0.6)
        stack.daemon.kill()
        stack.daemon.up()
    stack.wait(arn, "STOPPED")
    assert once(said(stack, arn)[1]) == [f"line-{i}" for i in range(400)]


def test_the_application_may_send_to_the_router_itself(stack: Stack, image: str) -> None:
    # [tag, [[time, {"log": "own"}]], {"size": 1}]
    message = r"\223\243own\221\222\001\201\243log\243own\201\244size\001"
    # nc ends with 1 while nobody listens yet, and by the timeout once it was heard
    send = f"printf '{message}' | timeout 5 nc $FLUENT_HOST $FLUENT_PORT"
    script = f"while true; do {send}; [ $? -eq 1 ] || break; sleep 0.2; done"
    task, _ = stack.finished(app(stack, script), router(stack, image))
    assert {"tag": "own", "time": 1, "record": {"log": "own"}, "chunk": None} in said(stack, task["taskArn"])[
        1
    ]


def test_an_output_that_is_not_named_stops_the_task_with_its_cause(stack: Stack, image: str) -> None:
    log = {"logDriver": "awsfirelens", "options": {"region": "us-east-1"}}
    task, _ = stack.finished(stack.container("true", name="app", logConfiguration=log), router(stack, image))
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"] == (
        "ResourceInitializationError: unable to generate firelens config file: unable to apply log options of"
        " container app to firelens config: missing output key Name which is required for firelens"
        " configuration of type fluentbit"
    )
