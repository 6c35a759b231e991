"""BLUE_GREEN, LINEAR and CANARY: the stages of a deployment, and the traffic that it gets. Pure.

Called by control/services with the deployment's record and how its tasks do; what comes out is the record as
it is to be. Blue is what serves so far, green what is being deployed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from neargate.model.service import Pause, ServiceDeployment

# The way of a deployment. A stage is entered, held by a PAUSE hook if there is one, worked, and left.
#
#   (RECONCILE_SERVICE) -> PRE_SCALE_UP -> SCALE_UP -> POST_SCALE_UP     green's tasks come up
#     -> TEST_TRAFFIC_SHIFT -> POST_TEST_TRAFFIC_SHIFT                   the test listener leads to green
#     -> PRE_PRODUCTION_TRAFFIC_SHIFT -> PRODUCTION_TRAFFIC_SHIFT        all others do: at once or in steps
#     -> POST_PRODUCTION_TRAFFIC_SHIFT -> BAKE_TIME -> CLEAN_UP          blue waits, then its tasks stop
#
# From each but the last it may go back: traffic to blue at once, then green's tasks stop.
STAGES: Final = (
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "SCALE_UP",
    "POST_SCALE_UP",
    "TEST_TRAFFIC_SHIFT",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
    "BAKE_TIME",
    "CLEAN_UP",
)
RANK: Final = {stage: rank for rank, stage in enumerate(STAGES)}
FOLLOW_SECONDS: Final = 3.0
"""Given to the data plane to follow a change of weights, before tasks stop that had traffic until then."""
PRODUCTION, TEST = "productionListenerRule", "testListenerRule"
"""Members that name what leads to a revision's target groups: a rule, or a listener."""
_NEEDED_UNTIL: Final = ((PRODUCTION, "BAKE_TIME"), (TEST, "TEST_TRAFFIC_SHIFT"))
_LOST: Final = "Service deployment rolled back because of invalid networking configuration."
_PAUSE_MINUTES: Final = 1440
_ALL: Final = 100.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Why no traffic comes to green by a listener or a rule."""

    member: str
    said: str
    mended: bool = False
    """Leading traffic to green mends it: then it is one only where that has been done before."""


@dataclass(frozen=True, slots=True)
class World:
    crowded: bool = False
    """There are tasks of other deployments than blue and green."""
    up: bool = False
    """Green has all its tasks, and they are healthy."""
    faults: Sequence[Fault] = ()
    """Those of green's routes."""


@dataclass(frozen=True, slots=True)
class Step:
    process: ServiceDeployment
    back: str = ""
    """Why the deployment is to be rolled back, if it is."""
    wake_at: float | None = None


def advance(process: ServiceDeployment, world: World, now: float) -> Step:
    """As far as it goes now."""
    lost = _lost(process, world)
    if lost:
        return Step(process, back=lost)
    while True:
        step = _step(process, world, now)
        if step.back or step.process == process:
            return step
        process = step.process


def scaled_up(process: ServiceDeployment) -> bool:
    """Whether green is to have tasks."""
    return bool(process.stage) and RANK[process.stage] >= RANK["SCALE_UP"]


def tested(process: ServiceDeployment) -> bool:
    """Whether the test listener leads to green."""
    return bool(process.stage) and RANK[process.stage] >= RANK["TEST_TRAFFIC_SHIFT"]


