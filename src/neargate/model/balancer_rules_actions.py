"""Actions of listeners and rules: what is valid, and the one shape in which they are kept. Pure.

Called by services/elbv2; the node's data plane makes routes of the result, control/services shifts weights.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from neargate.kit.errors import ApiError

Action = dict[str, Any]
MAX_GROUPS: Final = 5
_MAX_WEIGHT: Final = 999
_WEEK: Final = 604_800
_CONFIGS: Final = {
    "forward": "ForwardConfig",
    "redirect": "RedirectConfig",
    "fixed-response": "FixedResponseConfig",
}
_REFUSED: Final = ("authenticate-oidc", "authenticate-cognito", "jwt-validation")
_CONTENT_TYPES: Final = (
    "text/plain",
    "text/css",
    "text/html",
    "application/javascript",
    "application/json",
)
_KEYWORD: Final = re.compile(r"#\{([^}]*)\}?")
_KEYWORDS: Final = frozenset({"protocol", "host", "port", "path", "query"})
_REDIRECT: Final = {
    "Protocol": "#{protocol}",
    "Port": "#{port}",
    "Host": "#{host}",
    "Path": "/#{path}",
    "Query": "#{query}",
}


def invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message)


def not_valid(message: str) -> ApiError:
    return ApiError("InvalidLoadBalancerAction", message)


def made(given: Sequence[Mapping[str, Any]], *, kind: str, protocol: str) -> tuple[Action, ...]:
    """The actions of a request as they are kept: exactly one that routes.

    kind -- of the load balancer. protocol -- of the listener.

    Raises ValidationError, InvalidLoadBalancerAction, TooManyActions.
    """
    if not given:
        raise invalid("Actions must be specified")
    for item in given:
        if item["Type"] in _REFUSED:
            raise not_valid(f"Actions of the type '{item['Type']}' are not built into neargate.")
    if len(given) > 1:
        raise ApiError("TooManyActions", "A rule can have only one action that routes")
    item = given[0]
    type = item["Type"]
    if kind != "application" and type != "forward":
        raise not_valid(f"Action type '{type}' is not supported for load balancers with type '{kind}'")
    if len(kinds := [name for name in _CONFIGS.values() if item.get(name)]) and kinds != [_CONFIGS[type]]:
        raise not_valid(f"Only {_CONFIGS[type]} can be specified for actions of the type '{type}'")
    if type != "forward" and item.get("TargetGroupArn"):
        raise not_valid("A target group ARN can only be specified for actions of the type 'forward'")
    order = {"Order": item["Order"]} if item.get("Order") is not None else {}
    if type == "forward":
        return ({"Type": type, **order, "ForwardConfig": _forward(item, kind)},)
    if type == "redirect":
        return ({"Type": type, **order, "RedirectConfig": _redirect(item, protocol)},)
    return ({"Type": type, **order, "FixedResponseConfig": _fixed(item)},)


def _forward(item: Mapping[str, Any], kind: str) -> dict[str, Any]:
    config = item.get("ForwardConfig") or {}
    listed: list[dict[str, Any]] = []
    for tuple_ in config.get("TargetGroups") or ():
        arn, weight = tuple_.get("TargetGroupArn"), tuple_.get("Weight")
        if not arn:
            raise invalid("A target group ARN must be specified")
        if weight is not None and not 0 <= weight <= _MAX_WEIGHT:
            raise invalid(f"The weight '{weight}' of a target group must be between 0 and {_MAX_WEIGHT}")
        listed.append({"TargetGroupArn": arn, "Weight": 1 if weight is None else weight})
    arns = [entry["TargetGroupArn"] for entry in listed]
    if single := item.get("TargetGroupArn"):
        if listed and arns != [single]:
            raise not_valid("TargetGroupArn must be the only target group of ForwardConfig if both are given")
        listed = listed or [{"TargetGroupArn": single, "Weight": 1}]
    if not listed:
        raise invalid("A target group ARN must be specified")
    if len(set(arns)) != len(arns):
        raise not_valid("A target group can be given only once in an action")
    if len(listed) > MAX_GROUPS:
        raise ApiError("TooManyTargetGroups", f"An action can forward to at most {MAX_GROUPS} target groups")
    return {"TargetGroups": listed, "TargetGroupStickinessConfig": _stickiness(config, kind)}


def _stickiness(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    given = config.get("TargetGroupStickinessConfig") or {}
    enabled, seconds = bool(given.get("Enabled")), given.get("DurationSeconds")
    if enabled and kind != "application":
        raise not_valid(f"Target group stickiness is not supported for load balancers with type '{kind}'")
    if enabled and seconds is None:
        raise invalid("DurationSeconds must be specified if target group stickiness is enabled")
    if seconds is None:
        return {"Enabled": False}
    if not 1 <= seconds <= _WEEK:
        raise invalid(f"The stickiness DurationSeconds '{seconds}' must be between 1 and {_WEEK}")
    return {"Enabled": enabled, "DurationSeconds": seconds}


def _redirect(item: Mapping[str, Any], protocol: str) -> dict[str, Any]:
    config = item.get("RedirectConfig")
    if not config:
        raise not_valid("A redirect action must have a RedirectConfig")
    made = {name: config.get(name) or usual for name, usual in _REDIRECT.items()}
    if config.get("Query") == "":
        made["Query"] = ""
    for name, text in made.items():
        for keyword in _KEYWORD.findall(text):
            if keyword not in _KEYWORDS:
                raise not_valid(f"The redirect {name} '{text}' holds the unknown keyword '#{{{keyword}}}'")
        _check_text(text, f"redirect {name}")
    if protocol == "HTTPS" and made["Protocol"] == "HTTP":
        raise not_valid("A request cannot be redirected from HTTPS to HTTP")
    port = made["Port"]
    if port != "#{port}" and not (
        port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535
    ):
        raise invalid(f"The redirect Port '{port}' must be '#{{port}}' or a number from 1 to 65535")
    if not made["Path"].startswith("/"):
        raise invalid(f"The redirect Path '{made['Path']}' must begin with '/'")
    if all(made[name] == _REDIRECT[name] for name in ("Protocol", "Port", "Host", "Path")):
        raise not_valid("The redirect configuration is not valid because it creates a loop.")
    return {**made, "StatusCode": config["StatusCode"]}


def _fixed(item: Mapping[str, Any]) -> dict[str, Any]:
    config = item.get("FixedResponseConfig")
    if not config:
        raise not_valid("A fixed-response action must have a FixedResponseConfig")
    type = config.get("ContentType")
    if type and type not in _CONTENT_TYPES:
        raise invalid(f"The fixed response ContentType '{type}' must be one of '{', '.join(_CONTENT_TYPES)}'")
    body = config.get("MessageBody")
    made = {"StatusCode": config["StatusCode"]}
    if body:
        try:
            body.encode()
        except UnicodeEncodeError:
            raise invalid("The fixed response MessageBody is not valid text") from None
        made["MessageBody"] = body
    if type:
        made["ContentType"] = type
    return made


def _check_text(text: str, what: str) -> None:
    if any(not 0x20 < ord(character) < 0x7F for character in text):
        raise invalid(f"The {what} must consist of printable ASCII characters without spaces")


def target_groups(actions: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """ARNs of the groups that the actions forward to, each once."""
    return tuple(
        dict.fromkeys(
            entry["TargetGroupArn"]
            for action in actions
            for entry in action.get("ForwardConfig", {}).get("TargetGroups", ())
        )
    )
