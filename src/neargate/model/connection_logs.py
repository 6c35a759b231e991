"""Connection logs of application load balancers: what Envoy notes of clients' connections, as entries in
AWS's format. Beside model/access_logs.py, which has those of requests, and used as it is.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from neargate.model import access_logs
from neargate.model.balancer import Listener, LoadBalancer, TargetGroup
from neargate.model.balancing import enabled

ATTRIBUTES = "connection_logs"
_NOTED = {
    "start": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "tls": "%DOWNSTREAM_TLS_VERSION%",
    "cipher": "%DOWNSTREAM_TLS_CIPHER%",
    "handshake_us": "%COMMON_DURATION(DS_CX_BEG:DS_HS_END:us)%",
    "failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    "connection": "%CONNECTION_ID%",
}


def wanted(balancer: LoadBalancer) -> bool:
    return balancer.kind == "application" and enabled(balancer.attributes, f"{ATTRIBUTES}.s3.enabled")


def file_name(balancer: LoadBalancer) -> str:
    return f"{balancer.arn.rpartition('/')[2]}.connections.log"


def envoy(balancer: LoadBalancer, listener: Listener, directory: str) -> dict[str, Any]:
    """An AccessLog of a listener."""
    noted = {**_NOTED, "port": str(listener.port), "secure": str(listener.protocol == "HTTPS")}
    return access_logs.to_file(f"{directory}/{file_name(balancer)}", noted)


def key(balancer: LoadBalancer, end: float, address: str, unique: str) -> str:
    """Where AWS puts the entries of the five minutes until `end`."""
    return access_logs.key_of(balancer, ATTRIBUTES, "conn_log.", end, address, unique)


def entry(line: str, balancer: LoadBalancer, groups: Mapping[str, TargetGroup]) -> str:
    """Raise ValueError or KeyError on what is no line of Envoy's."""
    noted: dict[str, Any] = json.loads(line)
    address, _, port = noted["client"].rpartition(":")
    # A version without a cipher is what Envoy would have spoken.
    failed = noted["failure"] or (noted["secure"] == "True" and not noted["cipher"])
    tls = noted["tls"] if noted["cipher"] else None
    took = noted["handshake_us"]
    known = f"{balancer.arn} {noted['start']} {noted['connection']}"
    fields = [
        noted["start"], address, port, noted["port"], tls or "-", noted["cipher"] or "-",
        "-" if failed or took is None else f"{float(took) / 1000:.3f}", '"-"', "-", "-",
        "Failed:UnmappedConnectionError" if failed else "Success",
        f"TID_{hashlib.sha256(known.encode()).hexdigest()[:32]}",
    ]  # fmt: skip
    return " ".join(fields)
