"""Tasks as targets: registered when their container runs, let go before they stop, gone when they are dead.

Called by plan.py. The node's health checker moves a target on from `initial`, and removes one that has
drained; where no data plane does, the deregistration delay ends it here.
"""

from collections import Counter

from msgspec.structs import replace

from neargate.control.services.draft import Draft
from neargate.control.services.ended import zone_of
from neargate.control.services.templates import template_of
from neargate.kit.clock import passed
from neargate.model.balancer import Target, target_id
from neargate.model.deployments import events
from neargate.model.task import Task

DELAY = "deregistration_delay.timeout_seconds"
_DELAY_DEFAULT = 300.0
_PATIENCE = 2.0
"""Seconds that the data plane has, after the delay, to remove a target itself."""
_ALIVE = frozenset(("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING"))


def tend(draft: Draft) -> None:
    """Register what runs, remove the targets of the dead, go on with those that drain."""
    registered: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    for task in list(draft.tasks.values()):
        if task.desired_status == "RUNNING":
            registered.update(_register(draft, task))
        else:
            removed.update(_let_go(draft, task))
    for group, count in removed.items():
        draft.say(events.deregistered(draft.name, count, group))
    for group, count in registered.items():
        draft.say(events.registered(draft.name, count, group))


def _register(draft: Draft, task: Task) -> list[str]:
    template = template_of(draft, task)
    if template is None or not task.private_ip:
        return []
    running = {c.name for c in task.containers if c.last_status == "RUNNING"}
    targets = draft.targets_of(task)
    made = []
    for balancer, group in zip(template.balancers, template.groups, strict=False):
        id = target_id(group, task.private_ip, balancer["containerPort"])
        if balancer["containerName"] not in running or id in targets:
            continue
        if group not in draft.snapshot.groups:
            draft.say(events.unregistered(draft.name, group))
            continue
        targets[id] = Target(
            account=task.account,
            region=task.region,
            group_arn=group,
            address=task.private_ip,
            port=balancer["containerPort"],
            zone=zone_of(draft, task),
            task_arn=task.arn,
            registered_at=draft.now,
            changed_at=draft.now,
        )
        made.append(group)
    return made


def _let_go(draft: Draft, task: Task) -> list[str]:
    """Groups of the targets that get no new requests from now on."""
    targets = draft.targets_of(task)
    told = [t.group_arn for t in targets.values() if t.state != "draining"]
    if _alive(task):
        draft.targets[task.arn] = _drained(draft, targets)
    else:
        draft.targets[task.arn] = {}
    if task.draining and not draft.targets[task.arn]:
        draft.tasks[task.arn] = replace(task, draining=False)
    return told


def _drained(draft: Draft, targets: dict[str, Target]) -> dict[str, Target]:
    """The targets as they drain; without those whose time is over."""
    left = {}
    for id, target in targets.items():
        if target.state != "draining":
            target = replace(target, state="draining", draining_at=draft.now, changed_at=draft.now)
        since, seconds = target.draining_at or draft.now, _delay(draft, target) + _PATIENCE
        if not passed(since, seconds, draft.now):
            left[id] = target
            draft.wake(since + seconds)
    return left


def _alive(task: Task) -> bool:
    """Whether it can still answer."""
    return task.last_status in _ALIVE and all(
        c.last_status != "STOPPED" for c in task.containers if c.essential
    )


def _delay(draft: Draft, target: Target) -> float:
    group = draft.snapshot.groups.get(target.group_arn)
    return float(group.attributes.get(DELAY, _DELAY_DEFAULT)) if group is not None else 0.0
