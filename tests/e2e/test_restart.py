"""restartPolicy for real. In a file of its own: Fargate's shortest attempt period is a minute."""

import time

from tests.e2e.conftest import Stack


def test_restart_policy(stack: Stack) -> None:
    arn = stack.run(
        stack.container("sleep 600"),
        stack.container("echo up; sleep 65; exit 1", "flaky", essential=False,
                        restartPolicy={"enabled": True, "restartAttemptPeriod": 60}),
        stack.container("echo once; exit 1", "quick", essential=False,
                        restartPolicy={"enabled": True, "restartAttemptPeriod": 60}),
    )  # fmt: skip
    stack.wait(arn, "RUNNING")
    deadline = time.monotonic() + 180
    while stack.lines(arn, "flaky") != ["up", "up"]:
        assert time.monotonic() < deadline, stack.lines(arn, "flaky")
        time.sleep(1)
    assert stack.lines(arn, "quick") == ["once"]
    stack.stop(arn)
