"""Listeners: create (once per port), describe, modify, delete. Called by gateway/dispatch."""

from typing import Any, Final

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import balancer_rules_actions, balancer_rules_tls
from neargate.model.balancer import Listener, LoadBalancer
from neargate.model.balancer_rules_actions import Action, target_groups
from neargate.services.call import Call, Params, Result
from neargate.services.elbv2 import links, names
from neargate.state import certificates
from neargate.state.catalog_balancers import LISTENER, LOAD_BALANCER
from neargate.state.store import Tx

MOST: Final = 50
_PROTOCOLS: Final = {"application": ("HTTP", "HTTPS"), "network": ("TCP", "TCP_UDP", "TLS", "UDP")}
ENCRYPTED: Final = ("HTTPS", "TLS")


async def create_listener(call: Call, params: Params) -> Result:
    tags = names.read_tags(params.get("Tags"))
    _check_mutual(params)
    for member, word in (("Port", "port"), ("Protocol", "protocol")):
        if params.get(member) is None:
            raise names.invalid(f"A listener {word} must be specified")

    def body(tx: Tx) -> Listener:
        balancer = names.need_balancer(tx, call.scope, params["LoadBalancerArn"])
        actions = _actions(params["DefaultActions"], balancer, params["Protocol"])
        listener = Listener(
            account=balancer.account,
            region=balancer.region,
            arn=f"{balancer.arn.replace(':loadbalancer/', ':listener/')}/{call.ids.hex(16)}",
            balancer_arn=balancer.arn,
            port=params["Port"],
            protocol=params["Protocol"],
            actions=actions,
            tags=tags,
            created_at=call.now(),
        )
        listener = _with_security(tx, listener, balancer, params)
        others = tx.find(LISTENER, "balancer", balancer.arn)
        for other in others:
            if other.port == listener.port:
                return _same(other, listener)
        if len(others) >= MOST:
            raise ApiError("TooManyListeners", f"A load balancer can have {MOST} listeners at most")
        links.check(tx, balancer, listener.protocol, target_groups(actions))
        tx.insert(LISTENER, listener)
        links.relink(tx, balancer.arn, target_groups(actions), call.now())
        return listener

    return {"Listeners": [_shown(await call.store.write(body))]}


def _check_mutual(params: Params) -> None:
    if (params.get("MutualAuthentication") or {}).get("Mode", "off") != "off":
        raise names.unbuilt("Mutual authentication (certificates of clients) is")


def _actions(given: Any, balancer: LoadBalancer, protocol: str) -> tuple[Action, ...]:
    allowed = _PROTOCOLS[balancer.kind]
    if protocol not in allowed:
        raise names.invalid(f"Listener protocol '{protocol}' must be one of '{', '.join(allowed)}'")
    return balancer_rules_actions.made(given, kind=balancer.kind, protocol=protocol)


def _same(old: Listener, new: Listener) -> Listener:
    settings = ("protocol", "actions", "ssl_policy", "alpn_policy", "tags")
    alike = all(getattr(old, member) == getattr(new, member) for member in settings)
    if alike and old.certificates[:1] == new.certificates[:1]:
        return old
    raise _duplicate(old)


def _duplicate(old: Listener) -> ApiError:
    message = f"A listener already exists on this port for this load balancer '{old.balancer_arn}'"
    return ApiError("DuplicateListener", message)


def _with_security(tx: Tx, listener: Listener, balancer: LoadBalancer, params: Params) -> Listener:
    """The listener with the certificate, policy and ALPN that the request asks for, or that it has."""
    protocol, given = listener.protocol, params.get("Certificates")
    policy, alpn = params.get("SslPolicy"), params.get("AlpnPolicy")
    if alpn and protocol != "TLS":
        raise names.not_configurable("An ALPN policy can only be specified for TLS listeners")
    if protocol not in ENCRYPTED:
        if given or policy:
            word = "certificate" if given else "security policy"
            raise names.invalid(f"A {word} cannot be specified for {protocol} listeners")
        return replace(listener, certificates=(), ssl_policy="", alpn_policy="")
    served = listener.certificates
    if given:
        served = (_certificate(tx, listener, given), *served[1:])
    if not served:
        raise names.invalid(f"A certificate must be specified for {protocol} listeners")
    policy = policy or listener.ssl_policy or balancer_rules_tls.DEFAULT
    if policy not in balancer_rules_tls.POLICIES:
        raise ApiError("SSLPolicyNotFound", f"SSL policy '{policy}' not found")
    return replace(
        listener,
        certificates=tuple(dict.fromkeys(served)),
        ssl_policy=policy,
        alpn_policy=_alpn(alpn) if alpn else listener.alpn_policy,
    )


