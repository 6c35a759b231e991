"""The registry at /v2/, per the OCI distribution specification 1.1: an ASGI application with its own logins.

Mounted by app.py. Finds the handler for a path (registry_blobs, _uploads, _manifests, _lists), checks the
token of `aws ecr get-login-password`, and spells ECR's errors as the specification does.
"""

import base64
import binascii
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from neargate.gateway import (
    registry_blobs,
    registry_lists,
    registry_manifests,
    registry_rights,
    registry_uploads,
)
from neargate.gateway.registry_http import (
    Answer,
    ClientGone,
    Incoming,
    Receive,
    RegistryError,
    Send,
    json_answer,
)
from neargate.gateway.registry_visit import Visit
from neargate.kit.errors import ApiError
from neargate.model import registry_token
from neargate.model.registry_token import Grant, TokenError
from neargate.oci import reference
from neargate.oci.digest import DigestError
from neargate.services.call import House
from neargate.state.store import StoreError

log = logging.getLogger(__name__)

Handler = Callable[[Visit, str], Awaitable[Answer]]
"""Given the visit and what the path ends with: a digest, a reference, an upload's id or nothing."""

_NAME = r"/v2/(?P<name>.+)"
_ROUTES: tuple[tuple[re.Pattern[str], dict[str, Handler]], ...] = (
    (re.compile(rf"{_NAME}/blobs/uploads/?(?P<rest>)"), {"POST": registry_uploads.begin}),
    (
        re.compile(rf"{_NAME}/blobs/uploads/(?P<rest>[^/]+)"),
        {
            "GET": registry_uploads.status,
            "PATCH": registry_uploads.add,
            "PUT": registry_uploads.finish,
            "DELETE": registry_uploads.cancel,
        },
    ),
    (
        re.compile(rf"{_NAME}/blobs/(?P<rest>[^/]+)"),
        {"GET": registry_blobs.get, "HEAD": registry_blobs.head, "DELETE": registry_blobs.delete},
    ),
    (
        re.compile(rf"{_NAME}/manifests/(?P<rest>[^/]+)"),
        {
            "GET": registry_manifests.get,
            "HEAD": registry_manifests.get,
            "PUT": registry_manifests.put,
            "DELETE": registry_manifests.delete,
        },
    ),
    (re.compile(rf"{_NAME}/tags/list(?P<rest>)"), {"GET": registry_lists.tags}),
    (re.compile(rf"{_NAME}/referrers/(?P<rest>[^/]+)"), {"GET": registry_lists.referrers}),
)
# ECR's errors, raised by state/registry, as this API has them.
_CODES = {
    "RepositoryNotFoundException": (404, "NAME_UNKNOWN"),
    "ImageNotFoundException": (404, "MANIFEST_UNKNOWN"),
    "LayersNotFoundException": (400, "MANIFEST_BLOB_UNKNOWN"),
    "ReferencedImagesNotFoundException": (400, "MANIFEST_BLOB_UNKNOWN"),
    "ImageTagAlreadyExistsException": (400, "TAG_INVALID"),
    "InvalidParameterException": (400, "MANIFEST_INVALID"),
}


class RegistryApp:
    def __init__(self, house: House) -> None:
        self._house = house

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the registry serves HTTP, not {scope['type']}")
        try:
            answer = await self._answer(Incoming(scope, receive))
        except ClientGone:
            return
        await answer.send(send)

    async def _answer(self, incoming: Incoming) -> Answer:
        try:
            return await self._route(incoming)
        except RegistryError as error:
            return error.answer()
        except ApiError as error:
            status, code = _CODES.get(error.code, (400, "UNSUPPORTED"))
            return RegistryError(status, code, error.message).answer()
        except DigestError as error:
            return RegistryError(400, "DIGEST_INVALID", str(error)).answer()
        except (StoreError, OSError) as error:
            log.error("the registry could not keep or read its files: %s", error)
            return RegistryError(
                503, "UNKNOWN", "the registry cannot read or keep its files just now"
            ).answer()

    async def _route(self, incoming: Incoming) -> Answer:
        grant = self._login(incoming)
        await registry_rights.check_alive(self._house, grant)
        if grant.blob and not _opens(grant, incoming):
            raise RegistryError(403, "DENIED", "the token is for another blob")
        if incoming.path in ("/v2", "/v2/"):
            _check_method(incoming, ("GET", "HEAD"))
            return json_answer({})
        if incoming.path == "/v2/_catalog":
            _check_method(incoming, ("GET",))
            await registry_rights.check(self._house, grant, incoming, "")
            return await registry_lists.catalog(Visit(self._house, incoming, grant.scope, ""))
        for pattern, handlers in _ROUTES:
            match = pattern.fullmatch(incoming.path)
            if match is None:
                continue
            name, rest = match["name"], match["rest"]
            if not reference.check_repository(name):
                raise RegistryError(400, "NAME_INVALID", f"invalid repository name {name[:300]!r}")
            _check_method(incoming, tuple(handlers))
            await registry_rights.check(self._house, grant, incoming, name)
            visit = Visit(self._house, incoming, grant.scope, name)
            return await handlers[incoming.method](visit, rest)
        raise RegistryError(404, "UNSUPPORTED", "there is nothing at this path of the registry")

    def _login(self, incoming: Incoming) -> Grant:
        """Raise RegistryError 401 without a token of ours, 403 on one that is too old."""
        token = _token(incoming)
        if token is None:
            raise self._unauthorized(
                "authentication required: use the password of `aws ecr get-login-password`"
            )
        try:
            return registry_token.read(self._house.signing_key, token, self._house.clock.now())
        except TokenError as error:
            if error.expired:
                raise RegistryError(
                    403, "DENIED", "Your authorization token has expired. Reauthenticate and try again."
                ) from None
            raise self._unauthorized(
                "the user name must be AWS and the password a token of this registry"
            ) from None

    def _unauthorized(self, message: str) -> RegistryError:
        challenge = f'Basic realm="{self._house.endpoint}/",service="ecr.amazonaws.com"'
        return RegistryError(401, "UNAUTHORIZED", message, {"www-authenticate": challenge})


def _token(incoming: Incoming) -> str | None:
    """The token of the Authorization header, or of a layer's download URL."""
    scheme, _, value = incoming.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return ""
        return password if user == registry_token.USER else ""
    return incoming.query.get("token") if not scheme else ""


def _opens(grant: Grant, incoming: Incoming) -> bool:
    """True if a token for one blob is used to read that blob."""
    name, _, digest = grant.blob.partition("@")
    return incoming.method in ("GET", "HEAD") and incoming.path == f"/v2/{name}/blobs/{digest}"


def _check_method(incoming: Incoming, allowed: tuple[str, ...]) -> None:
    if incoming.method not in allowed:
        message = f"{incoming.method[:20]} is not supported here"
        raise RegistryError(405, "UNSUPPORTED", message, {"allow": ", ".join(allowed)})
