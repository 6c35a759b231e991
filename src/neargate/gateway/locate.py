"""Which service a request is for: read off its target header, path, credential scope or body. Pure.

Called by app.py before the signature is checked, since the service decides how errors are spelled.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

from neargate.gateway import sigv2
from neargate.gateway.sigv4 import CredentialScope
from neargate.wire.http import Request
from neargate.wire.models import Catalogue, Service

_RPC_PATH = re.compile(r"/service/([A-Za-z0-9_.]+)/operation/[A-Za-z0-9_.]+")


class Locator:
    """built -- the services with operations here, by botocore's name; preferred where names are shared."""

    def __init__(self, catalogue: Catalogue, built: Mapping[str, Service]) -> None:
        self._catalogue = catalogue
        self._built = built

    def find(self, request: Request, scope: CredentialScope | None) -> str | None:
        """botocore's name of the service, built or not; None where nothing tells."""
        target = request.headers.get("x-amz-target")
        if target is not None:
            name = self._catalogue.by_target_prefix(target.rpartition(".")[0])
            if name is not None:
                return name
        found = _RPC_PATH.fullmatch(request.path)
        if found is not None:
            name = self._catalogue.by_target_prefix(found[1])
            if name is not None:
                return name
        if scope is not None:
            return self._by_scope(request, scope.service)
        if sigv2.is_signed(request):
            return "s3"
        by_version = self._by_version(request, tuple(self._built))
        return "s3" if by_version is None and _may_be_an_object(request) else by_version

    def _by_scope(self, request: Request, signing_name: str) -> str | None:
        names = self._catalogue.by_signing_name(signing_name)
        if len(names) < 2:
            return names[0] if names else None
        by_version = self._by_version(request, tuple(names))
        if by_version is not None:
            return by_version
        return next((name for name in names if name in self._built), names[0])

    def _by_version(self, request: Request, names: tuple[str, ...]) -> str | None:
        """For requests of the query and EC2 protocols: the service that has their Version."""
        version = _form_version(request)
        if version is None:
            return None
        for name in names:
            service = self._built.get(name) or self._catalogue.service(name)
            if service.api_version == version:
                return name
        return None


def _may_be_an_object(request: Request) -> bool:
    """What nobody signed is refused either way: a browser's question for an object in S3's words."""
    return request.method in ("GET", "HEAD", "PUT", "DELETE") and request.path != "/"


def _form_version(request: Request) -> str | None:
    form = "application/x-www-form-urlencoded" in request.headers.get("content-type", "")
    text = b"&" + (request.body if form else request.query.encode())
    _, found, rest = text.rpartition(b"&Version=")
    if not found or b"Action=" not in text:
        return None
    return unquote_plus(rest[:64].partition(b"&")[0].decode("latin-1"))
