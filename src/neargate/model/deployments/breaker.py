"""The deployment circuit breaker, and how long starts wait after tasks that never ran, or not for long. Pure.

Called by control/services, which keeps the counts in the service's records.
"""

from collections.abc import Mapping
from typing import Any

LOWEST = 3
HIGHEST = 200
LONGEST_WAIT = 15 * 60.0
LONGEST_WAIT_FOR_ROOM = 30.0
_AT_ONCE = 3
"""So many tasks may fail to start before the next one waits."""
_SHORT_LIVED = 10
LONGEST_PAUSE = 60.0


def threshold(desired: int, breaker: Mapping[str, Any]) -> int:
    """How many failed tasks end a deployment: by default half the desired count, rounded up, 3 to 200."""
    given = breaker.get("thresholdConfiguration") or {}
    kind, value = given.get("type", "BOUNDED_PERCENT"), int(given.get("value", 50))
    if kind == "COUNT":
        return max(1, value)
    share = -(-desired * value // 100)
    if kind == "UNBOUNDED_PERCENT":
        return max(1, share)
    return min(max(share, LOWEST), HIGHEST)


def resets(breaker: Mapping[str, Any]) -> bool:
    """Whether a task that turns healthy takes the count back to 0."""
    return breaker.get("resetOnHealthyTask") is not False


def doubtful(failed_starts: int) -> bool:
    """Whether so many tasks in a row never ran that the next are tried one by one."""
    return failed_starts >= _AT_ONCE


def wait(failed_starts: int, desired: int, *, for_room: bool = False) -> float:
    """Seconds until the next start after so many tasks in a row never ran: none at first, then doubling with
    each full round of the desired count, up to 15 minutes. for_room -- there was no capacity."""
    longest = LONGEST_WAIT_FOR_ROOM if for_room else LONGEST_WAIT
    if not doubtful(failed_starts):
        return 0.0
    rounds = (failed_starts - _AT_ONCE) // max(1, desired)
    return min(longest, 2.0 ** min(rounds, 16))


def pause(failed_tasks: int, desired: int) -> float:
    """Seconds until the next start after so many tasks that ran, but were never healthy: in the long run one
    task a second for ten or more, one in ten seconds at the least.

    AWS does not hold these up, but a start takes longer than that there. Here a container that exits at once
    would be started several times a second, for ever.
    """
    if failed_tasks < _SHORT_LIVED:
        return 0.0
    longest = min(LONGEST_PAUSE, max(10.0, float(desired)))
    return min(longest, 2.0 ** min((failed_tasks - _SHORT_LIVED) // max(1, desired), 16))
