"""Image names as docker reads them: the cases of the distribution project's own tests, and ECR's hosts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.oci import digest as digests
from neargate.oci.reference import InvalidReference, Reference, check_repository, check_tag, parse

HEX = "a" * 64
SHA = f"sha256:{HEX}"

GOOD = [
    ("nginx", "docker.io/library/nginx:latest"),
    ("nginx:1.27-alpine", "docker.io/library/nginx:1.27-alpine"),
    ("library/nginx", "docker.io/library/nginx:latest"),
    ("bitnami/redis", "docker.io/bitnami/redis:latest"),
    ("docker.io/nginx", "docker.io/library/nginx:latest"),
    ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
    ("docker.io/bitnami/redis:7", "docker.io/bitnami/redis:7"),
    ("localhost/web", "localhost/web:latest"),
    ("localhost:5000/web:v1", "localhost:5000/web:v1"),
    ("127.0.0.1:4566/a/b/c:x", "127.0.0.1:4566/a/b/c:x"),
    ("[::1]:5000/web", "[::1]:5000/web:latest"),
    ("[2001:db8::1]/web:v", "[2001:db8::1]/web:v"),
    ("public.ecr.aws/docker/library/busybox:stable", "public.ecr.aws/docker/library/busybox:stable"),
    ("Upper/case", "Upper/case:latest"),  # an upper-case first part can only be a host
    (f"nginx@{SHA}", f"docker.io/library/nginx@{SHA}"),
    (f"nginx:1.2@{SHA}", f"docker.io/library/nginx:1.2@{SHA}"),
    (f"ghcr.io/a/b:t@{SHA}", f"ghcr.io/a/b:t@{SHA}"),
    ("a_b/c__d/e--f/g.h", "docker.io/a_b/c__d/e--f/g.h:latest"),
    ("host.name.com:8/x", "host.name.com:8/x:latest"),
    ("foo/foo_bar.com:8080", "docker.io/foo/foo_bar.com:8080"),
    (HEX[:63], f"docker.io/library/{HEX[:63]}:latest"),
    ("nginx:" + "t" * 128, "docker.io/library/nginx:" + "t" * 128),
    ("0.0/x", "0.0/x:latest"),
]

BAD = [
    ("", "invalid reference format"),
    (":latest", "invalid reference format"),
    (f"@{SHA}", "invalid reference format"),
    ("localhost:5000/:x", "names no repository"),
    ("Nginx", "must be lowercase"),
    ("library/Nginx", "must be lowercase"),
    ("ghcr.io/A/b", "must be lowercase"),
    ("nginx:", "tag ''"),
    ("nginx:-x", "tag '-x'"),
    ("nginx:" + "t" * 129, "tag "),
    ("nginx:a:b", "tag 'a:b'"),
    ("nginx@", "digest ''"),
    ("nginx@sha256:abc", "digest "),
    (f"nginx@sha256:{'a' * 63}", "digest"),
    (f"nginx@sha256:{'A' * 64}", "digest"),
    (f"nginx@{SHA}@{SHA}", "digest"),
    (HEX, "cannot specify 64-byte hexadecimal strings"),
    ("a//b", "invalid reference format"),
    ("/a", "invalid reference format"),
    ("a/", "invalid reference format"),
    ("a..b", "invalid reference format"),
    ("a___b", "invalid reference format"),
    ("-a", "invalid reference format"),
    ("a-", "invalid reference format"),
    (" nginx", "invalid reference format"),
    ("nginx\n", "invalid reference format"),
    ("nginx:x\n", "tag"),
    ("https://ghcr.io/a", "invalid reference format"),
    ("host:port/a", "registry host"),
    ("-host.com/a", "registry host"),
    ("[::g]/a", "invalid reference format"),
    ("ghcr.io/" + "a" * 256, "must not be more than 255 characters"),
    ("näme", "invalid reference format"),
]


@pytest.mark.parametrize(("text", "full"), GOOD)
def test_good_names_are_completed_as_docker_does(text: str, full: str) -> None:
    assert str(parse(text)) == full
    assert str(parse(full)) == full


@pytest.mark.parametrize(("text", "why"), BAD)
def test_bad_names_are_refused_with_the_cause(text: str, why: str) -> None:
    with pytest.raises(InvalidReference, match=why):
        parse(text)


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidReference:
        return
    assert parse(str(reference)) == reference


def test_the_digest_wins_over_the_tag() -> None:
    assert parse(f"web:v1@{SHA}").target == SHA
    assert parse("web:v1").target == "v1"
    assert parse("web").target == "latest"


def test_docker_hub_answers_elsewhere() -> None:
    assert parse("nginx").host == "registry-1.docker.io"
    assert parse("ghcr.io/a/b").host == "ghcr.io"


@pytest.mark.parametrize(
    ("domain", "account"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", ("123456789012", "eu-west-1")),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", ("123456789012", "us-gov-west-1")),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", ("123456789012", "cn-north-1")),
        ("12345678901.dkr.ecr.eu-west-1.amazonaws.com", None),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.org", None),
        ("x123456789012.dkr.ecr.eu-west-1.amazonaws.com", None),
        ("public.ecr.aws", None),
        ("docker.io", None),
    ],
)
def test_hosts_of_ecr(domain: str, account: tuple[str, str] | None) -> None:
    assert Reference(domain, "web", "latest").ecr_account == account


def test_repositories_and_tags_of_the_registry() -> None:
    assert check_repository("team/web")
    assert not check_repository("Team/web")
    assert not check_repository("a" * 256)
    assert not check_repository("../web")
    assert check_tag("v1.0_x-y")
    assert not check_tag(".v1")
    assert not check_tag("")
    assert not check_tag("v" * 129)


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", f"sha256:{'A' * 64}", f"sha256:{'a' * 65}", f"sha512:{HEX}", HEX, f"{SHA}\n", f" {SHA}",
     "sha256:" + "/" * 64, f"sha256:../../{HEX[6:]}"],
)  # fmt: skip
def test_what_is_no_digest(digest: str) -> None:
    assert not digests.is_digest(digest)
    with pytest.raises(digests.DigestError, match="sha256"):
        digests.hex_of(digest)


def test_digest_of_bytes() -> None:
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digests.of(b"") == empty
    assert digests.check(empty) == empty
    assert digests.hex_of(empty) == empty[7:]
