"""A redirect action as Envoy's route action. Called by model/envoy_routes.py.

AWS's placeholders stand for the request's own parts: #{protocol} #{host} #{port} #{path} #{query}. What
Envoy's redirect has no words for is answered by a few lines of Lua on that route alone.
"""

from collections.abc import Mapping
from typing import Any

from neargate.model.balancer import Listener

LUA = "envoy.filters.http.lua"
_DEFAULTS = {
    "Protocol": "#{protocol}", "Host": "#{host}", "Port": "#{port}", "Path": "/#{path}", "Query": "#{query}"
}  # fmt: skip
_SCRIPT = """
function envoy_on_request(handle)
  local headers = handle:headers()
  local target = headers:get(":path")
  local path, query = target:match("^([^?]*)%?(.*)$")
  path, query = path or target, query or ""
  local parts = {
    protocol = PROTOCOL, port = PORT, host = headers:get(":authority"):gsub(":%d+$", ""),
    path = path:gsub("^/", ""), query = query,
  }
  local function filled(text) return (text:gsub("#{(%a+)}", function(name) return parts[name] end)) end
  local scheme, port = filled(TO_PROTOCOL):lower(), filled(TO_PORT)
  local location = scheme .. "://" .. filled(TO_HOST) .. ":" .. port .. filled(TO_PATH)
  local asked = filled(TO_QUERY)
  if asked ~= "" then location = location .. "?" .. asked end
  handle:respond({[":status"] = STATUS, ["location"] = location}, "")
end
"""


def redirect(config: Mapping[str, Any], listener: Listener) -> dict[str, Any]:
    wanted = {name: config.get(name) or default for name, default in _DEFAULTS.items()}
    if "Query" in config:
        wanted["Query"] = config["Query"] or ""
    status = 301 if config["StatusCode"] == "HTTP_301" else 302
    return _plain(wanted, status, listener) or _script(wanted, status, listener)


def _plain(wanted: Mapping[str, str], status: int, listener: Listener) -> dict[str, Any] | None:
    """In Envoy's own words, if they have it. The port is always told, as AWS does."""
    found: dict[str, Any] = {"response_code": "MOVED_PERMANENTLY" if status == 301 else "FOUND"}
    if wanted["Protocol"] != "#{protocol}":
        found["scheme_redirect"] = wanted["Protocol"].lower()
    found["port_redirect"] = listener.port if wanted["Port"] == "#{port}" else int(wanted["Port"])
    if wanted["Host"] != "#{host}":
        found["host_redirect"] = wanted["Host"]
    if wanted["Path"] != "/#{path}":
        found["path_redirect"] = wanted["Path"]
    if wanted["Query"] != "#{query}":
        if wanted["Query"]:
            return None
        found["strip_query"] = True
    if "#{" in str(found.values()) or "?" in wanted["Path"]:
        return None
    return {"redirect": found}


def _script(wanted: Mapping[str, str], status: int, listener: Listener) -> dict[str, Any]:
    """On a route that would else answer 500. What callers wrote goes in as strings, never as code."""
    values = {
        "TO_PROTOCOL": wanted["Protocol"], "TO_HOST": wanted["Host"], "TO_PORT": wanted["Port"],
        "TO_PATH": wanted["Path"], "TO_QUERY": wanted["Query"], "STATUS": str(status),
        "PROTOCOL": listener.protocol.lower(), "PORT": str(listener.port),
    }  # fmt: skip
    constants = "".join(f"local {name} = {quoted(value)}\n" for name, value in values.items())
    typed = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute",
        "source_code": {"inline_string": constants + _SCRIPT},
    }
    return {"direct_response": {"status": 500}, "typed_per_filter_config": {LUA: typed}}


def quoted(text: str) -> str:
    """A Lua string literal of any text."""
    return '"' + "".join(f"\\{byte:03d}" for byte in text.encode()) + '"'
