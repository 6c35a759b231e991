"""What a stopped task consumed: its usage record, written once, in the write that gives its interface back.

Called by control/tasks; read by control/cost.
"""

import math

from neargate.model.task import Task, Usage

MINIMUM_SECONDS = 60


def usage_of(task: Task) -> Usage:
    """AWS: from the image pull's start to termination, up to the second, at least a minute.

    A task that never began to pull consumed nothing.
    """
    stopped = task.stopped_at if task.stopped_at is not None else task.created_at
    started = stopped if task.pull_started_at is None else task.pull_started_at
    seconds = 0 if task.pull_started_at is None else max(MINIMUM_SECONDS, math.ceil(stopped - started))
    return Usage(
        account=task.account,
        region=task.region,
        task_arn=task.arn,
        cluster=task.cluster_arn,
        family=task.family,
        revision=task.revision,
        capacity_provider=task.capacity_provider or task.launch_type,
        architecture=task.architecture,
        cpu_units=int(task.cpu),
        memory_mib=int(task.memory),
        ephemeral_gib=task.ephemeral_gib,
        started_at=started,
        stopped_at=stopped,
        seconds=seconds,
        tags=task.tags,
    )
