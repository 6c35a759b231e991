"""Image names, read exactly as docker does: `nginx` is docker.io/library/nginx:latest.

Called by services/ecs (validation), node/images (what to pull from where). Names of the account's own ECR
hosts are recognised by `ecr_account`, so that existing task definitions run unedited.
"""

import re
from dataclasses import dataclass

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_ECR = re.compile(r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_NAME_LIMIT = 255
DOCKER_HUB = "docker.io"


class InvalidReference(ValueError):
    """The text is no image name; the message says why."""


@dataclass(frozen=True, slots=True)
class Reference:
    """domain -- host[:port]; path -- repository; tag and digest -- at least one is set."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        """The full name, as containerd prints it."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.domain}/{self.path}{tag}{digest}"

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest wins over the tag."""
        return self.digest or self.tag or "latest"

    @property
    def host(self) -> str:
        """Where the registry API of this domain is."""
        return "registry-1.docker.io" if self.domain == DOCKER_HUB else self.domain

    @property
    def ecr_account(self) -> tuple[str, str] | None:
        """(account, region) if the domain is an ECR host of AWS."""
        match = _ECR.fullmatch(self.domain)
        return (match[1], match[2]) if match else None


def parse(text: str) -> Reference:
    """Raise InvalidReference with docker's words on anything that docker refuses."""
    if re.fullmatch(r"[a-f0-9]{64}", text):
        raise InvalidReference(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    domain, rest = _split_domain(text)
    name, at, digest = rest.partition("@")
    path, colon, tag = name.partition(":")
    if not path:
        raise InvalidReference(f"invalid reference format: {text!r} names no repository")
    if not _PATH.fullmatch(path):
        if path.lower() != path and _PATH.fullmatch(path.lower()):
            raise InvalidReference(f"invalid reference format: repository name ({path}) must be lowercase")
        raise InvalidReference(f"invalid reference format: {text!r}")
    if len(f"{domain}/{path}") > _NAME_LIMIT:
        raise InvalidReference(f"repository name must not be more than {_NAME_LIMIT} characters")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidReference(f"invalid reference format: tag {tag!r}")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidReference(f"invalid reference format: digest {digest!r}")
    if digest.startswith("sha256:") and not _SHA256.fullmatch(digest):
        raise InvalidReference(f"invalid checksum digest length or format: {digest!r}")
    if not colon and not at:
        tag = "latest"
    return Reference(domain, path, tag or None, digest or None)


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    named = "." in first or ":" in first or first == "localhost" or first.lower() != first
    if not slash or not named:
        domain, rest = DOCKER_HUB, text
    else:
        domain = DOCKER_HUB if first == "index.docker.io" else first
    if not _DOMAIN.fullmatch(domain):
        raise InvalidReference(f"invalid reference format: registry host {domain!r}")
    if domain == DOCKER_HUB and "/" not in rest:
        rest = f"library/{rest}"
    return domain, rest


def check_repository(name: str) -> bool:
    """True if `name` may be a repository of the distribution specification."""
    return len(name) <= _NAME_LIMIT and _PATH.fullmatch(name) is not None


def check_tag(tag: str) -> bool:
    return _TAG.fullmatch(tag) is not None
