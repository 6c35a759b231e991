"""Targets: register, deregister, and how they are. Called by gateway/dispatch.

The states are the data plane's: it checks the health of what is registered, and deletes what has drained.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.addresses import is_reserved
from neargate.model.balancer import Target, TargetGroup, target_id
from neargate.model.balancer_rules_attributes import all_of
from neargate.model.balancer_rules_health import TRAFFIC_PORT
from neargate.model.network import Subnet
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import names
from neargate.state.catalog import INTERFACE, SUBNET
from neargate.state.catalog_balancers import LOAD_BALANCER, TARGET
from neargate.state.store import Tx

MOST: Final = 1000
_PRIVATE: Final = tuple(
    ipaddress.IPv4Network(cidr) for cidr in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
)
REGISTERING: Final = ("Elb.RegistrationInProgress", "Target registration is in progress")
DRAINING: Final = ("Target.DeregistrationInProgress", "Target deregistration is in progress")
_NOT_IN_USE: Final = (
    "Target.NotInUse",
    "Target group is not configured to receive traffic from the load balancer",
)
_ZONE_OFF: Final = (
    "Target.NotInUse",
    "Target is in an Availability Zone that is not enabled for the load balancer",
)
_NOT_REGISTERED: Final = ("Target.NotRegistered", "Target is not registered to the target group")
_DISABLED: Final = ("Target.HealthCheckDisabled", "Health checks are disabled for this target group")


async def register_targets(call: Call, params: Params) -> Result:
    if not params["Targets"]:
        raise names.invalid("At least one target must be specified")

    def body(tx: Tx) -> None:
        group = names.need_group(tx, call.scope, params["TargetGroupArn"])
        subnets = tx.find(SUBNET, "vpc", group.vpc_id)
        made = {}
        for given in params["Targets"]:
            target = _target(tx, call, group, subnets, given)
            made[TARGET.id(target)] = target
        new = sum(1 for id in made if tx.get(TARGET, id) is None)
        if new + tx.count(TARGET, "group", group.arn) > MOST:
            message = f"A target group can have {MOST} targets at most"
            raise ApiError("TooManyTargets", message)
        for id, target in made.items():
            old = tx.get(TARGET, id)
            if old is None or old.state == "draining":
                tx.put(TARGET, target)

    await call.store.write(body)
    return {}


def _target(
    tx: Tx, call: Call, group: TargetGroup, subnets: Sequence[Subnet], given: Mapping[str, Any]
) -> Target:
    """A target as it is registered. Raise InvalidTarget, ValidationError."""
    address = _address(given["Id"])
    if given.get("QuicServerId") is not None:
        raise names.invalid("QuicServerId can only be specified for the protocols QUIC and TCP_QUIC")
    ip = ipaddress.IPv4Address(address)
    subnet = next((s for s in subnets if ip in ipaddress.IPv4Network(s.cidr)), None)
    asked = given.get("AvailabilityZone")
    if asked and asked != "all" and asked not in {s.zone for s in subnets}:
        raise names.invalid(f"Availability Zone '{asked}' is not one of the target group's VPC")
    if subnet is None:
        if not any(ip in network for network in _PRIVATE):
            raise ApiError("InvalidTarget", f"The IP address '{address}' is not a valid private address")
        if not asked:
            raise ApiError(
                "InvalidTarget",
                f"The IP address '{address}' is outside the VPC of the target group: its Availability Zone"
                " must be specified as 'all'",
            )
    elif is_reserved(subnet.cidr, address):
        raise ApiError(
            "InvalidTarget",
            f"The IP address '{address}' cannot be used as a target, as its subnet reserves it",
        )
    elif _is_a_balancers(tx, subnet, address):
        raise ApiError(
            "InvalidTarget",
            f"The IP address '{address}' cannot be used as a target, as it is in use by a load balancer",
        )
    made = Target(
        account=group.account,
        region=group.region,
        group_arn=group.arn,
        address=address,
        port=given.get("Port") or group.port,
        zone=subnet.zone if subnet is not None and asked != "all" else (asked or ""),
        registered_at=call.now(),
    )
    return registering(made, call.now())


def registering(target: Target, now: float) -> Target:
    """As a target is before its first check."""
    reason, description = REGISTERING
    return replace(target, state="initial", reason=reason, description=description, changed_at=now)


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        message = f"The target ID '{text}' is not a valid IPv4 address"
        raise ApiError("InvalidTarget", message) from None


def _is_a_balancers(tx: Tx, subnet: Subnet, address: str) -> bool:
    held = tx.find(INTERFACE, "address", f"{subnet.id}/{address}")
    return any(interface.description.startswith("ELB ") for interface in held)


async def deregister_targets(call: Call, params: Params) -> Result:
    """Begin to drain; what no balancer uses, or need not wait, is gone at once."""

    def body(tx: Tx) -> None:
        group = names.need_group(tx, call.scope, params["TargetGroupArn"])
        delay = all_of(group)["deregistration_delay.timeout_seconds"]
        for given in params["Targets"]:
            for target in _registered(tx, group, given):
                if not group.balancer_arns or delay == "0":
                    tx.delete(TARGET, TARGET.id(target))
                elif target.state != "draining":
                    tx.put(TARGET, drained(target, call.now()))

    await call.store.write(body)
    return {}


def drained(target: Target, now: float) -> Target:
    reason, description = DRAINING
    return replace(
        target, state="draining", reason=reason, description=description, draining_at=now, changed_at=now
    )


def _registered(tx: Tx, group: TargetGroup, given: Mapping[str, Any]) -> list[Target]:
    """The targets that a request names: without a port, that of the group."""
    id = target_id(group.arn, _address(given["Id"]), given.get("Port") or group.port)
    found = tx.get(TARGET, id)
    return [] if found is None else [found]


async def describe_target_health(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> list[dict[str, Any]]:
        group = names.need_group(tx, call.scope, params["TargetGroupArn"])
        zones = _zones(tx, group)
        asked = params.get("Targets")
        if not asked:
            return [_shown(group, target, zones) for target in tx.find(TARGET, "group", group.arn)]
        shown = []
        for given in asked:
            found = _registered(tx, group, given)
            shown += [_shown(group, target, zones) for target in found] or [_unknown(group, given)]
        return shown

    return {"TargetHealthDescriptions": await call.store.read(body)}


def _zones(tx: Tx, group: TargetGroup) -> frozenset[str]:
    """Where the balancers that lead to the group stand."""
    balancers = (tx.get(LOAD_BALANCER, arn) for arn in group.balancer_arns)
    return frozenset(zone.zone for balancer in balancers if balancer for zone in balancer.zones)


def _shown(group: TargetGroup, target: Target, zones: Iterable[str]) -> dict[str, Any]:
    described: dict[str, Any] = {"Id": target.address, "Port": target.port}
    if target.zone:
        described["AvailabilityZone"] = target.zone
    port = group.health_check.port
    shown = {
        "Target": described,
        "HealthCheckPort": str(target.port) if port == TRAFFIC_PORT else port,
        "TargetHealth": _health(group, target, zones),
    }
    if group.protocol in ("HTTP", "HTTPS"):
        shown["AdministrativeOverride"] = {
            "State": "no_override",
            "Reason": "AdministrativeOverride.NoOverride",
            "Description": "No override is currently active on target",
        }
    return shown


def _health(group: TargetGroup, target: Target, zones: Iterable[str]) -> dict[str, str]:
    if target.state == "draining":
        return _state("draining", DRAINING)
    if not group.balancer_arns:
        return _state("unused", _NOT_IN_USE)
    if not group.health_check.enabled:
        return _state("unavailable", _DISABLED)
    if target.state == "initial" and target.zone not in ("", "all", *zones):
        return _state("unused", _ZONE_OFF)
    if target.state == "healthy":
        return {"State": "healthy"}
    return _state(target.state, (target.reason, target.description))


def _state(state: str, why: tuple[str, str]) -> dict[str, str]:
    reason, description = why
    return {"State": state, **({"Reason": reason} if reason else {}), "Description": description}


def _unknown(group: TargetGroup, given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Target": {"Id": given["Id"], "Port": given.get("Port") or group.port},
        "TargetHealth": _state("unused", _NOT_REGISTERED),
    }
