"""What to do next with a sandbox's containers: which to start, when to give up, which to stop first. Pure.

Called by node/supervision after every change, which carries the step out. Conditions and texts of `dependsOn`
are those of the ECS agent; `volumesFrom` orders like START.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from neargate.model.sandbox import ContainerSpec, Dependency, Failure, RestartPolicy

ESSENTIAL_EXITED = Failure(code="EssentialContainerExited", reason="Essential container in task exited")


@dataclass(frozen=True, slots=True)
class Seen:
    """One container as it stands; the defaults are those of one that nobody has touched."""

    starting: bool = False
    """A start is under way: it is neither to be started nor to be judged."""
    started: bool = False
    """At least once."""
    running: bool = False
    healthy: bool = False
    exit_code: int | None = None
    started_at: float | None = None
    ran: float = 0.0
    """Seconds of its last run."""
    failed: str = ""
    """Why it could not be started; it is not tried again."""

    @property
    def ended(self) -> bool:
        return self.started and not self.running and not self.starting


@dataclass(frozen=True, slots=True)
class Step:
    start: tuple[str, ...] = ()
    """Containers to start now, for the first time or again."""
    end: Failure | None = None
    """Why the sandbox has to end; nothing is started any more."""
    wake_at: float | None = None
    """When to ask again even if nothing changes."""


class _Never(Exception):
    """A dependency that cannot be met any more."""


def restarts(policy: RestartPolicy | None, exit_code: int | None, ran: float) -> bool:
    """Whether a container that ended is started again. The same question always has the same answer."""
    return policy is not None and exit_code not in policy.ignored_exit_codes and ran >= policy.attempt_period


def up(containers: Sequence[ContainerSpec], seen: Mapping[str, Seen]) -> bool:
    """RUNNING: every container has been started, whatever became of it; one that cannot be does not count."""
    return all(seen[c.name].started or (seen[c.name].failed and not c.essential) for c in containers)


def next_step(containers: Sequence[ContainerSpec], seen: Mapping[str, Seen], now: float) -> Step:
    again = [c.name for c in containers if _restarts(c, seen[c.name])]
    for container in containers:
        this = seen[container.name]
        if container.essential and this.ended and container.name not in again:
            return Step(end=ESSENTIAL_EXITED)
        if container.essential and this.failed and not this.started:
            return Step(end=_failed_to_start(this.failed))
    waiting = [c for c in containers if not (s := seen[c.name]).started and not s.starting and not s.failed]
    specs = {c.name: c for c in containers}
    ready: list[str] = []
    wake: list[float] = []
    for container in waiting:
        try:
            deadlines = [_deadline(container, d, specs, seen, now) for d in dependencies(container)]
        except _Never as error:
            return Step(end=_failed_to_start(str(error)))
        open_ones = [d for d in deadlines if d is not None]
        wake += open_ones
        if not open_ones:
            ready.append(container.name)
    moving = ready or again or any(s.starting or s.running for s in seen.values())
    if waiting and not moving:
        names = ", ".join(c.name for c in waiting)
        return Step(end=_failed_to_start(f"dependency graph: containers [{names}] wait for each other"))
    return Step((*again, *ready), wake_at=min((w for w in wake if w != _FOREVER), default=None))


_FOREVER = float("inf")


def dependencies(container: ContainerSpec) -> tuple[Dependency, ...]:
    volumes = (Dependency(container=name, condition="START") for name, _ in container.volumes_from)
    return (*container.depends_on, *volumes)


def to_stop(containers: Sequence[ContainerSpec], running: Collection[str]) -> list[str]:
    """Which of the running containers to stop now: those that no other running one depends on."""
    needed = {d.container for c in containers if c.name in running for d in dependencies(c)}
    order = [c.name for c in containers if c.name in running]
    return [name for name in order if name not in needed] or order


def _restarts(container: ContainerSpec, this: Seen) -> bool:
    return this.ended and not this.failed and restarts(container.restart, this.exit_code, this.ran)


def _failed_to_start(reason: str) -> Failure:
    return Failure(code="TaskFailedToStart", reason=reason)


def _deadline(
    target: ContainerSpec,
    dependency: Dependency,
    specs: Mapping[str, ContainerSpec],
    seen: Mapping[str, Seen],
    now: float,
) -> float | None:
    """None if the dependency is met, else until when it may be. Raise _Never with the agent's text."""
    name, condition = dependency.container, dependency.condition
    which = f"[{name}] for target [{target.name}]"
    if name not in specs:
        raise _Never(f"dependency graph: container ordering dependency {which} does not exist.")
    this, spec = seen[name], specs[name]
    if this.failed and not this.started:
        raise _Never(
            "dependency graph: failed to resolve container ordering dependency"
            f" {which} because dependency will never start"
        )
    if _met(condition, this, _restarts(spec, this)):
        return None
    if this.ended and not _restarts(spec, this):
        why = "dependency did not exit successfully." if condition == "SUCCESS" else "it has stopped."
        raise _Never(f"dependency graph: failed to resolve container ordering dependency {which} as {why}")
    if not this.running or this.started_at is None:
        return _FOREVER
    until = this.started_at + spec.start_timeout
    if now >= until:
        raise _Never(f"dependency graph: container ordering dependency {which} has timed out.")
    return until


def _met(condition: str, this: Seen, again: bool) -> bool:
    match condition:
        case "START":
            return this.started
        case "HEALTHY":
            return this.running and this.healthy
        case "COMPLETE":
            return this.ended and not again
        case _:
            return this.ended and not again and this.exit_code == 0
