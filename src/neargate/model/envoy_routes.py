"""A listener's rules as Envoy routes, in the order in which they are tried. Called by model/envoy.py.

Only what lies here changes when rules or weights do: no connection is touched.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neargate.model import envoy_pages
from neargate.model import envoy_stickiness as stickiness
from neargate.model.balancer import Listener, ListenerRule, LoadBalancer, TargetGroup
from neargate.model.balancing import enabled, path_of
from neargate.model.envoy_clusters import name
from neargate.model.envoy_conditions import SOURCE_HEADER, match
from neargate.model.envoy_headers import header as _header
from neargate.model.envoy_headers import of_responses, of_tls
from neargate.model.envoy_redirects import redirect

_EXT = "type.googleapis.com/envoy.extensions."
TRACE_HEADER = "x-neargate-trace"
"""A random UUID, of which a trace's id takes eight digits; the other sixteen are the microsecond."""
_OWN_HEADERS = ("x-envoy-external-address", "x-envoy-internal", SOURCE_HEADER, TRACE_HEADER)
WAKING = "envoy.filters.http.ext_authz"
WOKEN = "group"
"""By which name the node is told the group that a request waits for."""
# Sent again only where no target can have worked on it: no connection, or refused before it was read.
_UNREAD = "connect-failure,refused-stream,reset-before-request"
# What only reads may be sent again also when the connection breaks before an answer has begun.
_BROKEN = "connect-failure,refused-stream,reset"
_SAFE = {"name": ":method", "string_match": {"exact": "GET"}}
_RETRIES = 3


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a forward leads: a target group, and what its requests go through."""

    cluster: str
    cookie: str
    filtered: dict[str, Any]


def weights(action: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Target groups of a forward and their weights; nothing for other actions."""
    if action.get("Type") != "forward":
        return []
    groups = action["ForwardConfig"]["TargetGroups"]
    return [(group["TargetGroupArn"], int(group.get("Weight", 1))) for group in groups]


def routes(
    balancer: LoadBalancer,
    listener: Listener,
    rules: Sequence[ListenerRule],
    groups: Mapping[str, TargetGroup],
    sleeping: Collection[str] = (),
    hour: int = 0,
) -> dict[str, Any]:
    """A RouteConfiguration. sleeping -- ARNs of groups whose requests wait for their first target.
    hour -- in which traces begin, as a moment: Envoy cannot write the very second in hexadecimal digits."""
    ways = {arn: _way(group, arn in sleeping) for arn, group in groups.items()}
    found = [
        {**route, "name": str(rule.priority)}
        for rule in rules
        for route in _routes(match(rule.conditions), rule.actions, listener, ways)
    ]
    default = _routes({"prefix": "/"}, listener.actions, listener, ways)
    found += [{**route, "name": "0"} for route in default]
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": found,
        "request_headers_to_add": [*_headers(balancer, listener, hour), *of_tls(balancer, listener)],
        **of_responses(listener),
    }
    # Of the whole, as that comes last: what is added above may be made of what is removed here.
    removed = {"request_headers_to_remove": _removed(balancer)}
    return {"name": path_of(listener.arn), "virtual_hosts": [host], **removed}


def _headers(balancer: LoadBalancer, listener: Listener, hour: int) -> list[dict[str, Any]]:
    random = f"%REQ({TRACE_HEADER}):8%%START_TIME(%s%6f)%"
    added = [
        _header("X-Forwarded-Port", str(listener.port)),
        _header("X-Amzn-Trace-Id", f"Root=1-{hour:08x}-{random}", "ADD_IF_ABSENT"),
    ]
    mode = balancer.attributes.get("routing.http.xff_header_processing.mode", "append")
    if mode == "append" and enabled(balancer.attributes, "routing.http.xff_client_port.enabled"):
        added.append(
            _header("X-Forwarded-For", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "APPEND_IF_EXISTS_OR_ADD")
        )
    return added


def _removed(balancer: LoadBalancer) -> list[str]:
    mode = balancer.attributes.get("routing.http.xff_header_processing.mode", "append")
    return [*_OWN_HEADERS, *(["x-forwarded-for"] if mode == "remove" else [])]


