"""/_neargate/...: the daemon's own endpoints. Health is open; the rest needs the root credential's signature,
made for the service name `neargate`.

Called by app.py. What status, cost and reset answer is handed in by `main`.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from neargate.gateway import auth_errors, sigv4
from neargate.gateway.auth_errors import Refusal
from neargate.gateway.credentials import RootCredential
from neargate.gateway.metrics import Metrics
from neargate.kit.clock import Clock
from neargate.kit.errors import ApiError
from neargate.kit.settings import Settings
from neargate.wire.http import Request, Response

log = logging.getLogger(__name__)

PREFIX = "/_neargate/"
SIGNING_NAME = "neargate"

Handler = Callable[[Request], Awaitable[Any]]
"""Given the request; returns what msgspec can write as JSON, or a Response. May raise ApiError."""

_WRITES = frozenset({"reset", "pull", "spot-interrupt"})


class Internal:
    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        verifier: sigv4.Verifier,
        handlers: Mapping[str, Handler],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._verifier = verifier
        self._handlers = handlers
        self._metrics = metrics

    async def answer(self, request: Request) -> Response:
        name = request.path.removeprefix(PREFIX)
        try:
            return await self._answer(name, request)
        except ApiError as error:
            return json_response({"code": error.code, "message": error.message}, error.status or 400)
        except Exception:
            log.exception("/_neargate/%s failed", name)
            return json_response({"code": "InternalFailure", "message": "See the daemon's log."}, 500)

    async def _answer(self, name: str, request: Request) -> Response:
        if name == "health":
            handler = self._handlers.get("health", self._health)
        else:
            self._authorize(request)
            if name == "metrics":
                return Response(200, {"content-type": "text/plain; version=0.0.4"}, self._metrics.text())
            found = self._handlers.get(name)
            if found is None:
                raise ApiError("NotFound", f"There is no {PREFIX}{name[:64]}.", status=404)
            handler = found
        self._check_method(name, request.method)
        result = await handler(request)
        return result if isinstance(result, Response) else json_response(result)

    def _check_method(self, name: str, method: str) -> None:
        if name in _WRITES:
            if method != "POST":
                raise ApiError("MethodNotAllowed", f"{PREFIX}{name} takes POST.", status=405)
            if name == "reset" and not self._settings.ephemeral:
                message = "Only a daemon started with --ephemeral can be reset."
                raise ApiError("AccessDenied", message, status=403)
        elif method not in ("GET", "HEAD"):
            raise ApiError("MethodNotAllowed", f"{PREFIX}{name} takes GET.", status=405)

    def _authorize(self, request: Request) -> None:
        dialect = auth_errors.REST_JSON
        claim = sigv4.read_claim(request, dialect)
        if claim.scope.service != SIGNING_NAME:
            raise Refusal.wrong_scope(
                dialect, f"Credential should be scoped to correct service: '{SIGNING_NAME}'."
            )
        verified = self._verifier.verify(request, claim, dialect, self._clock.now())
        if not isinstance(verified.credential, RootCredential):
            raise ApiError("AccessDenied", "Only the root credential may do this.", status=403)

    async def _health(self, request: Request) -> dict[str, str]:
        return {"status": "ok"}


def json_response(value: Any, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, msgspec.json.encode(value))
