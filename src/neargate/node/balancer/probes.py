"""One health check of one target: TCP, HTTP, HTTPS, HTTP/2 and gRPC. Called by checker.py.

A probe raises nothing that a target can cause: whatever happens is an outcome.
"""

import asyncio
import contextlib
import ssl

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamReset

from neargate.model.balancer import HealthCheck, Target, TargetGroup
from neargate.model.balancer_rules import matches
from neargate.model.target_health import SUCCESS, Outcome

_AGENT = "ELB-HealthChecker/2.0"
_LINE = 8192
_READ, _MOST_READS = 2048, 16
_GOODBYE_SECONDS = 1.0
"""A target that does not end TLS as it should is not waited for any longer."""
FAILED = Outcome("Target.FailedHealthChecks")
_TIMEOUT = Outcome("Target.Timeout")


def _unchecked(*protocols: str) -> ssl.SSLContext:
    """Targets' certificates are not verified, as AWS does not: no authorities are read for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


_TLS, _TLS_HTTP2 = _unchecked(), _unchecked("h2")


async def probe(target: Target, group: TargetGroup) -> Outcome:
    check = group.health_check
    port = target.port if check.port == "traffic-port" else int(check.port)
    try:
        async with asyncio.timeout(check.timeout):
            if check.protocol == "TCP":
                return await _tcp(target.address, port)
            if group.protocol_version == "GRPC":
                return await _grpc(target.address, port, check)
            if group.protocol_version == "HTTP2":
                return await _http2(target.address, port, check)
            return await _http(target.address, port, check)
    except TimeoutError:
        return _TIMEOUT
    except Exception:  # whatever hostile bytes bring a client to: it ends the checks of no other target
        return FAILED


async def _tcp(address: str, port: int) -> Outcome:
    _reader, writer = await asyncio.open_connection(address, port)
    writer.close()
    return SUCCESS


async def _http(address: str, port: int, check: HealthCheck) -> Outcome:
    secure = _TLS if check.protocol == "HTTPS" else None
    goodbye = _GOODBYE_SECONDS if secure else None
    opening = asyncio.open_connection(address, port, ssl=secure, ssl_shutdown_timeout=goodbye, limit=_LINE)
    reader, writer = await opening
    try:
        usual = 443 if secure else 80
        host = address if port == usual else f"{address}:{port}"
        head = f"GET {check.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {_AGENT}\r\n"
        writer.write(f"{head}Accept-Encoding: gzip, compressed\r\nConnection: close\r\n\r\n".encode())
        version, _, rest = (await reader.readline()).partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            return FAILED
        return _judged(check, int(rest[:3]))
    finally:
        writer.close()
        if secure is None:
            with contextlib.suppress(RuntimeError):
                writer.transport.abort()  # nobody waits for the answer's rest


def _judged(check: HealthCheck, code: int) -> Outcome:
    return SUCCESS if matches(check.matcher, code) else Outcome("Target.ResponseCodeMismatch", str(code))


async def _http2(address: str, port: int, check: HealthCheck) -> Outcome:
    """Only so much is read as a short answer needs: each frame of HTTP/2 is work for the whole daemon."""
    secure = _TLS_HTTP2 if check.protocol == "HTTPS" else None
    goodbye = _GOODBYE_SECONDS if secure else None
    opening = asyncio.open_connection(address, port, ssl=secure, ssl_shutdown_timeout=goodbye, limit=_LINE)
    reader, writer = await opening
    try:
        spoken = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        spoken.initiate_connection()
        stream = spoken.get_next_available_stream_id()
        asked = {":method": "GET", ":authority": f"{address}:{port}", ":scheme": check.protocol.lower()}
        asked |= {":path": check.path, "user-agent": _AGENT}
        spoken.send_headers(stream, list(asked.items()), end_stream=True)
        for _ in range(_MOST_READS):
            writer.write(spoken.data_to_send())
            data = await reader.read(_READ)
            await asyncio.sleep(0)  # what has come already is read without a pause
            for event in spoken.receive_data(data) if data else (ConnectionTerminated(),):
                if isinstance(event, ResponseReceived):
                    return _judged(check, int(dict(event.headers)[b":status"]))
                if isinstance(event, StreamReset | ConnectionTerminated):
                    return FAILED
        return FAILED
    finally:
        writer.close()
        if secure is None:
            with contextlib.suppress(RuntimeError):
                writer.transport.abort()


async def _grpc(address: str, port: int, check: HealthCheck) -> Outcome:
    """An empty request of the method that the path names; any status that the matcher has is a success."""
    import grpc  # loaded with the first check that needs it
    import grpc.aio

    secure = grpc.ssl_channel_credentials() if check.protocol == "HTTPS" else None
    where = f"{address}:{port}"
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", _LINE)]
    if secure:
        opened = grpc.aio.secure_channel(where, secure, options=options)
    else:
        opened = grpc.aio.insecure_channel(where, options=options)
    async with opened as channel:
        try:
            await channel.unary_unary(check.path)(b"", metadata=(("user-agent", _AGENT),))
        except grpc.aio.AioRpcError as error:
            code = int(error.code().value[0])
            if code == grpc.StatusCode.UNAVAILABLE.value[0]:
                return FAILED
        else:
            code = 0
    return _judged(check, code)
