"""TLS at a listener: certificates, and what a security policy allows. Called by model/envoy_listeners.py."""

from typing import Any

from neargate.model.balancer import Listener
from neargate.model.balancing import KeyPair
from neargate.model.envoy_clusters import ADS

DEFAULT_POLICY = "ELBSecurityPolicy-2016-08"
_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_FORWARD_SECRET = (
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
)  # fmt: skip
_FORWARD_SECRET_CBC = (
    "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA",
)  # fmt: skip
_PLAIN_RSA = ("AES128-GCM-SHA256", "AES128-SHA", "AES256-GCM-SHA384", "AES256-SHA")
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
    """TlsParameters of a policy, by its name: AWS's names say what they allow."""
    newest = "TLSv1_3" if "TLS13" in policy else "TLSv1_2"
    if "TLS13-1-3" in policy:
        return {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
    oldest = "TLSv1_2" if "-1-2-" in policy else "TLSv1_1" if "-1-1-" in policy else "TLSv1_0"
    restricted = "-Res-" in policy
    ciphers = list(_FORWARD_SECRET)
    if not restricted:
        ciphers += _FORWARD_SECRET_CBC
    if not restricted and "-FS-" not in policy and not policy.startswith("ELBSecurityPolicy-TLS13-1-2-2021"):
        ciphers += _PLAIN_RSA
    return {
        "tls_minimum_protocol_version": oldest,
        "tls_maximum_protocol_version": newest,
        "cipher_suites": ciphers,
    }


def transport(listener: Listener, *, http: bool, http2: bool) -> dict[str, Any]:
    """A transport socket. The first certificate is for those who name no server, the others are found by
    the name that is asked for.
    """
    alpn = (["h2", "http/1.1"] if http2 else ["http/1.1"]) if http else _ALPN.get(listener.alpn_policy, [])
    context = {
        "tls_params": parameters(listener.ssl_policy or DEFAULT_POLICY),
        "alpn_protocols": alpn,
        "tls_certificate_sds_secret_configs": [
            {"name": arn, "sds_config": ADS} for arn in listener.certificates
        ],
    }
    typed = {"@type": _TYPE, "common_tls_context": context, "full_scan_certs_on_sni_mismatch": False}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}
