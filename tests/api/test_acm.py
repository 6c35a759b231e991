"""ACM by an unmodified client: certificates are imported, told of, served by listeners, and deleted."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from neargate.model.balancer import Certificate
from neargate.model.certificate import unseal
from neargate.model.sealed import SealError
from neargate.state.catalog_balancers import CERTIFICATE
from tests.support.balancing import Balancing, refused
from tests.support.certificates import Made, made, new_key
from tests.support.door import Door


@pytest.fixture
def acm(door: Door) -> Any:
    return door.client("acm")


@pytest.fixture(scope="module")
def leaf() -> Made:
    return made("www.example.com", "example.com", "*.example.com")


def imported(acm: Any, certificate: Made, **options: Any) -> str:
    answer = acm.import_certificate(Certificate=certificate.pem, PrivateKey=certificate.key_pem, **options)
    return str(answer["CertificateArn"])


def record(door: Door, arn: str) -> Certificate:
    found = door.call(door.daemon.house.store.read(lambda tx: tx.get(CERTIFICATE, arn)))
    assert found is not None
    return found


def test_a_certificate_from_birth_to_death(door: Door, acm: Any, leaf: Made) -> None:
    arn = imported(acm, leaf, Tags=[{"Key": "a", "Value": "b"}])
    assert arn.startswith("arn:aws:acm:us-east-1:000000000000:certificate/")
    shown = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert shown["DomainName"] == "www.example.com" and shown["Status"] == "ISSUED"
    assert shown["SubjectAlternativeNames"] == ["www.example.com", "example.com", "*.example.com"]
    assert shown["Subject"] == "CN=www.example.com" and shown["Issuer"] == "www.example.com"
    assert shown["KeyAlgorithm"] == "RSA-2048" and shown["SignatureAlgorithm"] == "SHA256WITHRSA"
    assert shown["Type"] == "IMPORTED" and shown["RenewalEligibility"] == "INELIGIBLE"
    assert int(shown["Serial"].replace(":", ""), 16) == leaf.certificate.serial_number
    assert shown["NotAfter"] == leaf.certificate.not_valid_after_utc
    assert shown["ImportedAt"] <= datetime.now(UTC) and shown["InUseBy"] == []
    assert shown["ExtendedKeyUsages"][0]["Name"] == "TLS_WEB_SERVER_AUTHENTICATION"
    assert acm.get_certificate(CertificateArn=arn)["Certificate"] == leaf.pem.decode()
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    acm.delete_certificate(CertificateArn=arn)
    message = refused("ResourceNotFoundException", acm.describe_certificate, CertificateArn=arn)
    assert message == f"Could not find certificate {arn} in account 000000000000."
    refused("ResourceNotFoundException", acm.delete_certificate, CertificateArn=arn)


def test_the_key_is_sealed_and_opens_for_the_data_plane(door: Door, acm: Any, leaf: Made) -> None:
    kept = record(door, imported(acm, leaf))
    assert b"PRIVATE KEY" not in kept.key and leaf.key_pem not in kept.key
    house = door.daemon.house
    assert unseal(house.signing_key, kept) == leaf.key_pem
    with pytest.raises(SealError):
        unseal(house.signing_key, replace(kept, arn=kept.arn + "x"))
    data = (house.settings.data_dir / "truth.db").read_bytes()
    assert leaf.key_pem.splitlines()[5] not in data


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa3072"])
def test_a_chain(door: Door, acm: Any, kind: str) -> None:
    root = made("Root", key=new_key("p256"), authority=True)
    middle = made("Middle", signer=root, key=new_key("p256"), authority=True)
    leaf = made("a.example.com", signer=middle, key=new_key(kind))
    arn = imported(acm, leaf, CertificateChain=middle.pem + root.pem)
    shown = acm.get_certificate(CertificateArn=arn)
    assert shown["CertificateChain"] == (middle.pem + root.pem).decode()
    wrong = {"Certificate": leaf.pem, "PrivateKey": leaf.key_pem}
    refused("ValidationException", acm.import_certificate, **wrong, CertificateChain=root.pem)
    refused("ValidationException", acm.import_certificate, **wrong, CertificateChain=b"x")
    message = refused("ValidationException", acm.import_certificate, **wrong)
    assert message.startswith("Provided certificate is not a valid self signed.")


def test_what_cannot_be_imported(acm: Any, leaf: Made) -> None:
    def why(certificate: bytes, key: bytes) -> str:
        return refused("ValidationException", acm.import_certificate, Certificate=certificate, PrivateKey=key)

    other, old, young = new_key(), made("a.example.com", days=(-9, -1)), made("a.example.com", days=(1, 9))
    assert "does not match" in why(leaf.pem, Made(leaf.certificate, other).key_pem)
    assert "has expired" in why(old.pem, old.key_pem)
    assert "not in effect yet" in why(young.pem, young.key_pem)
    assert "more than one certificate" in why(leaf.pem * 2, leaf.key_pem)
    assert "certificate is not PEM-encoded" in why(b"certificate", leaf.key_pem)
    assert "private key is not PEM-encoded" in why(leaf.pem, b"key")
    locked = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass"))
    assert "protected by a passphrase" in why(leaf.pem, locked)
    assert "no larger than 5120 bytes" in why(leaf.pem, leaf.key_pem + b"\n" * 5000)
    strange = made("a.example.com", key=new_key("k1"))
    assert "not supported" in why(strange.pem, strange.key_pem)
    assert acm.list_certificates()["CertificateSummaryList"] == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 1200), byte=st.integers(0, 255))
def test_a_damaged_certificate_is_refused_or_imported_never_worse(
    acm: Any, leaf: Made, place: int, byte: int
) -> None:
    damaged = bytearray(leaf.pem)
    damaged[place % len(damaged)] = byte
    try:
        acm.import_certificate(Certificate=bytes(damaged), PrivateKey=leaf.key_pem)
    except acm.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "ValidationException", error


def test_importing_again_replaces_in_place(door: Door, acm: Any, leaf: Made) -> None:
    arn = imported(acm, leaf, Tags=[{"Key": "a", "Value": "b"}])
    created = acm.describe_certificate(CertificateArn=arn)["Certificate"]["CreatedAt"]
    newer = made("new.example.com")
    assert imported(acm, newer, CertificateArn=arn) == arn
    shown = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert shown["DomainName"] == "new.example.com" and shown["CreatedAt"] == created
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"]
    assert unseal(door.daemon.house.signing_key, record(door, arn)) == newer.key_pem
    again = {"Certificate": newer.pem, "PrivateKey": newer.key_pem}
    tags = [{"Key": "c"}]
    refused("ValidationException", acm.import_certificate, **again, CertificateArn=arn, Tags=tags)
    gone = arn[:-12] + "0" * 12
    refused("ResourceNotFoundException", acm.import_certificate, **again, CertificateArn=gone)


def test_lists(acm: Any, leaf: Made) -> None:
    arns = [imported(acm, leaf) for _ in range(3)]
    curve = made("c.example.com", key=new_key("p256"))
    ec = imported(acm, curve)
    pages = list(acm.get_paginator("list_certificates").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["CertificateSummaryList"]) for page in pages] == [2, 1]
    found = {item["CertificateArn"] for page in pages for item in page["CertificateSummaryList"]}
    assert found == set(arns)

    def listed(**options: Any) -> list[str]:
        answer = acm.list_certificates(**options)["CertificateSummaryList"]
        return [item["CertificateArn"] for item in answer]

    assert listed(Includes={"keyTypes": ["EC_prime256v1"]}) == [ec]
    assert listed(SortBy="CREATED_AT", SortOrder="DESCENDING") == arns[::-1]
    assert listed(CertificateStatuses=["EXPIRED"]) == []
    assert len(listed(CertificateStatuses=["ISSUED"])) == 3
    assert listed(Includes={"keyUsage": ["CRL_SIGNING"]}) == []
    assert len(listed(Includes={"extendedKeyUsage": ["TLS_WEB_SERVER_AUTHENTICATION"]})) == 3
    refused("ValidationException", acm.list_certificates, SortBy="CREATED_AT")
    refused("ValidationException", acm.list_certificates, NextToken="%%%")
    (summary,) = acm.list_certificates(Includes={"keyTypes": ["EC_prime256v1"]})["CertificateSummaryList"]
    assert summary["DomainName"] == "c.example.com" and not summary["InUse"]


def test_one_that_a_listener_serves(door: Door, acm: Any, leaf: Made) -> None:
    lb, arn = Balancing(door), imported(acm, leaf)
    balancer = lb.balancer()
    listener = lb.listener(balancer, lb.group(), 443, "HTTPS", Certificates=[{"CertificateArn": arn}])
    assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["InUseBy"] == [balancer]
    assert acm.list_certificates()["CertificateSummaryList"][0]["InUse"]
    message = refused("ResourceInUseException", acm.delete_certificate, CertificateArn=arn)
    assert message == f"Certificate {arn} is in use."
    lb.client.delete_listener(ListenerArn=listener)
    acm.delete_certificate(CertificateArn=arn)


def test_tags(acm: Any, leaf: Made) -> None:
    arn = imported(acm, leaf)
    acm.add_tags_to_certificate(CertificateArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b"}])
    remove = acm.remove_tags_from_certificate
    remove(CertificateArn=arn, Tags=[{"Key": "a", "Value": "other"}, {"Key": "b"}])
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == [{"Key": "a", "Value": "1"}]
    remove(CertificateArn=arn, Tags=[{"Key": "a", "Value": "1"}])
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == []
    add = acm.add_tags_to_certificate
    refused("InvalidTagException", add, CertificateArn=arn, Tags=[{"Key": "aws:x"}])
    refused("InvalidTagException", add, CertificateArn=arn, Tags=[{"Key": "a"}, {"Key": "a"}])
    for start in (0, 30):
        many = [{"Key": str(start + n)} for n in range(30)]
        if start:
            refused("TooManyTagsException", add, CertificateArn=arn, Tags=many)
        else:
            add(CertificateArn=arn, Tags=many)


def test_what_is_not_built_says_so(acm: Any) -> None:
    message = refused("NotImplementedException", acm.request_certificate, DomainName="a.example.com")
    assert "is not built" in message
