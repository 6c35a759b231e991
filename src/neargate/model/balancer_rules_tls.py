"""Security policies of HTTPS and TLS listeners: TLS versions and ciphers, as AWS lists them. Pure.

Called by services/elbv2 (DescribeSSLPolicies, checks); the node's data plane sets them on its listeners.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

DEFAULT: Final = "ELBSecurityPolicy-2016-08"
"""What a listener gets that names no policy."""
ALPN: Final = ("HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None")

_TLS13: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_ECDHE: Final = ("ECDHE-ECDSA", "ECDHE-RSA")


def _forward_secret(size: int, *, cbc: bool, sha1: bool) -> tuple[str, ...]:
    digest = "SHA256" if size == 128 else "SHA384"
    ends = (f"GCM-{digest}", *((digest,) if cbc else ()), *(("SHA",) if sha1 else ()))
    return tuple(f"{exchange}-AES{size}-{end}" for end in ends for exchange in _ECDHE)


def _plain_rsa(*, sha1: bool) -> tuple[str, ...]:
    ends = {128: ("GCM-SHA256", "SHA256"), 256: ("GCM-SHA384", "SHA256")}
    return tuple(
        f"AES{size}-{end}" for size in (128, 256) for end in (*ends[size], *(("SHA",) if sha1 else ()))
    )


def _ecdhe(*, cbc: bool = True, sha1: bool = False) -> tuple[str, ...]:
    return _forward_secret(128, cbc=cbc, sha1=sha1) + _forward_secret(256, cbc=cbc, sha1=sha1)


_STRICT: Final = _ecdhe(cbc=False)
_USUAL: Final = _ecdhe()
_FORWARD: Final = _ecdhe(sha1=True)
_EXTENDED: Final = _USUAL + _plain_rsa(sha1=False)
_EVERY: Final = _FORWARD + _plain_rsa(sha1=True)
_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    versions: tuple[str, ...]
    """Oldest first."""
    ciphers: tuple[str, ...]
    """In the server's order of preference, in OpenSSL's names; those of TLS 1.3 first."""

    def shown(self) -> dict[str, Any]:
        return {
            "Name": self.name,
            "SslProtocols": list(self.versions),
            "Ciphers": [{"Name": name, "Priority": place} for place, name in enumerate(self.ciphers, 1)],
            "SupportedLoadBalancerTypes": ["application", "network"],
        }


def _policy(name: str, oldest: str, newest: str, ciphers: Sequence[str]) -> Policy:
    versions = _VERSIONS[_VERSIONS.index(oldest) : _VERSIONS.index(newest) + 1]
    return Policy(
        f"ELBSecurityPolicy-{name}", versions, (_TLS13 if newest == "TLSv1.3" else ()) + tuple(ciphers)
    )


_LISTED: Final = (
    _policy("TLS13-1-3-2021-06", "TLSv1.3", "TLSv1.3", ()),
    _policy("TLS13-1-2-Res-2021-06", "TLSv1.2", "TLSv1.3", _STRICT),
    _policy("TLS13-1-2-2021-06", "TLSv1.2", "TLSv1.3", _USUAL),
    _policy("TLS13-1-2-Ext1-2021-06", "TLSv1.2", "TLSv1.3", _EXTENDED),
    _policy("TLS13-1-2-Ext2-2021-06", "TLSv1.2", "TLSv1.3", _EVERY),
    _policy("TLS13-1-1-2021-06", "TLSv1.1", "TLSv1.3", _EVERY),
    _policy("TLS13-1-0-2021-06", "TLSv1", "TLSv1.3", _EVERY),
    _policy("FS-1-2-Res-2020-10", "TLSv1.2", "TLSv1.2", _STRICT),
    _policy("FS-1-2-Res-2019-08", "TLSv1.2", "TLSv1.2", _USUAL),
    _policy("FS-1-2-2019-08", "TLSv1.2", "TLSv1.2", _FORWARD),
    _policy("FS-1-1-2019-08", "TLSv1.1", "TLSv1.2", _FORWARD),
    _policy("FS-2018-06", "TLSv1", "TLSv1.2", _FORWARD),
    _policy("TLS-1-2-Ext-2018-06", "TLSv1.2", "TLSv1.2", _EVERY),
    _policy("TLS-1-2-2017-01", "TLSv1.2", "TLSv1.2", _EXTENDED),
    _policy("TLS-1-1-2017-01", "TLSv1.1", "TLSv1.2", _EVERY),
    _policy("2016-08", "TLSv1", "TLSv1.2", _EVERY),
)
POLICIES: Final = {policy.name: policy for policy in _LISTED}
