"""Requests that wait for a service which is scaled to zero: Envoy asks here before it sends one on, and is
answered when a target is there.

Served by plane.py beside ads.py, as Envoy's external authorization; who waits has the service woken by the
control plane.
"""

import asyncio
from collections import Counter
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from envoy.type.v3 import http_status_pb2

from neargate.kit.clock import Clock
from neargate.model import envoy_pages
from neargate.model.balancing import ANSWERING, View
from neargate.model.envoy_routes import WOKEN
from neargate.node.balancer.base import BalancerCell, CellError
from neargate.node.balancer.publication import Publication

_SERVICE = "envoy.service.auth.v3.Authorization"
_LONGEST_SECONDS = 30.0
_ASK_AGAIN_SECONDS = 5.0
MOST_WAITING = 512
"""Requests for one group: who comes then is told at once that nobody is there."""


class Waking:
    def __init__(self, cell: BalancerCell, publication: Publication, clock: Clock) -> None:
        self._cell = cell
        self._publication = publication
        self._clock = clock
        self._awake: dict[str, int] = {}
        """Groups with somebody who answers, and the publication that says so to Envoy."""
        self._asked: dict[str, float] = {}
        self._news: set[asyncio.Event] = set()
        self._waiting: Counter[str] = Counter()

    def take(self, view: View, number: int) -> None:
        """number -- of the publication with this view."""
        answering = {target.group_arn for target in view.targets.values() if target.state in ANSWERING}
        self._awake = {arn: self._awake.get(arn, number) for arn in answering}
        self._asked = {arn: at for arn, at in self._asked.items() if arn not in answering}
        for news in self._news:
            news.set()

    def handlers(self) -> grpc.GenericRpcHandler:
        method = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=external_auth_pb2.CheckRequest.FromString,
            response_serializer=external_auth_pb2.CheckResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"Check": method})

    async def _check(self, request: Any, context: Any) -> Any:
        group = request.attributes.context_extensions[WOKEN]
        if self._waiting[group] >= MOST_WAITING:
            return _unavailable()
        self._waiting[group] += 1
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                await self._answering(group)
        except TimeoutError:
            return _unavailable()
        finally:
            self._waiting[group] -= 1
            if not self._waiting[group]:
                del self._waiting[group]
        return external_auth_pb2.CheckResponse()

    async def _answering(self, group: str) -> None:
        """Until Envoy has been told of somebody, who is still there by then."""
        number = None
        while number is None or self._awake.get(group) != number:
            await self._woken(group)
            number = self._awake[group]
            await self._publication.applied(number)

    async def _woken(self, group: str) -> None:
        news = asyncio.Event()
        self._news.add(news)
        try:
            while group not in self._awake:
                news.clear()  # before: what comes while the control plane is asked is news
                await self._wake(group)
                try:
                    async with asyncio.timeout(_ASK_AGAIN_SECONDS):
                        await news.wait()
                except TimeoutError:
                    continue
        finally:
            self._news.discard(news)

    async def _wake(self, group: str) -> None:
        """Once for all that wait; again where nothing came of it, or the control plane did not hear."""
        now = self._clock.now()
        if now - self._asked.get(group, 0.0) < _ASK_AGAIN_SECONDS:
            return
        self._asked[group] = now
        try:
            await self._cell.wake(group)
        except CellError:
            self._asked.pop(group, None)


def _unavailable() -> Any:
    header = base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key="content-type", value="text/html"))
    denied = external_auth_pb2.DeniedHttpResponse(
        status=http_status_pb2.HttpStatus(code=503), headers=[header], body=envoy_pages.page(503)
    )
    response = external_auth_pb2.CheckResponse(denied_response=denied)
    response.status.code = grpc.StatusCode.UNAVAILABLE.value[0]
    return response
