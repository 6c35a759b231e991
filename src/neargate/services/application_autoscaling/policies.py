"""PutScalingPolicy, DescribeScalingPolicies, DeleteScalingPolicy. Called by gateway/dispatch.

A target tracking policy makes its two alarms here, and loses them with itself; control/alarms evaluates them.
"""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.alarm import Alarm
from neargate.model.insights import resolutions
from neargate.model.scaling import (
    ScalableTarget,
    ScalingPolicy,
    Steps,
    Tracking,
    part_id,
)
from neargate.model.scaling_alarms import alarms_of
from neargate.model.scaling_policy import (
    ALB_REQUESTS,
    PREDEFINED,
    invalid,
    read_label,
    read_steps,
    read_tracking,
)
from neargate.services.application_autoscaling import names
from neargate.services.call import Call, Params, Result
from neargate.state.catalog_alarms import ALARM
from neargate.state.catalog_balancers import TARGET_GROUP
from neargate.state.catalog_scaling import SCALABLE_TARGET, SCALING_POLICY, forget_policy
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Tx

_MOST = 50
_MINUTE = 60
_STEP, _TRACKING, _PREDICTIVE = "StepScaling", "TargetTrackingScaling", "PredictiveScaling"
_MEMBERS = {
    _STEP: "StepScalingPolicyConfiguration",
    _TRACKING: "TargetTrackingScalingPolicyConfiguration",
    _PREDICTIVE: "PredictiveScalingPolicyConfiguration",
}


async def put_scaling_policy(call: Call, params: Params) -> Result:
    resource = names.resource_of(params)
    uuid, ends, now = call.ids.uuid(), (call.ids.uuid(), call.ids.uuid()), call.now()

    def body(tx: Tx) -> Result:
        target = names.need_target(tx, call.scope, params)
        id = part_id(call.scope.account, call.scope.region, resource, params["PolicyName"])
        old = tx.get(SCALING_POLICY, id)
        if old is None and tx.count(SCALING_POLICY, "target", SCALABLE_TARGET.id(target)) >= _MOST:
            raise ApiError("LimitExceededException", f"A scalable target can have {_MOST} policies at most")
        rule, steps, tracking = _configuration(params, old)
        if tracking is not None:
            _check_metric(tx, target, tracking)
        policy = ScalingPolicy(
            account=call.scope.account,
            region=call.scope.region,
            arn=old.arn if old else _arn(call, uuid, resource, params["PolicyName"]),
            name=params["PolicyName"],
            resource_id=resource,
            rule=rule,
            tracking=tracking,
            steps=steps,
            created_at=old.created_at if old else now,
        )
        alarms = _put_alarms(tx, policy, tracking, old, ends, now) if tracking is not None else []
        tx.put(SCALING_POLICY, replace(policy, alarms=tuple(alarm.arn for alarm in alarms)))
        return {"PolicyARN": policy.arn, "Alarms": [_shown_alarm(alarm) for alarm in alarms]}

    return await call.store.write(body)


def _arn(call: Call, uuid: str, resource: str, name: str) -> str:
    return call.scope.arn("autoscaling", f"scalingPolicy:{uuid}:resource/ecs/{resource}:policyName/{name}")


def _configuration(
    params: Params, old: ScalingPolicy | None
) -> tuple[dict[str, Any], Steps | None, Tracking | None]:
    """The rule as it was given, and as it was read. An old policy keeps its type, and its rule if none is
    given."""
    had = None if old is None else (_TRACKING if old.tracking is not None else _STEP)
    kind = params.get("PolicyType") or had or _STEP
    if had is not None and kind != had:
        raise invalid(f"The type of a scaling policy cannot be changed: {params['PolicyName']} is {had}")
    if kind == _PREDICTIVE:
        raise invalid("PredictiveScaling policies are not supported here: use TargetTrackingScaling")
    other = next((m for k, m in _MEMBERS.items() if k != kind and params.get(m) is not None), None)
    if other is not None:
        raise invalid(f"{other} cannot be specified for a policy of type {kind}")
    rule = params.get(_MEMBERS[kind])
    if rule is None and old is not None:
        return old.rule, old.steps, old.tracking
    if rule is None:
        raise invalid(f"{_MEMBERS[kind]} must be specified for a policy of type {kind}")
    if kind == _STEP:
        return dict(rule), read_steps(rule), None
    return dict(rule), None, read_tracking(rule)


