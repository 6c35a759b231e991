"""Headers by attributes of balancers and listeners: a real Envoy, told by the daemon's own code."""

from collections.abc import Iterator, Mapping

import pytest

from neargate.model.balancing import KeyPair
from tests.support.certificates import made, new_key
from tests.support.envoy_rig import Rig, forward, group, listener, target

pytestmark = pytest.mark.root
ONE = group("one")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


def published(rig: Rig, own: Mapping[str, str], attributes: Mapping[str, str] | None = None) -> None:
    pair = made("a.example.com", key=new_key("p256"))
    secure = listener(
        forward((ONE, 1)), 443, "HTTPS", certificates=("c",), attributes=dict(own), ssl_policy=""
    )
    view = rig.view(
        [listener(forward((ONE, 1)), attributes=dict(own)), secure],
        [ONE],
        [target(ONE, rig.web("it")[1])],
        attributes=attributes,
        certificates={"c": KeyPair(pair.pem.decode(), pair.key_pem.decode())},
    )
    rig.publish(view)


def told(rig: Rig, *options: str, port: int, scheme: str) -> dict[str, str]:
    """The headers that the target sees."""
    answer = rig.get("/echo", *options, port=port, scheme=scheme)
    return dict(line.split(": ", 1) for line in answer.body.strip().split("\n")[1:] if line)


def test_responses_say_what_the_listener_wants(rig: Rig) -> None:
    response = "routing.http.response."
    published(
        rig,
        {
            f"{response}strict_transport_security.header_value": "max-age=5; preload",
            f"{response}access_control_allow_origin.header_value": "https://%41.example.com",
            f"{response}x_frame_options.header_value": "DENY",
            f"{response}server.enabled": "false",
        },
    )
    headers = rig.get().headers
    assert headers["strict-transport-security"] == "max-age=5; preload"
    assert headers["access-control-allow-origin"] == "https://%41.example.com"
    assert headers["x-frame-options"] == "DENY" and "server" not in headers


def test_without_attributes_responses_are_the_targets(rig: Rig) -> None:
    published(rig, {})
    headers = rig.get().headers
    assert headers["server"] == "web-target" and "x-frame-options" not in headers


def test_targets_are_told_of_tls_where_they_want_to_know(rig: Rig) -> None:
    wanted = {"routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "true"}
    published(rig, {}, wanted)
    secure = told(rig, "--tlsv1.2", "--tls-max", "1.2", port=443, scheme="https")
    assert secure["x-amzn-tls-version"] == "TLSv1.2"
    assert secure["x-amzn-tls-cipher-suite"].startswith("ECDHE-ECDSA-AES")
    assert "x-amzn-tls-version" not in told(rig, port=80, scheme="http")
    published(rig, {"routing.http.request.x_amzn_tls_version.header_name": "X-Tls"}, wanted)
    assert told(rig, "--tlsv1.2", "--tls-max", "1.2", port=443, scheme="https")["x-tls"] == "TLSv1.2"
    published(rig, {})
    assert not [name for name in told(rig, port=443, scheme="https") if "tls" in name]
