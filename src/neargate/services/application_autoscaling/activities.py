"""DescribeScalingActivities. Called by gateway/dispatch; control/autoscaling writes the activities."""

from typing import Any

from neargate.model.scaling import ScalingActivity
from neargate.services.application_autoscaling import names
from neargate.services.call import Call, Params, Result
from neargate.state.catalog_scaling import SCALING_ACTIVITY


async def describe_scaling_activities(call: Call, params: Params) -> Result:
    """The newest first; those that did not scale only if asked for."""
    names.check_scope(params)
    everything = bool(params.get("IncludeNotScaledActivities"))
    found = await call.store.read(lambda tx: names.found(tx, SCALING_ACTIVITY, call, params))
    chosen = [activity for activity in found if everything or not activity.not_scaled]
    return names.page(params, "ScalingActivities", chosen, SCALING_ACTIVITY.id, _shown)


def _shown(activity: ScalingActivity) -> dict[str, Any]:
    shown = {
        **names.place(activity),
        "ActivityId": activity.id,
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": activity.started_at,
        "EndTime": activity.ended_at,
        "StatusCode": activity.status,
        "StatusMessage": activity.message or None,
        "NotScaledReasons": [activity.not_scaled] if activity.not_scaled else None,
    }
    return {name: value for name, value in shown.items() if value is not None}
