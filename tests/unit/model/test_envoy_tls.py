"""Security policies as Envoy's parameters: no older version, no weaker cipher, and Envoy takes each."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from neargate.model.balancer_rules_tls import POLICIES
from neargate.model.envoy_tls import parameters
from neargate.node.balancer.envoy import program
from tests.support.certificates import Made, made, new_key

_TYPES = "type.googleapis.com/envoy.extensions"


@pytest.mark.parametrize(
    ("name", "versions", "ciphers"),
    [
        ("TLS13-1-3-2021-06", ("TLSv1_3", "TLSv1_3"), None),
        (
            "TLS13-1-2-2021-06",
            ("TLSv1_2", "TLSv1_3"),
            {
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-AES128-SHA256",
                "ECDHE-RSA-AES128-SHA256",
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-RSA-AES256-GCM-SHA384",
            },
        ),
    ],
)
def test_parameters(name: str, versions: tuple[str, str], ciphers: set[str] | None) -> None:
    made = parameters(f"ELBSecurityPolicy-{name}")
    oldest, newest = made["tls_minimum_protocol_version"], made["tls_maximum_protocol_version"]
    assert (oldest, newest) == versions
    assert (set(made["cipher_suites"]) if "cipher_suites" in made else None) == ciphers


@pytest.mark.parametrize("name", POLICIES)
def test_nothing_that_the_policy_does_not_allow(name: str) -> None:
    made = parameters(name)
    assert set(made.get("cipher_suites", ())) <= set(POLICIES[name].ciphers)
    oldest = {"TLSv1": "TLSv1_0", "TLSv1.1": "TLSv1_1", "TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}
    assert made["tls_minimum_protocol_version"] == oldest[POLICIES[name].versions[0]]


def listener(port: int, policy: str, own: Made) -> dict[str, Any]:
    pair = {
        "certificate_chain": {"inline_string": own.pem.decode()},
        "private_key": {"inline_string": own.key_pem.decode()},
    }
    context = {"tls_params": parameters(policy), "tls_certificates": [pair]}
    tls = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": context,
    }
    proxy = {
        "@type": f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "x",
        "cluster": "none",
    }
    chain = {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": policy, "address": address, "filter_chains": [chain]}


def test_envoy_takes_each_policy(tmp_path: Path) -> None:
    own = made("a.example.com", key=new_key("p256"))
    listeners = [listener(port, policy, own) for port, policy in enumerate(POLICIES, 20_000)]
    file = tmp_path / "envoy.json"
    file.write_text(
        json.dumps({"static_resources": {"listeners": listeners, "clusters": [{"name": "none"}]}})
    )
    command = [str(program()), "--mode", "validate", "--log-level", "error", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
