"""awslogs for real: options honoured, nothing lost or doubled when the daemon is killed, floods harmless."""

import re
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Stack
from tests.support.real import eventually

COUNT = "i=0; while [ $i -lt {} ]; do echo line-$i; i=$((i+1)); done"
MIB = 1024 * 1024


def logging_container(stack: Stack, script: str, **options: str) -> dict[str, Any]:
    """A container that runs a script, with more awslogs options (underscores for dashes)."""
    container = stack.container(script)
    more = {name.replace("_", "-"): value for name, value in options.items()}
    container["logConfiguration"]["options"].update(more)
    return container


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def settled(pid: int) -> int:
    """Bytes in memory once they have not grown for two seconds: caches of a first flood are filled."""
    seen = [resident(pid)]

    def level() -> bool:
        time.sleep(0.5)
        seen.append(resident(pid))
        return len(seen) > 4 and seen[-1] - seen[-5] < MIB

    eventually(level, "memory grows no more")
    return seen[-1]


def test_a_group_is_made_when_asked_for(stack: Stack) -> None:
    task, _ = stack.finished(
        logging_container(stack, "echo made", awslogs_create_group="true", awslogs_group="/made/by/the/task")
    )
    stream = f"t/main/{task['taskArn'].rsplit('/', 1)[1]}"
    events = stack.logs.get_log_events(logGroupName="/made/by/the/task", logStreamName=stream)["events"]
    assert [event["message"] for event in events] == ["made"]


def test_lines_are_joined_by_pattern_and_by_date(stack: Stack) -> None:
    # Docker's awslogs driver ends each line of a joined event with a newline, the last one too.
    script = "printf 'START a\\n  more\\n  more\\nSTART b\\n'"
    task, _ = stack.finished(logging_container(stack, script, awslogs_multiline_pattern="^START"))
    assert stack.lines(task["taskArn"]) == ["START a\n  more\n  more\n", "START b\n"]

    script = "printf '2026-11-25 10:00:00 a\\n  at b\\n2026-11-25 10:00:01 c\\n'"
    task, _ = stack.finished(logging_container(stack, script, awslogs_datetime_format="%Y-%m-%d %H:%M:%S"))
    assert stack.lines(task["taskArn"]) == [
        "2026-11-25 10:00:00 a\n  at b\n",
        "2026-11-25 10:00:01 c\n",
    ]


def test_blocking_mode_loses_nothing_and_a_small_buffer_keeps_the_order(stack: Stack) -> None:
    task, _ = stack.finished(logging_container(stack, COUNT.format(30_000), mode="blocking"))
    assert stack.lines(task["taskArn"]) == [f"line-{i}" for i in range(30_000)]

    task, containers = stack.finished(
        logging_container(stack, COUNT.format(30_000), mode="non-blocking", max_buffer_size="64k")
    )
    assert containers["main"]["exitCode"] == 0
    numbers = [int(line.removeprefix("line-")) for line in stack.lines(task["taskArn"])]
    assert numbers == sorted(set(numbers)) and numbers


def test_tail_follow_shows_lines_as_they_come(stack: Stack) -> None:
    arn = stack.run(stack.container("while true; do echo tick; sleep 0.2; done"))
    stack.wait(arn, "RUNNING")
    command = [
        "/usr/bin/aws", "--endpoint-url", stack.daemon.endpoint,
        "logs", "tail", "/e2e", "--follow", "--format", "short",
        "--log-stream-names", f"t/main/{arn.rsplit('/', 1)[1]}",
    ]  # fmt: skip
    tail = subprocess.Popen(
        command,
        env={**stack.daemon.aws_environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tail.stdout
    try:
        # Two polls of `tail` at least: what it shows first was there when it began.
        for _ in range(40):
            assert tail.stdout.readline().rstrip().endswith("tick")
    finally:
        tail.kill()
        tail.wait(60)
        tail.stdout.close()
    stack.stop(arn)


def test_killed_while_lines_are_written(stack: Stack) -> None:
    script = (
        "i=0; while [ $i -lt 600 ]; do echo out-$i; echo err-$i >&2; i=$((i+1)); sleep 0.01; done; exit 4"
    )
    arn = stack.run(stack.container(script))
    stack.wait(arn, "RUNNING")
    for _ in range(3):
        time.sleep(0.7)
        stack.daemon.kill()
        stack.daemon.up()
    task = stack.wait(arn, "STOPPED")
    assert task["containers"][0]["exitCode"] == 4
    lines = stack.lines(arn)
    assert [line for line in lines if line.startswith("out")] == [f"out-{i}" for i in range(600)]
    assert [line for line in lines if line.startswith("err")] == [f"err-{i}" for i in range(600)]


def test_a_flood_does_not_grow_the_daemon(stack: Stack) -> None:
    script = "yes $(seq -s x 60) | head -c 8000000 > /tmp/lines; while true; do cat /tmp/lines; done"
    arn = stack.run(stack.container(script), cpu="2048", memory="4096")
    stack.wait(arn, "RUNNING")
    pid = stack.daemon.pid
    before = settled(pid)
    highest = before
    for _ in range(50):
        time.sleep(0.1)
        highest = max(highest, resident(pid))
    stack.stop(arn)
    assert highest - before < 32 * MIB, f"{before // MIB} MiB before, {highest // MIB} MiB in the flood"
    eventually(lambda: stack.lines(arn)[-1:], "lines of the flood")
