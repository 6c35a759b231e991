"""The gRPC service at which Envoy asks for its configuration (delta ADS), on a socket of this machine's.

Run by control.py. gRPC, and not files that Envoy watches: it takes one inotify instance for each file, of
which Linux grants 128, it tells by no answer what it took or refused, and keeps no order between files.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # read when gRPC loads: it would warn at every fork

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from neargate.node.balancer.publication import Conversation, Publication

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    # Envoy asks now and then whether we are there (envoy.py): who is only asked for long, as while a request
    # waits, would take that amiss and end the connection with all that waits on it.
    ("grpc.http2.max_ping_strikes", 0),
)


class Ads:
    def __init__(self, publication: Publication) -> None:
        self._publication = publication

    def handlers(self) -> grpc.GenericRpcHandler:
        method = grpc.stream_stream_rpc_method_handler(
            self._talk,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"DeltaAggregatedResources": method})

    async def _talk(self, requests: AsyncIterator[Any], context: Any) -> None:
        conversation, news = Conversation(self._publication), asyncio.Event()
        self._publication.changed.add(news.set)
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(_tell(conversation, news, context))
                async for request in requests:
                    conversation.hear(request)
                    news.set()
                telling.cancel()
        finally:
            self._publication.changed.discard(news.set)


async def _tell(conversation: Conversation, news: asyncio.Event, context: Any) -> None:
    while True:
        news.clear()
        while response := conversation.next():
            await context.write(response)
        await news.wait()


@asynccontextmanager
async def served(path: Path, gid: int, *handlers: grpc.GenericRpcHandler) -> AsyncIterator[None]:
    """Serve on a socket that only the group may connect to. Raise OSError."""
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers(handlers)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        if not server.add_insecure_port(f"unix:{path}"):
            raise OSError(f"cannot listen on {path}")
        await server.start()
    finally:
        os.umask(before)
    os.chown(path, 0, gid)
    path.chmod(0o660)
    try:
        yield
    finally:
        await server.stop(0)
