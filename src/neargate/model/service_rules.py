"""What AWS lets a service ask for: its name, its deploymentConfiguration with the defaults spelt out. Pure.

Called by services/ecs for CreateService and UpdateService; model/deployments works by what is made here.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from neargate.kit.errors import ApiError

Json = dict[str, Any]
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
MAX_DESIRED: Final = 5000
"""AWS's quota of tasks per service."""
_MAX_GRACE: Final = 2_147_483_647
_MAX_BAKE: Final = 1440
_MAX_ALARMS: Final = 100
_MAX_PERCENT: Final = 2_147_483_647
_PERCENTS: Final[Json] = {"maximumPercent": 200, "minimumHealthyPercent": 100}
# Strategy -> the member that is its own, with what that member's members are when they are not given.
_SHIFTS: Final[dict[str, tuple[str, Json]]] = {
    "LINEAR": ("linearConfiguration", {"stepPercent": 10.0, "stepBakeTimeInMinutes": 6}),
    "CANARY": ("canaryConfiguration", {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 10}),
}
# Member -> the least and the most that it may be, in percent.
_SHIFT_LIMITS: Final = {"stepPercent": (3.0, 100.0), "canaryPercent": (0.1, 100.0)}
_NO_PAUSE: Final = ("TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT")
_PAUSE_MINUTES: Final = (1, 20160)
_PAUSE_DEFAULT: Final = 1440
_MAX_HOOKS: Final = 50


def refuse(message: str) -> NoReturn:
    raise ApiError("InvalidParameterException", message)


def unsupported(message: str) -> NoReturn:
    raise ApiError("UnsupportedFeatureException", message)


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        refuse(
            "Invalid service name: up to 255 letters (uppercase and lowercase), numbers, hyphens, and"
            " underscores are allowed."
        )
    return name


def check_desired(count: int | None, default: int) -> int:
    if count is None:
        return default
    if not 0 <= count <= MAX_DESIRED:
        refuse(f"desiredCount must be between 0 and {MAX_DESIRED}.")
    return int(count)


def check_grace(seconds: int | None) -> int | None:
    if seconds is not None and not 0 <= seconds <= _MAX_GRACE:
        refuse(f"healthCheckGracePeriodSeconds must be between 0 and {_MAX_GRACE}.")
    return seconds


def deployment_configuration(
    given: Mapping[str, Any] | None, before: Mapping[str, Any] | None = None
) -> Json:
    """deploymentConfiguration in full. before -- that of the service so far: members not given stay.

    Raises InvalidParameterException, or UnsupportedFeatureException for what cannot be done here.
    """
    given = given or {}
    whole = {**(before or {}), **{name: value for name, value in given.items() if value is not None}}
    strategy = whole.get("strategy") or "ROLLING"
    made: Json = {
        "deploymentCircuitBreaker": _breaker(whole.get("deploymentCircuitBreaker") or {}),
        **_percents(whole),
        "strategy": strategy,
        "bakeTimeInMinutes": _bake(whole, strategy),
    }
    if whole.get("alarms"):
        made["alarms"] = _alarms(whole["alarms"])
    if strategy != "ROLLING" or given.get("lifecycleHooks"):
        made["lifecycleHooks"] = _hooks(whole.get("lifecycleHooks") or (), strategy)
    for owner, (member, defaults) in _SHIFTS.items():
        if strategy == owner:
            made[member] = _shift({**defaults, **(whole.get(member) or {})})
        elif given.get(member):
            refuse(f"{member} is only valid when the deployment strategy is {owner}.")
    if (given.get("earlySuccessCriteria") or {}).get("enable"):
        unsupported("earlySuccessCriteria are not available: a deployment is done when all of its tasks are.")
    return made


def _percents(whole: Mapping[str, Any]) -> Json:
    percents = {name: whole.get(name, default) for name, default in _PERCENTS.items()}
    low, high = percents["minimumHealthyPercent"], percents["maximumPercent"]
    if low > 100:
        refuse("minimumHealthyPercent must be at most 100")
    if low < 0:
        refuse("minimumHealthyPercent must be at least 0")
    if high < 100:
        refuse("maximumPercent must be at least 100")
    if high > _MAX_PERCENT:
        refuse(f"maximumPercent must be at most {_MAX_PERCENT}")
    if low == high == 100:
        refuse("Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments")
    return percents


