"""Whatever a target answers over HTTP/2 is an outcome of its check, and no error of the checker."""

import asyncio

import h2.config
import h2.connection
import h2.events
import pytest

from neargate.model.balancer import HealthCheck
from neargate.node.balancer.probes import probe
from tests.support.envoy_rig import group, target

CHECKED = group("checked", protocol_version="HTTP2", health_check=HealthCheck(timeout=5))


async def outcome(*headers: tuple[bytes, bytes]) -> str:
    """The cause, where these are the answer's headers."""
    shape = h2.config.H2Configuration(
        client_side=False,
        header_encoding=False,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(shape)
        connection.initiate_connection()
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    connection.send_headers(event.stream_id, list(headers), end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()
        over.set()

    over = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        found = await probe(target(CHECKED, server.sockets[0].getsockname()[1]), CHECKED)
        await over.wait()
    return found.cause


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b":status", b"200")], ""),
        ([(b":status", b"302")], "Target.ResponseCodeMismatch"),
        ([(b":status", b"302"), (b"location", b"http:x")], "Target.ResponseCodeMismatch"),
        ([(b":status", b"302"), (b"location", b"http://[::1")], "Target.ResponseCodeMismatch"),
        ([(b":status", b"200"), (b"content-encoding", b"\xff")], ""),
        ([(b":status", b"abc")], "Target.FailedHealthChecks"),
    ],
)
async def test_an_answer_is_an_outcome(headers: list[tuple[bytes, bytes]], expected: str) -> None:
    assert await outcome(*headers) == expected