def routes(balancers: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What leads to the target groups of load balancers: member and ARN."""
    given = [balancer.get("advancedConfiguration") or {} for balancer in balancers]
    return [(member, some[member]) for member in (PRODUCTION, TEST) for some in given if some.get(member)]


def _lost(process: ServiceDeployment, world: World) -> str:
    """Why no traffic can be led to green any more, if that is so."""
    rank = RANK[process.stage] if process.stage else -1
    needed = [member for member, last in _NEEDED_UNTIL if rank <= RANK[last]]
    led = [
        member for member, is_led in ((PRODUCTION, process.traffic > 0), (TEST, tested(process))) if is_led
    ]
    said = [f.said for f in world.faults if f.member in needed and (f.member in led or not f.mended)]
    return " ".join((_LOST, *said)) if said else ""


def _step(process: ServiceDeployment, world: World, now: float) -> Step:
    if process.paused is not None:
        return _held(process, process.paused, now)
    if not process.stage:
        return Step(_enter(process, "RECONCILE_SERVICE" if world.crowded else "PRE_SCALE_UP", now))
    hook = _hook(process)
    if hook is not None:
        minutes = (hook.get("timeoutConfiguration") or {}).get("timeoutInMinutes", _PAUSE_MINUTES)
        pause = Pause(hook=dict(hook), stage=process.stage, since=now, until=now + 60.0 * minutes)
        return Step(replace(process, paused=pause))
    if process.stage == "RECONCILE_SERVICE" and world.crowded:
        return Step(process)
    if process.stage == "SCALE_UP" and not world.up:
        return Step(process)
    if process.stage == "PRODUCTION_TRAFFIC_SHIFT":
        return _shifted(process, world, now)
    if process.stage == "BAKE_TIME":
        return _baked(process, world, now)
    return Step(process if process.stage == "CLEAN_UP" else _next(process, now))


def _held(process: ServiceDeployment, pause: Pause, now: float) -> Step:
    answer = pause.answer
    if not answer and pause.until <= now:
        answer = (pause.hook.get("timeoutConfiguration") or {}).get("action", "ROLLBACK")
    if answer == "CONTINUE":
        return Step(replace(process, paused=None, passed_hooks=(*process.passed_hooks, pause.stage)))
    if answer:
        how = "was answered with ROLLBACK" if pause.answer else "timed out"
        return Step(process, back=f"The lifecycle hook at {pause.stage} {how}.")
    return Step(process, wake_at=pause.until)


def _hook(process: ServiceDeployment) -> Mapping[str, Any] | None:
    """The hook that holds the stage, if it has not been answered."""
    if process.stage in process.passed_hooks:
        return None
    hooks = process.configuration.get("lifecycleHooks") or ()
    return next((h for h in hooks if process.stage in h["lifecycleStages"]), None)


def _enter(process: ServiceDeployment, stage: str, now: float) -> ServiceDeployment:
    return replace(process, stage=stage, stage_since=now, bake_until=None)


def _next(process: ServiceDeployment, now: float) -> ServiceDeployment:
    return _enter(process, STAGES[RANK[process.stage] + 1], now)


def steps(strategy: str, configuration: Mapping[str, Any]) -> tuple[list[float], float]:
    """Green's percent of the traffic, step by step to all of it, and the seconds between the steps."""
    if strategy == "LINEAR":
        given = configuration.get("linearConfiguration") or {}
        size, minutes = given.get("stepPercent", 10.0), given.get("stepBakeTimeInMinutes", 6)
        count = int(_ALL / size + 1e-9)
        found = [round(size * n, 1) for n in range(1, count + 1)]
    elif strategy == "CANARY":
        given = configuration.get("canaryConfiguration") or {}
        minutes = given.get("canaryBakeTimeInMinutes", 10)
        found = [float(given.get("canaryPercent", 5.0))]
    else:
        found, minutes = [], 0
    return [*(p for p in found if p < _ALL), _ALL], 60.0 * minutes


def _shifted(process: ServiceDeployment, world: World, now: float) -> Step:
    """No more traffic for a green that is not all there."""
    if process.bake_until is not None and now < process.bake_until:
        return Step(process, wake_at=process.bake_until)
    if process.traffic >= _ALL:
        return Step(_next(process, now))
    if not world.up:
        return Step(process)
    percents, pause = steps(process.strategy, process.configuration)
    percent = next(p for p in percents if p > process.traffic)
    return Step(replace(process, traffic=percent, bake_until=now + pause if percent < _ALL else None))


def _baked(process: ServiceDeployment, world: World, now: float) -> Step:
    """Blue stays for as long as green is not all there."""
    if process.bake_until is None:
        minutes = process.configuration.get("bakeTimeInMinutes") or 0
        return Step(replace(process, bake_until=now + max(60.0 * minutes, FOLLOW_SECONDS)))
    if now < process.bake_until:
        return Step(process, wake_at=process.bake_until)
    return Step(_next(process, now) if world.up else process)


def weights_of(percent: float) -> tuple[int, int]:
    """Weights of the old and the new target group; AWS takes whole numbers up to 999."""
    tenths = round(percent * 10)
    if tenths % 10 == 0:
        return 100 - tenths // 10, tenths // 10
    return 1000 - tenths, tenths
