"""The door: every request comes in here, and is sent to the registry, the internal endpoints or an AWS API.

Served by server.py. AWS requests have their signature verified (sigv4.py) and go on to dispatch.py.
"""

import logging
import re
import time
from collections.abc import Mapping

from neargate.gateway import auth_errors, rights, sigv2, sigv4
from neargate.gateway.asgi import ASGIApp
from neargate.gateway.auth_errors import Dialect, Refusal, dialect_of
from neargate.gateway.credentials import KeyRing, RootCredential
from neargate.gateway.dispatch import Dispatcher, Room, build_rooms, internal_failure
from neargate.gateway.internal import Handler, Internal
from neargate.gateway.locate import Locator
from neargate.gateway.metrics import Metrics
from neargate.gateway.s3 import S3Requests
from neargate.kit.clock import Clock, SystemClock
from neargate.kit.errors import ApiError
from neargate.model.record import Scope
from neargate.services.call import Call, House
from neargate.wire import protocols
from neargate.wire.http import Request, Response
from neargate.wire.models import Catalogue

log = logging.getLogger(__name__)

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}")


class App:
    """All that answers requests, without the sockets.

    registry -- ASGI application for /v2/, which checks its own logins.
    internal -- what /_neargate/<name> answers, by name; see internal.py.
    clock -- what signatures are held against: the system's, whatever the house's is; clients use theirs.
    """

    def __init__(
        self,
        house: House,
        credential: RootCredential,
        registry: ASGIApp,
        internal: Mapping[str, Handler],
        *,
        catalogue: Catalogue | None = None,
        rooms: dict[str, Room] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.house = house
        self.registry = registry
        self.metrics = Metrics()
        self._catalogue = catalogue or Catalogue()
        self._rooms = rights.guarded(rooms if rooms is not None else build_rooms(self._catalogue))
        self._locator = Locator(self._catalogue, {name: room.service for name, room in self._rooms.items()})
        self._dispatcher = Dispatcher(self._rooms)
        keys = KeyRing(credential, key=house.signing_key)
        self._verifier = sigv4.Verifier(keys)
        self._s3 = S3Requests(keys, house.endpoint, house.settings.region)
        self._clock = clock or SystemClock()
        self._internal = Internal(house.settings, self._clock, self._verifier, internal, self.metrics)

    def is_registry(self, path: str) -> bool:
        return path.startswith("/v2/") or path == "/v2"

    async def answer(self, request: Request, source_ip: str) -> Response:
        """The answer to any request but the registry's; its body has been read whole."""
        if request.path.startswith("/_neargate/"):
            return await self._internal.answer(request)
        started = time.perf_counter()
        request_id = self.house.ids.uuid()
        service, operation = "", ""
        try:
            scope = sigv4.peek_scope(request)
            service = self._locator.find(request, scope) or ""
            room = self._rooms.get(service)
            if room is None:
                response = self._not_served(request, scope, service, request_id)
            else:
                response, operation = await self._serve(room, request, request_id, source_ip)
        except Exception:
            log.exception("a request failed outside its operation", extra={"request_id": request_id})
            response = self._generic_error(request, internal_failure(), request_id)
        self.metrics.count(service, operation, response.status, time.perf_counter() - started)
        return response

    async def _serve(
        self, room: Room, request: Request, request_id: str, source_ip: str
    ) -> tuple[Response, str]:
        protocol = protocols.detect(room.service, request)
        dialect = dialect_of(room.service.name, str(protocol))
        try:
            verified = self._verify(request, dialect, room.service.signing_name)
            await self._check_bound(verified, dialect)
            if dialect.s3:
                request = await self._s3.plain(request, verified)
        except ApiError as refusal:
            return protocols.serialize_error(room.service, None, protocol, refusal, request_id), ""
        call = Call(
            self.house,
            Scope(verified.credential.account, verified.region),
            verified.credential.principal_arn,
            verified.credential.access_key_id,
            request_id,
            source_ip,
            verified.credential.session,
            request.headers.get("host", ""),
        )
        return await self._dispatcher.run(room, request, call)

    def _verify(self, request: Request, dialect: Dialect, signing_name: str) -> sigv4.Verified:
        if dialect.s3 and sigv2.is_signed(request):
            return self._s3.verify_v2(request, self._clock.now())
        claim = sigv4.read_claim(request, dialect)
        if claim.scope.service != signing_name:
            message = f"Credential should be scoped to correct service: '{signing_name}'."
            raise Refusal.wrong_scope(dialect, message)
        if not _REGION.fullmatch(claim.scope.region):
            raise Refusal.wrong_scope(dialect, "Credential should be scoped to a valid region.")
        return self._verifier.verify(request, claim, dialect, self._clock.now())

    async def _check_bound(self, verified: sigv4.Verified, dialect: Dialect) -> None:
        """Credentials of a task's role end with the task, whatever their time: the store knows."""
        if await rights.ended(self.house, verified.credential.session):
            raise Refusal.expired(dialect)

    def _not_served(
        self, request: Request, scope: sigv4.CredentialScope | None, service: str, request_id: str
    ) -> Response:
        """Nobody to ask: an unsigned request that names no service, or a service that is not built."""
        dialect = auth_errors.JSON if _speaks_json(request) else auth_errors.QUERY
        error: ApiError
        if scope is None:
            error = Refusal.missing(dialect)
        else:
            name, built = service or scope.service, ", ".join(sorted(self._rooms))
            code = "NotImplementedException" if dialect.json else "NotImplemented"
            message = f"The service '{name[:64]}' is not built into neargate. Built: {built}."
            error = ApiError(code, message, status=501)
        return self._generic_error(request, error, request_id)

    def refuse(self, request: Request, error: ApiError) -> Response:
        """The answer to a request that could not be read whole: too large, too slow, not HTTP."""
        return self._generic_error(request, error, self.house.ids.uuid())

    def _generic_error(self, request: Request, error: ApiError, request_id: str) -> Response:
        """An error without a service to spell it: in the JSON or the query protocol's shape."""
        service = self._catalogue.service("ecs" if _speaks_json(request) else "sts")
        protocol = protocols.detect(service, request)
        return protocols.serialize_error(service, None, protocol, error, request_id)


def _speaks_json(request: Request) -> bool:
    return "x-amz-target" in request.headers or "json" in request.headers.get("content-type", "")
