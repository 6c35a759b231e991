"""Runs one container's health checks while it runs. Called by supervision.py; the rule is model/health."""

from collections.abc import Callable

from neargate.kit.clock import Clock
from neargate.model.health import Condition, after_check, command
from neargate.model.sandbox import ContainerSpec, Health, HealthCheck
from neargate.node.drivers.base import DriverError, ExecResult, Sandbox

Tell = Callable[[Health, ExecResult], None]


async def watch(
    sandbox: Sandbox, container: ContainerSpec, check: HealthCheck, known: Health, clock: Clock, tell: Tell
) -> None:
    """Check at every interval until the container's run ends; `tell` of each result.

    known -- what an earlier daemon measured: a restart of the daemon makes no container UNKNOWN.
    """
    run = sandbox.states[container.name]
    began = run.started_at if run.started_at is not None else clock.now()
    condition = Condition(known)
    while True:
        await clock.sleep(check.interval)
        age = clock.now() - began
        try:
            result = await sandbox.exec(container.name, command(check), check.timeout)
        except DriverError as error:
            result = ExecResult(-1, str(error).encode())
        now = sandbox.states.get(container.name)
        if now is None or not now.running or now.restarts != run.restarts:
            return
        condition = after_check(check, condition, result.exit_code == 0 and not result.timed_out, age)
        tell(condition.status, _told(result, check))


def _told(result: ExecResult, check: HealthCheck) -> ExecResult:
    """As Docker tells of it: a check that took too long has ended with -1."""
    if not result.timed_out:
        return result
    return ExecResult(-1, f"Health check exceeded timeout ({check.timeout:g}s)".encode(), timed_out=True)