def _routes(
    matched: dict[str, Any],
    actions: Sequence[Mapping[str, Any]],
    listener: Listener,
    ways: Mapping[str, _Way],
) -> list[dict[str, Any]]:
    last = max(actions, key=lambda action: int(action.get("Order", 1)))
    match last["Type"]:
        case "forward":
            return _forward(matched, last, ways)
        case "redirect":
            return [{"match": matched, **redirect(last["RedirectConfig"], listener)}]
        case "fixed-response":
            return [{"match": matched, **_fixed(last["FixedResponseConfig"])}]
        case other:
            raise ValueError(f"no such action: {other}")


def _fixed(config: Mapping[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"status": int(config["StatusCode"])}
    if body := config.get("MessageBody"):
        answer["body"] = {"inline_string": body}
    kind = config.get("ContentType") or "text/plain"
    return {
        "direct_response": answer,
        "response_headers_to_add": [_header("content-type", f"{kind}; charset=utf-8")],
    }


def _forward(
    matched: dict[str, Any], action: Mapping[str, Any], ways: Mapping[str, _Way]
) -> list[dict[str, Any]]:
    used = [(ways[arn], weight) for arn, weight in weights(action) if weight > 0 and arn in ways]
    if not used:
        return [{"match": matched, "direct_response": envoy_pages.unavailable()}]
    sticky = action["ForwardConfig"].get("TargetGroupStickinessConfig") or {}
    if len(used) == 1:
        return _reading_or_not(matched, _to_one(used[0][0]))
    if not sticky.get("Enabled"):
        return _reading_or_not(matched, _to_many(used, []))
    # Who was led to one of the groups before says so by its cookie.
    seconds = int(sticky.get("DurationSeconds", 3600))
    found = []
    for way, _ in used:
        own = {**matched, "headers": [*matched.get("headers", ()), stickiness.led_back(way.cookie)]}
        back = {"response_headers_to_add": stickiness.kept(way.cookie, seconds)}
        found += [{**route, **back} for route in _reading_or_not(own, _to_one(way))]
    return found + _reading_or_not(
        matched, _to_many(used, [stickiness.kept(way.cookie, seconds) for way, _ in used])
    )


def _to_one(way: _Way) -> dict[str, Any]:
    return {"route": {"cluster": way.cluster}, **way.filtered}


def _to_many(used: Sequence[tuple[_Way, int]], kept: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
    """kept -- headers that the answer is given, for each group."""
    clusters = []
    for at, (way, weight) in enumerate(used):
        cluster = {"name": way.cluster, "weight": weight, **way.filtered}
        clusters.append({**cluster, "response_headers_to_add": kept[at]} if kept else cluster)
    return {"route": {"weighted_clusters": {"clusters": clusters}}}


def _reading_or_not(matched: dict[str, Any], to: dict[str, Any]) -> list[dict[str, Any]]:
    """Two routes: for requests that only read, and for those that may not be sent twice."""
    reading = {**matched, "headers": [_SAFE, *matched.get("headers", ())]}
    return [
        {**to, "match": each, "route": {**to["route"], "timeout": "0s", "retry_policy": _retry(on)}}
        for each, on in ((reading, _BROKEN), (matched, _UNREAD))
    ]


def _retry(on: str) -> dict[str, Any]:
    """Once for each of three other targets, nearly at once."""
    previous = "envoy.retry_host_predicates.previous_hosts"
    typed = {"@type": _EXT + "retry.host.previous_hosts.v3.PreviousHostsPredicate"}
    return {
        "retry_on": on,
        "num_retries": _RETRIES,
        "retry_host_predicate": [{"name": previous, "typed_config": typed}],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.050s"},
    }


def _way(group: TargetGroup, sleeps: bool) -> _Way:
    filters = {**stickiness.of_targets(group), **(_waits(group) if sleeps else {})}
    cookie = stickiness.group_cookie(group)
    return _Way(name(group.arn), cookie, {"typed_per_filter_config": filters} if filters else {})


def _waits(group: TargetGroup) -> dict[str, Any]:
    """The node is asked first, and answers when a target is there (node/balancer/waking.py)."""
    typed = {"@type": _EXT + "filters.http.ext_authz.v3.ExtAuthzPerRoute"}
    return {WAKING: {**typed, "check_settings": {"context_extensions": {WOKEN: group.arn}}}}