def _breaker(given: Mapping[str, Any]) -> Json:
    enable = bool(given.get("enable"))
    made: Json = {"enable": enable, "rollback": bool(given.get("rollback"))}
    threshold = given.get("thresholdConfiguration")
    if threshold:
        if threshold["value"] < 1:
            refuse("The value of thresholdConfiguration must be at least 1.")
        if threshold["value"] > _MAX_PERCENT:
            refuse(f"The value of thresholdConfiguration must be at most {_MAX_PERCENT}.")
        made["thresholdConfiguration"] = {"type": threshold["type"], "value": threshold["value"]}
    elif enable:
        made["thresholdConfiguration"] = {"type": "BOUNDED_PERCENT", "value": 50}
    if enable or given.get("resetOnHealthyTask") is not None:
        reset = given.get("resetOnHealthyTask")
        made["resetOnHealthyTask"] = True if reset is None else bool(reset)
    return made


def _alarms(given: Mapping[str, Any]) -> Json:
    names = list(dict.fromkeys(given["alarmNames"]))
    if given["enable"] and not names:
        refuse("alarmNames cannot be empty when deployment alarms are enabled.")
    if len(names) > _MAX_ALARMS:
        refuse(f"alarmNames can have at most {_MAX_ALARMS} items.")
    return {"alarmNames": names, "rollback": bool(given["rollback"]), "enable": bool(given["enable"])}


def _bake(whole: Mapping[str, Any], strategy: str) -> int:
    minutes = whole.get("bakeTimeInMinutes")
    if minutes is None:
        if strategy == "BLUE_GREEN":
            refuse("bakeTimeInMinutes is required when the deployment strategy is BLUE_GREEN.")
        return 0
    if not 0 <= minutes <= _MAX_BAKE:
        refuse(f"bakeTimeInMinutes must be between 0 and {_MAX_BAKE}.")
    return int(minutes)


def _shift(made: Json) -> Json:
    for name, value in made.items():
        if name in _SHIFT_LIMITS:
            low, high = _SHIFT_LIMITS[name]
            tenths = value * 10
            if not low <= value <= high or not math.isclose(tenths, round(tenths), abs_tol=1e-6):
                refuse(f"{name} must be a multiple of 0.1 between {low} and {high}.")
        elif not 0 <= value <= _MAX_BAKE:
            refuse(f"{name} must be between 0 and {_MAX_BAKE}.")
    return made


def _hooks(given: Any, strategy: str) -> list[Json]:
    if given and strategy == "ROLLING":
        refuse("lifecycleHooks are not supported when the deployment strategy is ROLLING.")
    if len(given) > _MAX_HOOKS:
        refuse(f"lifecycleHooks can have at most {_MAX_HOOKS} items.")
    hooks = [_hook(hook) for hook in given]
    stages = [stage for hook in hooks for stage in hook["lifecycleStages"]]
    if len(set(stages)) != len(stages):
        refuse("A lifecycle stage can have at most one PAUSE hook.")
    return hooks


def _hook(given: Mapping[str, Any]) -> Json:
    if (given.get("targetType") or "AWS_LAMBDA") == "AWS_LAMBDA":
        unsupported(
            "Lifecycle hooks with targetType AWS_LAMBDA cannot be run: there are no Lambda functions here."
            " Use targetType PAUSE and ContinueServiceDeployment."
        )
    for member in ("hookTargetArn", "roleArn", "hookDetails"):
        if given.get(member):
            refuse(f"{member} is not applicable for PAUSE lifecycle hooks.")
    stages = list(dict.fromkeys(given.get("lifecycleStages") or ()))
    if not stages:
        refuse("lifecycleStages must be specified for a lifecycle hook.")
    for stage in stages:
        if stage in _NO_PAUSE:
            refuse(f"PAUSE lifecycle hooks cannot be configured at the {stage} stage.")
    timeout = given.get("timeoutConfiguration") or {}
    minutes = timeout.get("timeoutInMinutes", _PAUSE_DEFAULT)
    low, high = _PAUSE_MINUTES
    if not low <= minutes <= high:
        refuse(f"timeoutInMinutes must be between {low} and {high}.")
    return {
        "targetType": "PAUSE",
        "lifecycleStages": stages,
        "timeoutConfiguration": {"timeoutInMinutes": minutes, "action": timeout.get("action") or "ROLLBACK"},
    }


def rebalancing(asked: str | None, configuration: Mapping[str, Any], before: str = "") -> str:
    """availabilityZoneRebalancing: on unless refused, where the service can have more tasks than desired."""
    if configuration["maximumPercent"] > 100:
        return asked or before or "ENABLED"
    if asked == "ENABLED":
        refuse("Availability Zone Rebalancing requires a maximumPercent greater than 100.")
    return "DISABLED"
