"""When scheduled actions of Application Auto Scaling are due. Pure.

Called by services/application_autoscaling for the first moment, by control/autoscaling for each next one.
"""

import math

from neargate.kit.errors import ApiError
from neargate.model import schedule
from neargate.model.scaling import ScheduledAction


def check(expression: str, timezone: str) -> None:
    """Raise ValidationException with AWS's words."""
    try:
        schedule.parse(expression, timezone)
    except schedule.ScheduleError as error:
        raise ApiError("ValidationException", f"Invalid schedule expression. Details: {error}") from None


def due_after(action: ScheduledAction, moment: float) -> float | None:
    """The action's first moment later than `moment`, between its start (which may be one) and its end."""
    anchor = action.created_at
    if action.start_at is not None:
        anchor = action.start_at
        moment = max(moment, math.nextafter(action.start_at, -math.inf))
    due = schedule.parse(action.schedule, action.timezone).next_after(moment, anchor)
    if due is None or (action.end_at is not None and due > action.end_at):
        return None
    return due
