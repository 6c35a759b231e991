"""TLS at and behind listeners, HTTP/2, gRPC, and what a network load balancer does: with a real Envoy."""

import contextlib
import datetime
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from neargate.model.balancing import KeyPair
from tests.support.envoy_rig import Rig, forward, group, listener, target
from tests.support.real import eventually

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


ONE, TWO = group("one"), group("two")


def certificate(*names: str) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return KeyPair(made.public_bytes(Encoding.PEM).decode(), pem)


def shown(
    rig: Rig, name: str | None, port: int = 443, **limits: ssl.TLSVersion
) -> tuple[str, str, str | None]:
    """The certificate's name that a client sees, the TLS version, and what ALPN chose."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    for limit, version in limits.items():
        setattr(context, limit, version)
    with socket.create_connection((rig.address, port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            found = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
            common = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
            return str(common), str(secure.version()), secure.selected_alpn_protocol()


def test_each_name_gets_its_certificate(rig: Rig) -> None:
    pairs = {"arn:a": certificate("a.example"), "arn:b": certificate("b.example", "*.b.example")}
    front = listener(forward((ONE, 1)), 443, "HTTPS", certificates=("arn:a", "arn:b"))
    rig.publish(rig.view([front], [ONE], [target(ONE, rig.web("it")[1])], certificates=pairs))
    assert shown(rig, None)[0] == "a.example"
    assert shown(rig, "b.example")[0] == "b.example"
    assert shown(rig, "x.b.example")[0] == "b.example"
    assert shown(rig, "other.example") == ("a.example", "TLSv1.2", "h2")
    answer = rig.get("/echo", port=443, scheme="https")
    assert "x-forwarded-proto: https" in answer.body
    assert "x-forwarded-port: 443" in answer.body


def test_a_certificate_is_replaced_without_a_lost_connection(rig: Rig) -> None:
    front = listener(forward((ONE, 1)), 443, "HTTPS", certificates=("arn:a",))
    targets = [target(ONE, rig.web("it")[1])]
    rig.publish(rig.view([front], [ONE], targets, certificates={"arn:a": certificate("old.example")}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((rig.address, 443), timeout=10) as plain,
        context.wrap_socket(plain) as held,
    ):
        rig.publish(rig.view([front], [ONE], targets, certificates={"arn:a": certificate("new.example")}))
        assert shown(rig, None)[0] == "new.example"
        held.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_policy_says_which_versions(rig: Rig) -> None:
    policy = "ELBSecurityPolicy-TLS13-1-3-2021-06"
    front = listener(forward((ONE, 1)), 443, "HTTPS", certificates=("arn:a",), ssl_policy=policy)
    rig.publish(rig.view([front], [ONE], certificates={"arn:a": certificate("a.example")}))
    assert shown(rig, None)[1] == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        shown(rig, None, maximum_version=ssl.TLSVersion.TLSv1_2)


def test_without_http2(rig: Rig) -> None:
    front = listener(forward((ONE, 1)), 443, "HTTPS", certificates=("arn:a",))
    pairs = {"arn:a": certificate("a.example")}
    rig.publish(rig.view([front], [ONE], certificates=pairs, attributes={"routing.http2.enabled": "false"}))
    assert shown(rig, None)[2] == "http/1.1"


class Greeter(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/greeter/Greet":
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"hello " + request)


def test_grpc_from_end_to_end(rig: Rig) -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Greeter(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        calls = group("calls", protocol_version="GRPC")
        front = listener(forward((calls, 1)), 8080)
        rig.publish(rig.view([front], [calls], [target(calls, port)]))
        with grpc.insecure_channel(f"{rig.address}:8080") as channel:
            assert channel.unary_unary("/greeter/Greet")(b"you", timeout=10) == b"hello you"
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary("/greeter/Other")(b"", timeout=10)
            assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
    finally:
        server.stop(0).wait()


class Raw:
    """A TCP server that says first what it was sent by; and a UDP server that echoes."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                data = connection.recv(4096)
                connection.sendall(b"got " + data)
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    while connection.recv(4096):  # closed over what it has not read, it would reset
                        pass


def ask(rig: Rig, port: int, data: bytes, secure: bool = False) -> bytes:
    with socket.create_connection((rig.address, port), timeout=10) as plain:
        if not secure:
            plain.sendall(data)
            return plain.recv(4096)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as wrapped:
            wrapped.sendall(data)
            return wrapped.recv(4096)


def test_tcp_and_tls_are_passed_on(rig: Rig) -> None:
    raw = Raw()
    flows = group("flows", protocol="TCP", protocol_version="")
    fronts = [
        listener(forward((flows, 1)), 9000, "TCP"),
        listener(forward((flows, 1)), 9443, "TLS", certificates=("arn:a",)),
    ]
    view = rig.view(
        fronts, [flows], [target(flows, raw.port)], certificates={"arn:a": certificate("a.example")}
    )
    rig.publish(view)
    assert ask(rig, 9000, b"this") == b"got this"
    assert ask(rig, 9443, b"that", secure=True) == b"got that"


def test_the_proxy_protocol_tells_the_source(rig: Rig) -> None:
    raw = Raw()
    flows = group(
        "told", protocol="TCP", protocol_version="", attributes={"proxy_protocol_v2.enabled": "true"}
    )
    rig.publish(rig.view([listener(forward((flows, 1)), 9000, "TCP")], [flows], [target(flows, raw.port)]))
    assert ask(rig, 9000, b"this").startswith(b"got \r\n\r\n\x00\r\nQUIT\n!\x11")


def test_datagrams_are_passed_on_and_answered(rig: Rig) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind(("127.0.0.1", 0))

        def serve() -> None:
            data, where = echo.recvfrom(4096)
            echo.sendto(b"got " + data, where)

        threading.Thread(target=serve, daemon=True).start()
        flows = group("datagrams", protocol="UDP", protocol_version="")
        front = listener(forward((flows, 1)), 9053, "UDP")
        rig.publish(rig.view([front], [flows], [target(flows, echo.getsockname()[1])]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(b"this", (rig.address, 9053))
            assert client.recv(4096) == b"got this"


def test_http_to_targets_over_tls(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> None:
    pair = certificate("behind.example")
    place = tmp_path_factory.mktemp("server")
    (place / "both.pem").write_text(pair.certificate + pair.key)
    port = rig.free_port()
    command = [
        "openssl",
        "s_server",
        "-accept",
        str(port),
        "-cert",
        str(place / "both.pem"),
        "-www",
        "-quiet",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            behind = group("behind", protocol="HTTPS")
            rig.publish(rig.view([listener(forward((behind, 1)))], [behind], [target(behind, port)]))
            eventually(lambda: rig.get().status == 200, "the server has begun, and answers")
        finally:
            server.kill()
