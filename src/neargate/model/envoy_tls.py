"""TLS at a listener: certificates, and what a security policy allows. Called by model/envoy_listeners.py."""

from typing import Any

from neargate.model.balancer import Listener
from neargate.model.balancer_rules_tls import DEFAULT, POLICIES
from neargate.model.balancing import KeyPair
from neargate.model.envoy_clusters import ADS

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_UNSPOKEN = frozenset(
    ("ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384", "AES128-SHA256", "AES256-SHA256")
)
"""Those of AWS's ciphers that Envoy cannot speak. Those of TLS 1.3 it speaks unasked and lists nowhere."""
_VERSIONS = {"TLSv1": "TLSv1_0", "TLSv1.1": "TLSv1_1", "TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}
_ALPN = {
    "HTTP1Only": ["http/1.1"],
    "HTTP2Only": ["h2"],
    "HTTP2Optional": ["http/1.1", "h2"],
    "HTTP2Preferred": ["h2", "http/1.1"],
    "None": [],
    "": [],
}


def secret(arn: str, pair: KeyPair) -> dict[str, Any]:
    certificate = {"inline_string": pair.certificate}
    return {
        "name": arn,
        "tls_certificate": {"certificate_chain": certificate, "private_key": {"inline_string": pair.key}},
    }


def parameters(policy: str) -> dict[str, Any]:
    """TlsParameters of a policy, by its name."""
    allowed = POLICIES[policy]
    oldest, newest = (_VERSIONS[version] for version in (allowed.versions[0], allowed.versions[-1]))
    ciphers = [name for name in allowed.ciphers if name not in _UNSPOKEN and not name.startswith("TLS_")]
    return {
        "tls_minimum_protocol_version": oldest,
        "tls_maximum_protocol_version": newest,
        **({"cipher_suites": ciphers} if ciphers else {}),
    }


def transport(listener: Listener, *, http: bool, http2: bool) -> dict[str, Any]:
    """A transport socket. The first certificate is for those who name no server, the others are found by
    the name that is asked for.
    """
    alpn = (["h2", "http/1.1"] if http2 else ["http/1.1"]) if http else _ALPN.get(listener.alpn_policy, [])
    context = {
        "tls_params": parameters(listener.ssl_policy or DEFAULT),
        "alpn_protocols": alpn,
        "tls_certificate_sds_secret_configs": [
            {"name": arn, "sds_config": ADS} for arn in listener.certificates
        ],
    }
    typed = {"@type": _TYPE, "common_tls_context": context, "full_scan_certs_on_sni_mismatch": False}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}
