"""Access logs of application load balancers: what Envoy notes of requests, as entries in AWS's format.

model/envoy_listeners.py has Envoy write lines of JSON; node/balancer/access_logs.py makes entries of them and
has them kept under the key that AWS would give them.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from neargate.model.balancer import Listener, LoadBalancer, TargetGroup
from neargate.model.balancing import enabled, path_of

_NOTED = {
    "start": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "ended": "%EMIT_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "target": "%UPSTREAM_HOST%",
    "group": "%UPSTREAM_CLUSTER_RAW%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "request_ms": "%REQUEST_DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "response_ms": "%RESPONSE_TX_DURATION%",
    "method": "%REQ(:METHOD):64%",
    "host": "%REQ(:AUTHORITY):256%",
    "path": "%REQ(:PATH):8192%",
    "upgrade": "%REQ(UPGRADE):64%",
    "protocol": "%PROTOCOL%",
    "agent": "%REQ(USER-AGENT):1024%",
    "cipher": "%DOWNSTREAM_TLS_CIPHER%",
    "tls": "%DOWNSTREAM_TLS_VERSION%",
    "domain": "%REQUESTED_SERVER_NAME%",
    "trace": "%REQ(X-AMZN-TRACE-ID):256%",
    "location": "%RESP(LOCATION):8192%",
    "rule": "%ROUTE_NAME%",
}
"""What clients and targets say is cut: whoever asks fast could else fill the disk by long words."""


ATTRIBUTES = "access_logs"


def wanted(balancer: LoadBalancer) -> bool:
    return balancer.kind == "application" and enabled(balancer.attributes, f"{ATTRIBUTES}.s3.enabled")


def file_name(balancer: LoadBalancer) -> str:
    return f"{balancer.arn.rpartition('/')[2]}.log"


def envoy(balancer: LoadBalancer, listener: Listener, directory: str) -> dict[str, Any]:
    """An AccessLog."""
    noted = {**_NOTED, "port": str(listener.port), "certificate": next(iter(listener.certificates), "")}
    return to_file(f"{directory}/{file_name(balancer)}", noted)


def to_file(path: str, noted: Mapping[str, str]) -> dict[str, Any]:
    typed = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": path,
        "log_format": {"json_format": dict(noted)},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": typed}


def key(balancer: LoadBalancer, end: float, address: str, unique: str) -> str:
    """Where AWS puts the entries of the five minutes until `end`."""
    return key_of(balancer, ATTRIBUTES, "", end, address, unique)


def key_of(balancer: LoadBalancer, attributes: str, kind: str, end: float, address: str, unique: str) -> str:
    at = datetime.fromtimestamp(end, UTC)
    prefix = balancer.attributes.get(f"{attributes}.s3.prefix", "")
    account, region, name = balancer.account, balancer.region, path_of(balancer.arn).replace("/", ".")
    day = f"AWSLogs/{account}/elasticloadbalancing/{region}/{at:%Y/%m/%d}"
    file = f"{kind}{account}_elasticloadbalancing_{region}_{name}_{at:%Y%m%dT%H%MZ}_{address}_{unique}.log.gz"
    return "/".join(part for part in (prefix, day, file) if part)


def entry(line: str, balancer: LoadBalancer, groups: Mapping[str, TargetGroup]) -> str:
    """groups -- by their name as a cluster. Raise ValueError on what is no line of Envoy's."""
    noted: dict[str, Any] = json.loads(line)
    group = groups.get(noted["group"] or "")
    target, code = noted["target"] or "-", str(noted["code"] or "-")
    answered = code if target != "-" and noted["flags"] == "-" else "-"
    secure = bool(noted["tls"])
    scheme, port = ("https" if secure else "http"), noted["port"]
    host = (noted["host"] or "-").partition(":")[0]
    url = f"{scheme}://{host}:{port}{noted['path'] or ''}"
    request = f"{noted['method'] or '-'} {url} {noted['protocol'] or '-'}"
    action = "forward" if group else "redirect" if noted["location"] else "fixed-response"
    fields = [
        _kind(noted, secure), noted["ended"], path_of(balancer.arn), noted["client"], target,
        *_times(noted, target), code, answered, noted["received"], noted["sent"],
        _quoted(request), _quoted(noted["agent"]), noted["cipher"] or "-", noted["tls"] or "-",
        group.arn if group else "-", _quoted(noted["trace"]), _quoted(noted["domain"]),
        _quoted(noted["certificate"] if secure else None), noted["rule"] or "-1", noted["start"],
        _quoted(action), _quoted(noted["location"] if action == "redirect" else None), _quoted(None),
        _quoted(target), _quoted(answered), _quoted(None), _quoted(None),
    ]  # fmt: skip
    return " ".join(str(field) for field in fields)


def _kind(noted: Mapping[str, Any], secure: bool) -> str:
    if noted["upgrade"]:
        return "wss" if secure else "ws"
    if secure:
        return "h2" if noted["protocol"] == "HTTP/2" else "https"
    return "http"


def _times(noted: Mapping[str, Any], target: str) -> tuple[str, str, str]:
    """Seconds until the target was asked, answered, and the client had it all; -1: it never did."""
    asked, first, rest = noted["request_ms"], noted["first_byte_ms"], noted["response_ms"]
    if target == "-" or asked is None or first is None:
        return "-1", "-1", "-1"
    return f"{asked / 1000:.3f}", f"{max(0, first - asked) / 1000:.3f}", f"{(rest or 0) / 1000:.3f}"


def _quoted(text: str | None) -> str:
    """Whatever a client sent stays one field of one line."""
    plain = (text or "-").replace("\\", "\\x5C").replace('"', "\\x22")
    return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02X}" for c in plain) + '"'
