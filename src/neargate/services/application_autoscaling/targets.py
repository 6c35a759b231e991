"""RegisterScalableTarget, DescribeScalableTargets, DeregisterScalableTarget. Called by gateway/dispatch."""

from typing import Any

from msgspec.structs import replace

from neargate.model.record import Scope
from neargate.model.scaling import ScalableTarget, Suspended, service_arn, target_id
from neargate.model.scaling_policy import invalid
from neargate.services.application_autoscaling import names, tags
from neargate.services.call import Call, Params, Result
from neargate.state.catalog_scaling import SCALABLE_TARGET, forget_target
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Tx

_SUSPENDED = {
    "DynamicScalingInSuspended": "scale_in",
    "DynamicScalingOutSuspended": "scale_out",
    "ScheduledScalingSuspended": "scheduled",
}


async def register_scalable_target(call: Call, params: Params) -> Result:
    resource = names.resource_of(params)
    minimum, maximum = (names.capacity(params, name) for name in ("MinCapacity", "MaxCapacity"))
    given_tags = tags.read(params.get("Tags") or {}, {})
    scope, id = call.scope, call.ids.hex(32)

    def body(tx: Tx) -> ScalableTarget:
        old = tx.get(SCALABLE_TARGET, target_id(scope.account, scope.region, resource))
        if old is None:
            target = _new(tx, scope, resource, id, minimum, maximum, call.now())
        elif given_tags:
            raise invalid("Tags can only be given when a scalable target is registered; use TagResource")
        else:
            target = replace(
                old,
                minimum=old.minimum if minimum is None else minimum,
                maximum=old.maximum if maximum is None else maximum,
            )
        names.check_bounds(target.minimum, target.maximum)
        target = replace(
            target,
            suspended=_suspended(params.get("SuspendedState") or {}, target.suspended),
            tags=given_tags or target.tags,
            bound=True,
            bound_cause="",
        )
        return tx.put(SCALABLE_TARGET, target)

    return {"ScalableTargetARN": (await call.store.write(body)).arn}


def _new(
    tx: Tx, scope: Scope, resource: str, id: str, minimum: int | None, maximum: int | None, now: float
) -> ScalableTarget:
    if minimum is None or maximum is None:
        raise invalid("MinCapacity and MaxCapacity must be specified when registering a new scalable target")
    arn = service_arn(scope.account, scope.region, resource)
    service = tx.get(SERVICE, arn)
    if service is None or service.status == "INACTIVE":
        raise invalid(f"ECS service doesn't exist: {resource}")
    return ScalableTarget(
        account=scope.account,
        region=scope.region,
        arn=scope.arn("application-autoscaling", f"scalable-target/{id}"),
        resource_id=resource,
        service_arn=arn,
        minimum=minimum,
        maximum=maximum,
        role_arn=(
            f"arn:aws:iam::{scope.account}:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/"
            "AWSServiceRoleForApplicationAutoScaling_ECSService"
        ),
        created_at=now,
    )


def _suspended(given: Params, old: Suspended) -> Suspended:
    """What is not given stays as it was."""
    changed = {field: bool(given[name]) for name, field in _SUSPENDED.items() if given.get(name) is not None}
    return replace(old, **changed)


async def describe_scalable_targets(call: Call, params: Params) -> Result:
    names.check_scope(params)
    wanted = params.get("ResourceIds")
    found = await call.store.read(lambda tx: names.found(tx, SCALABLE_TARGET, call, params))
    chosen = [target for target in found if not wanted or target.resource_id in wanted]
    return names.page(params, "ScalableTargets", chosen, SCALABLE_TARGET.id, _shown)


def _shown(target: ScalableTarget) -> dict[str, Any]:
    return {
        **names.place(target),
        "MinCapacity": target.minimum,
        "MaxCapacity": target.maximum,
        "RoleARN": target.role_arn,
        "CreationTime": target.created_at,
        "SuspendedState": {name: getattr(target.suspended, field) for name, field in _SUSPENDED.items()},
        "ScalableTargetARN": target.arn,
    }


async def deregister_scalable_target(call: Call, params: Params) -> Result:
    names.resource_of(params)
    await call.store.write(lambda tx: forget_target(tx, names.need_target(tx, call.scope, params)))
    return {}
