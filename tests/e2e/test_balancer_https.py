"""HTTPS for real: certificates that are imported through ACM, found by the name that a client asks for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.test_balancer import Web, get
from tests.support import web_target
from tests.support.certificates import Made, made
from tests.support.python_image import python_image
from tests.support.real import eventually


@pytest.fixture(scope="module")
def web(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    layout = python_image(tmp_path_factory.mktemp("https") / "image", Path(web_target.__file__))
    yield Web(stack, stack.daemon.push(layout, "https-target"))


def test_each_name_is_served_with_its_own_certificate(web: Web, tmp_path: Path) -> None:
    acm = web.stack.daemon.client("acm")
    authority, other = made("authority", authority=True), made("other authority", authority=True)
    files = {}
    for name, signer in (("authority", authority), ("other", other)):
        files[name] = tmp_path / f"{name}.pem"
        files[name].write_bytes(signer.pem)

    def imported(certificate: Made, signer: Made, **more: str) -> str:
        told = acm.import_certificate(
            Certificate=certificate.pem, PrivateKey=certificate.key_pem, CertificateChain=signer.pem, **more
        )
        arn: str = told["CertificateArn"]
        return arn

    shop = imported(made("shop.example", signer=authority), authority)
    api = imported(made("api.example", "*.api.example", signer=other), other)
    balancer, group = web.balancer("secure"), web.group("secure")
    certificates = [{"CertificateArn": shop}]
    listener = web.listener(balancer, group, 443, "HTTPS", Certificates=certificates)
    web.elb.add_listener_certificates(ListenerArn=listener, Certificates=[{"CertificateArn": api}])
    redirect = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    web.elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "redirect", "RedirectConfig": redirect}],
    )
    arn, ip = web.target("one")
    web.register(group, ip)
    address = web.address(balancer)

    def asked(name: str, authority: str, path: str = "/", scheme: str = "https") -> tuple[int, str]:
        where = [word for port in (80, 443) for word in ("--resolve", f"{name}:{port}:{address}")]
        return get(f"{scheme}://{name}{path}", *where, "--cacert", str(files[authority]), "-L")

    def serves(name: str, authority: str) -> bool:
        try:
            return asked(name, authority) == (200, "hello from one")
        except AssertionError as error:
            assert "certificate" in str(error)
            return False

    eventually(lambda: serves("shop.example", "authority"), "the default certificate is served")
    eventually(lambda: serves("v2.api.example", "other"), "the second one is served to who asks for it")
    assert not serves("shop.example", "other")
    assert asked("api.example", "other", scheme="http") == (200, "hello from one")
    seen = asked("api.example", "other", "/echo")[1].lower()
    assert "x-forwarded-proto: https" in seen
    assert "x-forwarded-port: 443" in seen
    imported(made("shop.example", signer=other), other, CertificateArn=shop)
    eventually(lambda: serves("shop.example", "other"), "what is imported again is served instead")
    web.stack.stop(arn)
