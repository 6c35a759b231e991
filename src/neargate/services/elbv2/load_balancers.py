"""Load balancers: create (once per name), describe, delete. Called by gateway/dispatch.

A balancer is active as soon as it is written: its addresses are held, and the node's data plane follows.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.balancer import LoadBalancer
from neargate.model.balancer_rules_attributes import all_of
from neargate.model.record import Scope
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import links, names, zones
from neargate.services.elbv2.zones import Wanted
from neargate.state.catalog_balancers import LISTENER, LOAD_BALANCER, TARGET_GROUP
from neargate.state.store import Tx

MOST: Final = 50
_ABBREVIATED: Final = {"application": "app", "network": "net"}
_HOSTED_ZONES: Final = {
    "application": {
        "us-east-1": "Z35SXDOTRQ7X7K",
        "us-east-2": "Z3AADJGX6KTTL2",
        "us-west-1": "Z368ELLRRE2KJ0",
        "us-west-2": "Z1H1FL5HABSF5",
        "eu-west-1": "Z32O12XQLNTSW2",
        "eu-central-1": "Z215JYRZR1TBD5",
    },
    "network": {
        "us-east-1": "Z26RNL4JYFTOTI",
        "us-east-2": "ZLMOA37VPKANP",
        "us-west-1": "Z24FKFUX50B4VW",
        "us-west-2": "Z18D5FSROUN65G",
        "eu-west-1": "Z2IFOLAFXWLO4F",
        "eu-central-1": "Z3F0SRJ5LGBH90",
    },
}


async def create_load_balancer(call: Call, params: Params) -> Result:
    name, kind = names.name_of(params, "load balancer"), params.get("Type", "application")
    if name.startswith("internal-"):
        raise names.invalid(f"The load balancer name '{name}' cannot begin with 'internal-'")
    if kind not in _ABBREVIATED:
        raise names.unbuilt(f"Load balancers with type '{kind}' are")
    for member in ("CustomerOwnedIpv4Pool", "IpamPools"):
        if params.get(member):
            raise names.unbuilt(f"{member} is")
    if params.get("EnablePrefixForIpv6SourceNat", "off") != "off":
        raise names.unbuilt("IPv6 addresses are")
    zones.check_address_type(params.get("IpAddressType", "ipv4"))
    tags, scheme = names.read_tags(params.get("Tags")), params.get("Scheme", "internet-facing")
    wanted = zones.read_wanted(params, kind, scheme)

    def body(tx: Tx) -> LoadBalancer:
        subnets = zones.subnets_of(tx, call.scope, wanted, kind)
        vpc_id = subnets[0].vpc_id
        groups = zones.groups_of(tx, call.scope, params.get("SecurityGroups") or (), vpc_id)
        if not groups and kind == "application":
            groups = zones.default_groups(tx, vpc_id)
        draft = _draft(call, name, kind, scheme, vpc_id)
        draft = replace(draft, security_groups=groups, tags=tags)
        old = next(iter(tx.find(LOAD_BALANCER, "name", names.name_index(call.scope, name))), None)
        if old is not None:
            return _same(old, draft, wanted)
        if len(tx.all(LOAD_BALANCER, call.scope)) >= MOST:
            raise ApiError("TooManyLoadBalancers", f"You have {MOST} load balancers, which is the limit")
        return tx.insert(LOAD_BALANCER, zones.settle(tx, call, draft, wanted, subnets))

    balancer = await call.store.write(body)
    return {"LoadBalancers": [_shown(balancer) | {"State": {"Code": "provisioning"}}]}


def _draft(call: Call, name: str, kind: str, scheme: str, vpc_id: str) -> LoadBalancer:
    resource = f"loadbalancer/{_ABBREVIATED[kind]}/{name}/{call.ids.hex(16)}"
    prefix = "internal-" if kind == "application" and scheme == "internal" else ""
    return LoadBalancer(
        account=call.scope.account,
        region=call.scope.region,
        arn=call.scope.arn("elasticloadbalancing", resource),
        name=name,
        kind=kind,
        scheme=scheme,
        vpc_id=vpc_id,
        zones=(),
        dns_name=f"{prefix}{name}-{call.ids.digits(10)}.{call.scope.region}.elb.amazonaws.com",
        state="active",
        created_at=call.now(),
    )


def _same(old: LoadBalancer, draft: LoadBalancer, wanted: Sequence[Wanted]) -> LoadBalancer:
    """A repeated call makes nothing; one that says something else is refused."""
    settings = ("kind", "scheme", "vpc_id", "security_groups", "tags")
    alike = all(getattr(old, member) == getattr(draft, member) for member in settings)
    if alike and {zone.subnet_id for zone in old.zones} == {item.subnet_id for item in wanted}:
        return old
    message = f"A load balancer with the same name '{old.name}' exists, but with different settings"
    raise ApiError("DuplicateLoadBalancerName", message)


def _shown(balancer: LoadBalancer) -> dict[str, Any]:
    hosted = _HOSTED_ZONES[balancer.kind]
    shown = {
        "LoadBalancerArn": balancer.arn,
        "DNSName": balancer.dns_name,
        "CanonicalHostedZoneId": hosted.get(balancer.region, hosted["us-east-1"]),
        "CreatedTime": balancer.created_at,
        "LoadBalancerName": balancer.name,
        "Scheme": balancer.scheme,
        "VpcId": balancer.vpc_id,
        "State": {
            "Code": balancer.state,
            **({"Reason": balancer.state_reason} if balancer.state_reason else {}),
        },
        "Type": balancer.kind,
        "AvailabilityZones": zones.shown(balancer),
        "IpAddressType": balancer.ip_address_type,
        **zones.private_link(balancer),
    }
    if balancer.security_groups:
        shown["SecurityGroups"] = list(balancer.security_groups)
    return shown


async def describe_load_balancers(call: Call, params: Params) -> Result:
    arns, given = params.get("LoadBalancerArns"), params.get("Names")
    if arns and given:
        raise names.invalid("Load balancer names and load balancer ARNs cannot be specified at the same time")

    def body(tx: Tx) -> list[LoadBalancer]:
        if arns:
            return [names.need_balancer(tx, call.scope, arn) for arn in dict.fromkeys(arns)]
        if given:
            return _named(tx, call.scope, given)
        return tx.all(LOAD_BALANCER, call.scope)

    found = await call.store.read(body)
    return names.page(params, "LoadBalancers", found, lambda balancer: balancer.arn, _shown)


def _named(tx: Tx, scope: Scope, given: Sequence[str]) -> list[LoadBalancer]:
    found: dict[str, list[LoadBalancer]] = {}
    for name in given:
        known = tx.find(LOAD_BALANCER, "name", names.name_index(scope, name))
        found[name] = known
    missing = [name for name, balancers in found.items() if not balancers]
    if missing:
        raise ApiError("LoadBalancerNotFound", f"Load balancers '[{', '.join(missing)}]' not found")
    return [balancer for balancers in found.values() for balancer in balancers]


async def delete_load_balancer(call: Call, params: Params) -> Result:
    arn = names.check_arn(call.scope, "loadbalancer", params["LoadBalancerArn"])

    def body(tx: Tx) -> None:
        balancer = tx.get(LOAD_BALANCER, arn)
        if balancer is None:
            return
        if all_of(balancer)["deletion_protection.enabled"] == "true":
            message = f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
            raise ApiError("OperationNotPermitted", message)
        for listener in tx.find(LISTENER, "balancer", arn):
            links.forget_listener(tx, listener)
        for group in tx.all(TARGET_GROUP, call.scope):
            links.unlink(tx, group, arn, call.now())
        zones.leave(tx, balancer)
        tx.delete(LOAD_BALANCER, arn)

    await call.store.write(body)
    return {}