def _check_metric(tx: Tx, target: ScalableTarget, tracking: Tracking) -> None:
    """A predefined metric must be there."""
    if tracking.predefined == ALB_REQUESTS:
        _check_label(tx, target, tracking.resource_label)
    elif tracking.predefined:
        name, period = PREDEFINED[tracking.predefined]
        if period < resolutions(tx.get(SERVICE, target.service_arn)).get(name, _MINUTE):
            raise invalid(
                f"{tracking.predefined} needs high-resolution metrics: set the service's monitoring of {name}"
                f" to a resolution of {period} seconds"
            )


def _check_label(tx: Tx, target: ScalableTarget, label: str) -> None:
    """The label must name a group of the service's, behind the balancer that it names."""
    balancer, group = read_label(label)
    prefix = f"arn:aws:elasticloadbalancing:{target.region}:{target.account}"
    found = tx.get(TARGET_GROUP, f"{prefix}:{group}")
    if found is None or f"{prefix}:loadbalancer/{balancer}" not in found.balancer_arns:
        raise invalid(f"The load balancer does not route traffic to the target group: {label}")
    service = tx.get(SERVICE, target.service_arn)
    attached = service.body.get("loadBalancers") or () if service is not None else ()
    if all(found.arn not in (it.get("targetGroupArn"), _alternate(it)) for it in attached):
        raise invalid(f"The target group is not attached to the ECS service {target.resource_id}: {label}")


def _alternate(balancer: dict[str, Any]) -> str | None:
    alternate: str | None = (balancer.get("advancedConfiguration") or {}).get("alternateTargetGroupArn")
    return alternate


def _put_alarms(
    tx: Tx,
    policy: ScalingPolicy,
    tracking: Tracking,
    old: ScalingPolicy | None,
    ends: tuple[str, str],
    now: float,
) -> list[Alarm]:
    """Alarms as the rule demands; those of an old one keep their names, and their state until they are
    evaluated again."""
    known = [tx.get(ALARM, arn) for arn in old.alarms] if old is not None else []
    made: list[Alarm] = []
    for number, alarm in enumerate(alarms_of(policy, tracking, ends, now)):
        before = known[number] if number < len(known) else None
        if before is not None:
            alarm = replace(
                alarm,
                arn=before.arn,
                name=before.name,
                state=before.state,
                reason=before.reason,
                reason_data=before.reason_data,
                state_updated_at=before.state_updated_at,
                state_transitioned_at=before.state_transitioned_at,
                tags=before.tags,
            )
        made.append(tx.put(ALARM, alarm))
    return made


async def describe_scaling_policies(call: Call, params: Params) -> Result:
    names.check_scope(params)
    wanted = params.get("PolicyNames")

    def body(tx: Tx) -> Result:
        found = names.found(tx, SCALING_POLICY, call, params)
        chosen = [policy for policy in found if not wanted or policy.name in wanted]
        stepped = any(policy.steps is not None for policy in chosen)
        by_action = _alarms_by_action(tx, call) if stepped else {}

        def show(policy: ScalingPolicy) -> dict[str, Any]:
            own = (tx.get(ALARM, arn) for arn in policy.alarms)
            alarms = [alarm for alarm in own if alarm is not None]
            return _shown(policy, alarms if policy.tracking is not None else by_action.get(policy.arn, []))

        return names.page(params, "ScalingPolicies", chosen, SCALING_POLICY.id, show)

    return await call.store.read(body)


def _alarms_by_action(tx: Tx, call: Call) -> dict[str, list[Alarm]]:
    """Alarms by their actions: those of step scaling policies, which callers make."""
    found: dict[str, list[Alarm]] = {}
    for alarm in tx.all(ALARM, call.scope):
        for action in dict.fromkeys((*alarm.alarm_actions, *alarm.ok_actions, *alarm.insufficient_actions)):
            found.setdefault(action, []).append(alarm)
    return found


def _shown(policy: ScalingPolicy, alarms: list[Alarm]) -> dict[str, Any]:
    kind = _TRACKING if policy.tracking is not None else _STEP
    return {
        **names.place(policy),
        "PolicyARN": policy.arn,
        "PolicyName": policy.name,
        "PolicyType": kind,
        _MEMBERS[kind]: policy.rule,
        "Alarms": [_shown_alarm(alarm) for alarm in alarms],
        "CreationTime": policy.created_at,
    }


def _shown_alarm(alarm: Alarm) -> dict[str, str]:
    return {"AlarmName": alarm.name, "AlarmARN": alarm.arn}


async def delete_scaling_policy(call: Call, params: Params) -> Result:
    resource, name = names.resource_of(params), params["PolicyName"]
    id = part_id(call.scope.account, call.scope.region, resource, name)

    def body(tx: Tx) -> None:
        policy = tx.get(SCALING_POLICY, id)
        if policy is None:
            raise names.missing("scaling policy", params, "policy name", name)
        forget_policy(tx, policy)

    await call.store.write(body)
    return {}