def _certificate(tx: Tx, listener: Listener, given: Any) -> str:
    if len(given) > 1:
        raise ApiError("TooManyCertificates", "Exactly one certificate can be specified for a listener")
    if given[0].get("IsDefault") is not None:
        raise names.invalid("IsDefault cannot be specified for the certificate of a listener")
    return need_certificate(tx, listener, given[0].get("CertificateArn") or "")


def need_certificate(tx: Tx, listener: Listener, arn: str) -> str:
    """An imported certificate's ARN. Raise CertificateNotFound."""
    if not arn:
        raise names.invalid("A certificate ARN must be specified")
    if certificates.find(tx, names.scope_of(listener), arn) is None:
        raise ApiError("CertificateNotFound", f"Certificate '{arn}' not found")
    return arn


def _alpn(given: Any) -> str:
    allowed = balancer_rules_tls.ALPN
    if len(given) != 1:
        raise names.not_configurable("Exactly one ALPN policy can be specified")
    if given[0] not in allowed:
        raise ApiError(
            "ALPNPolicyNotFound",
            f"ALPN policy '{given[0]}' must be one of '{', '.join(allowed)}'",
        )
    return str(given[0])


def shown_actions(actions: tuple[Action, ...]) -> list[dict[str, Any]]:
    """As the API shows them: the ARN of a forward to one group also stands by itself."""
    shown = []
    for action in actions:
        groups = action.get("ForwardConfig", {}).get("TargetGroups", ())
        shown.append(
            {**action, **({"TargetGroupArn": groups[0]["TargetGroupArn"]} if len(groups) == 1 else {})}
        )
    return shown


def _shown(listener: Listener) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "ListenerArn": listener.arn,
        "LoadBalancerArn": listener.balancer_arn,
        "Port": listener.port,
        "Protocol": listener.protocol,
        "DefaultActions": shown_actions(listener.actions),
    }
    if listener.protocol in ENCRYPTED:
        shown["Certificates"] = [{"CertificateArn": arn} for arn in listener.certificates[:1]]
        shown["SslPolicy"] = listener.ssl_policy
    if listener.protocol == "HTTPS":
        shown["MutualAuthentication"] = {"Mode": "off"}
    if listener.alpn_policy:
        shown["AlpnPolicy"] = [listener.alpn_policy]
    return shown


async def describe_listeners(call: Call, params: Params) -> Result:
    balancer_arn, arns = params.get("LoadBalancerArn"), params.get("ListenerArns")
    if not balancer_arn and not arns:
        raise names.invalid("You must specify either listener ARNs or a load balancer ARN")
    if balancer_arn and arns:
        raise names.invalid("Listener ARNs and a load balancer ARN cannot be specified at the same time")

    def body(tx: Tx) -> list[Listener]:
        if arns:
            return [names.need_listener(tx, call.scope, arn) for arn in dict.fromkeys(arns)]
        balancer = names.need_balancer(tx, call.scope, balancer_arn or "")
        return tx.find(LISTENER, "balancer", balancer.arn)

    found = await call.store.read(body)
    return names.page(params, "Listeners", found, lambda listener: listener.arn, _shown)


async def modify_listener(call: Call, params: Params) -> Result:
    _check_mutual(params)

    def body(tx: Tx) -> Listener:
        old = names.need_listener(tx, call.scope, params["ListenerArn"])
        balancer = need_balancer_of(tx, old)
        protocol, port = params.get("Protocol", old.protocol), params.get("Port", old.port)
        given: Any = params.get("DefaultActions")
        actions = _actions(old.actions if given is None else given, balancer, protocol)
        new = replace(old, port=port, protocol=protocol, actions=actions)
        new = _with_security(tx, new, balancer, params)
        for other in tx.find(LISTENER, "balancer", balancer.arn):
            if other.port == port and other.arn != old.arn:
                raise _duplicate(other)
        tx.put(LISTENER, new)
        groups = links.groups_of(tx, new)
        links.check(tx, balancer, protocol, groups)
        links.relink(tx, balancer.arn, {*groups, *target_groups(old.actions)}, call.now())
        return new

    return {"Listeners": [_shown(await call.store.write(body))]}


def need_balancer_of(tx: Tx, listener: Listener) -> LoadBalancer:
    balancer = tx.get(LOAD_BALANCER, listener.balancer_arn)
    if balancer is None:  # A listener goes with its balancer, in one transaction.
        raise ApiError("LoadBalancerNotFound", f"Load balancer '{listener.balancer_arn}' not found")
    return balancer


async def delete_listener(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        listener = names.need_listener(tx, call.scope, params["ListenerArn"])
        groups = links.groups_of(tx, listener)
        links.forget_listener(tx, listener)
        links.relink(tx, listener.balancer_arn, groups, call.now())

    await call.store.write(body)
    return {}
