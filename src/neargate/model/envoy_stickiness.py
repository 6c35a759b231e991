"""Cookies that lead a client back to its target group, and to its target of a group. Called by
model/envoy_routes.py.

Each is set twice, as AWS does: once more for requests of other sites' pages, which browsers send no other.
"""

from typing import Any

from neargate.model.balancer import TargetGroup
from neargate.model.balancing import enabled, number
from neargate.model.envoy_headers import header
from neargate.model.envoy_redirects import LUA, quoted

_EXT = "type.googleapis.com/envoy.extensions."
_GROUP = "AWSALBTG"
_TARGET = {"lb_cookie": ("AWSALB", "AWSALBCORS"), "app_cookie": ("AWSALBAPP-0", "AWSALBAPPCORS-0")}
FILTERS = ("envoy.filters.http.stateful_session.cors", "envoy.filters.http.stateful_session")
"""In their order: the last one's word counts, and its cookie is set first."""
_CORS = [{"name": "SameSite", "value": "None"}, {"name": "Secure"}]
_APPLICATION = """
function envoy_on_response(handle)
  local headers, kept = handle:headers(), {}
  for n = 0, headers:getNumValues("set-cookie") - 1 do
    local cookie = headers:getAtIndex("set-cookie", n)
    if cookie:sub(1, #NAME + 1) == NAME .. "=" then return end
    if cookie:sub(1, #OWN) ~= OWN then kept[#kept + 1] = cookie end
  end
  headers:remove("set-cookie")
  for _, cookie in ipairs(kept) do headers:add("set-cookie", cookie) end
end
"""
"""A client stays from the moment that the application sets its own cookie."""


def group_cookie(group: TargetGroup) -> str:
    """The value that stands for it."""
    return group.arn.rpartition("/")[2]


def led_back(value: str) -> dict[str, Any]:
    """A header match: who was led to this group before."""
    regex = rf"(?:.*;\s*)?{_GROUP}(?:CORS)?={value}(?:\s*;.*)?"
    return {"name": "cookie", "string_match": {"safe_regex": {"regex": regex}}}


def kept(value: str, seconds: int) -> list[dict[str, Any]]:
    """Headers that an answer from this group is given."""
    cookie = f"={value}; Max-Age={seconds}; Path=/"
    some = (f"{_GROUP}{cookie}", f"{_GROUP}CORS{cookie}; SameSite=None; Secure")
    return [header("set-cookie", each, "APPEND_IF_EXISTS_OR_ADD") for each in some]


def of_targets(group: TargetGroup) -> dict[str, Any]:
    """What a route's filters do for it."""
    if not enabled(group.attributes, "stickiness.enabled"):
        return {}
    kind = group.attributes.get("stickiness.type", "lb_cookie")
    if kind not in _TARGET:
        return {}
    seconds = number(group.attributes, f"stickiness.{kind}.duration_seconds", 86400)
    usual, cors = _TARGET[kind]
    found = {FILTERS[0]: _session(cors, seconds, _CORS), FILTERS[1]: _session(usual, seconds, [])}
    if kind == "app_cookie":
        own = group.attributes.get("stickiness.app_cookie.cookie_name", "")
        found[LUA] = _after(own)
    return found


def _session(name: str, seconds: float, attributes: list[dict[str, str]]) -> dict[str, Any]:
    cookie = {"name": name, "ttl": f"{seconds:.0f}s", "path": "/", "attributes": attributes}
    state = {"@type": _EXT + "http.stateful_session.cookie.v3.CookieBasedSessionState", "cookie": cookie}
    session = {"session_state": {"name": "envoy.http.stateful_session.cookie", "typed_config": state}}
    typed = {"@type": _EXT + "filters.http.stateful_session.v3.StatefulSessionPerRoute"}
    return {**typed, "stateful_session": session}


def _after(cookie: str) -> dict[str, Any]:
    """The application's cookie is before the balancer's own."""
    constants = f"local NAME, OWN = {quoted(cookie)}, {quoted('AWSALBAPP')}\n"
    typed = {"@type": _EXT + "filters.http.lua.v3.LuaPerRoute"}
    return {**typed, "source_code": {"inline_string": constants + _APPLICATION}}
