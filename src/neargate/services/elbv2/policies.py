"""What an account may have, and the security policies that there are. Called by gateway/dispatch."""

from typing import Any, Final

from neargate.kit.errors import ApiError
from neargate.model.balancer_rules_actions import MAX_GROUPS
from neargate.model.balancer_rules_conditions import MAX_VALUES, MAX_WILDCARDS
from neargate.model.balancer_rules_tls import POLICIES
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import certificates, links, listeners, load_balancers, names, rules, targets
from neargate.services.elbv2 import target_groups as groups

_LIMITS: Final = {
    "application-load-balancers": load_balancers.MOST,
    "network-load-balancers": load_balancers.MOST,
    "target-groups": groups.MOST,
    "listeners-per-application-load-balancer": listeners.MOST,
    "listeners-per-network-load-balancer": listeners.MOST,
    "rules-per-application-load-balancer": rules.MOST,
    "certificates-per-application-load-balancer": certificates.MOST,
    "certificates-per-network-load-balancer": certificates.MOST,
    "targets-per-application-load-balancer": targets.MOST,
    "targets-per-network-load-balancer": targets.MOST,
    "target-groups-per-application-load-balancer": links.MOST,
    "target-groups-per-action-on-application-load-balancer": MAX_GROUPS,
    "condition-values-per-alb-rule": MAX_VALUES,
    "condition-wildcards-per-alb-rule": MAX_WILDCARDS,
}


async def describe_account_limits(call: Call, params: Params) -> Result:
    def show(name: str) -> dict[str, Any]:
        return {"Name": name, "Max": str(_LIMITS[name])}

    return names.page(params, "Limits", list(_LIMITS), lambda name: name, show)


async def describe_ssl_policies(call: Call, params: Params) -> Result:
    given, kind = params.get("Names"), params.get("LoadBalancerType", "application")
    for name in given or ():
        if name not in POLICIES:
            raise ApiError("SSLPolicyNotFound", f"SSL policy '{name}' not found")
    found = [] if kind == "gateway" else list(given or POLICIES)
    return names.page(params, "SslPolicies", found, lambda name: name, lambda name: POLICIES[name].shown())


async def describe_capacity_reservation(call: Call, params: Params) -> Result:
    """None can be made here, and none is needed: what a client that asks for all settings is told."""
    arn = params["LoadBalancerArn"]
    await call.store.read(lambda tx: names.need_balancer(tx, call.scope, arn))
    return {"CapacityReservationState": []}
