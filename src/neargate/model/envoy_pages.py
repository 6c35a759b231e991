"""What the balancer itself answers when no target does: AWS's codes and pages. Called by model/envoy_*.py."""

from typing import Any

SERVER = "awselb/2.0"
_REASONS = {
    400: "Bad Request",
    408: "Request Time-out",
    413: "Request Entity Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}
# Envoy's response flags -> code: a target that could not be reached, or broke off, is AWS's 502; one that
# did not let itself be connected to in time is a 504.
_FLAGS = {
    502: ("UF", "UC", "UR", "LR", "UPE"),
    504: ("UT", "SI", "UMSDR"),
    503: ("UH", "UO", "NC", "NR", "DO"),
}
_CLIENTS = (400, 408, 413, 431)
"""Said to a client whose request cannot be read."""


def page(status: int) -> str:
    title = f"{status} {_REASONS[status]}"
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "</body>\r\n</html>\r\n"
    )


def unavailable() -> dict[str, Any]:
    """A direct response."""
    return {"status": 503, "body": {"inline_string": page(503)}}


def local_replies() -> dict[str, Any]:
    """A LocalReplyConfig: pages for errors of Envoy's own, and the server's name on all that it answers."""
    mappers = [_mapper(_LATE, 504)]
    mappers += [
        _mapper({"response_flag_filter": {"flags": flags}}, status) for status, flags in _FLAGS.items()
    ]
    mappers += [_mapper(_failed_with(status), status) for status in _CLIENTS]
    every: dict[str, Any] = {"response_flag_filter": {}}
    either = {"or_filter": {"filters": [every, {"not_health_check_filter": {}}]}}
    mappers.append({"filter": either, "headers_to_add": [_NAME]})
    return {"mappers": mappers}


_LATE = {
    "extension_filter": {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            "expression": "response.code_details.contains('connection_timeout')",
        },
    }
}
_NAME = {"header": {"key": "server", "value": SERVER}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _mapper(condition: dict[str, Any], status: int) -> dict[str, Any]:
    return {
        "filter": condition,
        "status_code": status,
        "headers_to_add": [_NAME],
        "body_format_override": {
            "text_format_source": {"inline_string": page(status)},
            "content_type": "text/html",
        },
    }


def _failed_with(status: int) -> dict[str, Any]:
    """Not an answer that a rule gives: those have no flag."""
    value = {"default_value": status, "runtime_key": "neargate.none"}
    equal = {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}
    return {"and_filter": {"filters": [equal, {"response_flag_filter": {}}]}}
