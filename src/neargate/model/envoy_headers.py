"""Headers that a listener's and its balancer's attributes add, change or take away. Pure.

Called by model/envoy_routes.py, for all of a listener's routes.
"""

from typing import Any, Final

from neargate.model.balancer import Listener, LoadBalancer
from neargate.model.balancer_rules_attributes import all_of

_OVERWRITE: Final = "OVERWRITE_IF_EXISTS_OR_ADD"
_TLS: Final = {
    "x_amzn_tls_version": ("X-Amzn-Tls-Version", "%DOWNSTREAM_TLS_VERSION%"),
    "x_amzn_tls_cipher_suite": ("X-Amzn-Tls-Cipher-Suite", "%DOWNSTREAM_TLS_CIPHER%"),
}
_RESPONSE: Final = "routing.http.response."
_VALUE: Final = ".header_value"


def header(key: str, value: str, how: str = _OVERWRITE) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, "append_action": how}


def of_tls(balancer: LoadBalancer, listener: Listener) -> list[dict[str, Any]]:
    """What targets are told of the client's TLS, under names that the listener may have changed."""
    wanted = all_of(balancer).get("routing.http.x_amzn_tls_version_and_cipher_suite.enabled")
    if wanted != "true" or listener.protocol != "HTTPS":
        return []
    own = all_of(listener)
    return [
        header(own[f"routing.http.request.{name}.header_name"] or usual, value)
        for name, (usual, value) in _TLS.items()
    ]


def of_responses(listener: Listener) -> dict[str, Any]:
    """What clients are told beside what the target says, or instead of it: members of a VirtualHost."""
    own = all_of(listener)
    added = [
        header(name.removeprefix(_RESPONSE).removesuffix(_VALUE).replace("_", "-"), value.replace("%", "%%"))
        for name, value in own.items()
        if name.startswith(_RESPONSE) and name.endswith(_VALUE) and value
    ]
    shown = own[f"{_RESPONSE}server.enabled"] == "true"
    return {
        **({"response_headers_to_add": added} if added else {}),
        **({} if shown else {"response_headers_to_remove": ["server"]}),
    }
