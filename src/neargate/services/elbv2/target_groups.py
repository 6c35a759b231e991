"""Target groups: create (once per name), describe, modify, delete. Called by gateway/dispatch."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import balancer_rules_health
from neargate.model.balancer import TargetGroup
from neargate.model.balancer_rules_health import APPLICATION, NETWORK
from neargate.model.record import Scope
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import names
from neargate.state.catalog import VPC
from neargate.state.catalog_balancers import TARGET, TARGET_GROUP
from neargate.state.store import Tx

MOST: Final = 3000
_SETTINGS: Final = ("protocol", "protocol_version", "port", "vpc_id", "target_type", "health_check", "tags")


async def create_target_group(call: Call, params: Params) -> Result:
    name, tags = names.name_of(params, "target group"), names.read_tags(params.get("Tags"))
    type = params.get("TargetType", "instance")
    if type != "ip":
        raise names.not_configurable(
            f"Target groups with target type '{type}' are not built into neargate: tasks on Fargate need the"
            " target type 'ip' ('instance', which AWS takes where none is given, is for EC2 instances)."
        )
    if params.get("IpAddressType", "ipv4") != "ipv4":
        raise names.unbuilt("IPv6 addresses are")
    if params.get("TargetControlPort") is not None:
        raise names.unbuilt("The target optimizer (TargetControlPort) is")
    protocol, version = _protocol(params)
    for member, word in (("Port", "A port"), ("VpcId", "A VPC ID")):
        if params.get(member) is None:
            raise names.invalid(f"{word} must be specified")
    group = TargetGroup(
        account=call.scope.account,
        region=call.scope.region,
        arn=call.scope.arn("elasticloadbalancing", f"targetgroup/{name}/{call.ids.hex(16)}"),
        name=name,
        protocol=protocol,
        protocol_version=version,
        port=params["Port"],
        vpc_id=params["VpcId"],
        target_type=type,
        health_check=balancer_rules_health.made(protocol, version, params),
        tags=tags,
        created_at=call.now(),
    )
    return {"TargetGroups": [_shown(await call.store.write(lambda tx: _keep(tx, call.scope, group)))]}


def _protocol(params: Params) -> tuple[str, str]:
    """The protocol and its version; the latter is empty where there is none."""
    protocol, version = params.get("Protocol"), params.get("ProtocolVersion")
    if protocol is None:
        raise names.invalid("A protocol must be specified")
    if protocol not in (*APPLICATION, *NETWORK):
        raise names.unbuilt(f"Target groups with the protocol '{protocol}' are")
    if protocol not in APPLICATION:
        if version:
            raise names.invalid(f"A protocol version cannot be specified for the protocol '{protocol}'")
        return protocol, ""
    version = version or "HTTP1"
    if version not in ("HTTP1", "HTTP2", "GRPC"):
        raise names.invalid(f"Protocol version '{version}' must be one of 'GRPC, HTTP1, HTTP2'")
    return protocol, version


def _keep(tx: Tx, scope: Scope, group: TargetGroup) -> TargetGroup:
    vpc = tx.get(VPC, group.vpc_id)
    if vpc is None or names.scope_of(vpc) != scope:
        raise names.invalid(f"The VPC ID '{group.vpc_id}' is not found")
    old = next(iter(tx.find(TARGET_GROUP, "name", names.name_index(scope, group.name))), None)
    if old is None:
        if len(tx.all(TARGET_GROUP, scope)) >= MOST:
            raise ApiError("TooManyTargetGroups", f"You have {MOST} target groups, which is the limit")
        return tx.insert(TARGET_GROUP, group)
    if all(getattr(old, member) == getattr(group, member) for member in _SETTINGS):
        return old
    message = f"A target group with the same name '{group.name}' exists, but with different settings"
    raise ApiError("DuplicateTargetGroupName", message)


def _shown(group: TargetGroup) -> dict[str, Any]:
    check = group.health_check
    shown: dict[str, Any] = {
        "TargetGroupArn": group.arn,
        "TargetGroupName": group.name,
        "Protocol": group.protocol,
        "Port": group.port,
        "VpcId": group.vpc_id,
        "HealthCheckProtocol": check.protocol,
        "HealthCheckPort": check.port,
        "HealthCheckEnabled": check.enabled,
        "HealthCheckIntervalSeconds": check.interval,
        "HealthCheckTimeoutSeconds": check.timeout,
        "HealthyThresholdCount": check.healthy_threshold,
        "UnhealthyThresholdCount": check.unhealthy_threshold,
        "LoadBalancerArns": list(group.balancer_arns),
        "TargetType": group.target_type,
        "IpAddressType": "ipv4",
    }
    if check.protocol != "TCP":
        member = "GrpcCode" if group.protocol_version == "GRPC" else "HttpCode"
        shown |= {"HealthCheckPath": check.path, "Matcher": {member: check.matcher}}
    if group.protocol_version:
        shown["ProtocolVersion"] = group.protocol_version
    return shown


async def describe_target_groups(call: Call, params: Params) -> Result:
    arns, given, balancer_arn = (params.get(m) for m in ("TargetGroupArns", "Names", "LoadBalancerArn"))
    if sum(1 for picked in (arns, given, balancer_arn) if picked) > 1:
        raise names.invalid(
            "Only one of a load balancer ARN, target group names and target group ARNs can be specified"
        )

    def body(tx: Tx) -> list[TargetGroup]:
        if arns:
            return [_listed(tx, call.scope, arn) for arn in dict.fromkeys(arns)]
        if given:
            return _named(tx, call.scope, given)
        groups = tx.all(TARGET_GROUP, call.scope)
        if balancer_arn:
            balancer = names.need_balancer(tx, call.scope, balancer_arn)
            return [group for group in groups if balancer.arn in group.balancer_arns]
        return groups

    found = await call.store.read(body)
    return names.page(params, "TargetGroups", found, lambda group: group.arn, _shown)


def _listed(tx: Tx, scope: Scope, arn: str) -> TargetGroup:
    found = tx.get(TARGET_GROUP, names.check_arn(scope, "targetgroup", arn))
    if found is None:
        raise ApiError("TargetGroupNotFound", "One or more target groups not found")
    return found


def _named(tx: Tx, scope: Scope, given: Sequence[str]) -> list[TargetGroup]:
    found: list[TargetGroup] = []
    for name in dict.fromkeys(given):
        known = tx.find(TARGET_GROUP, "name", names.name_index(scope, name))
        if not known:
            raise ApiError("TargetGroupNotFound", "One or more target groups not found")
        found += known
    return found


async def modify_target_group(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> TargetGroup:
        group = names.need_group(tx, call.scope, params["TargetGroupArn"])
        check = balancer_rules_health.changed(
            group.health_check, group.protocol, group.protocol_version, params
        )
        return tx.put(TARGET_GROUP, replace(group, health_check=check))

    return {"TargetGroups": [_shown(await call.store.write(body))]}


async def delete_target_group(call: Call, params: Params) -> Result:
    arn = names.check_arn(call.scope, "targetgroup", params["TargetGroupArn"])

    def body(tx: Tx) -> None:
        group = tx.get(TARGET_GROUP, arn)
        if group is None:
            return
        if group.balancer_arns:
            message = f"Target group '{arn}' is currently in use by a listener or a rule"
            raise ApiError("ResourceInUse", message)
        for id in tx.ids(TARGET, "group", arn):
            tx.delete(TARGET, id)
        tx.delete(TARGET_GROUP, arn)

    await call.store.write(body)
    return {}
