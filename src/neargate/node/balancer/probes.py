"""One health check of one target: TCP, HTTP, HTTPS, HTTP/2 and gRPC. Called by checker.py.

A probe raises nothing that a target can cause: whatever happens is an outcome.
"""

import asyncio
import contextlib
import ssl

import httpx

from neargate.model.balancer import HealthCheck, Target, TargetGroup
from neargate.model.balancer_rules import matches
from neargate.model.target_health import SUCCESS, Outcome

_AGENT = "ELB-HealthChecker/2.0"
_LINE = 8192
_GOODBYE_SECONDS = 1.0
"""A target that does not end TLS as it should is not waited for any longer."""
FAILED = Outcome("Target.FailedHealthChecks")
_TIMEOUT = Outcome("Target.Timeout")


def _unchecked() -> ssl.SSLContext:
    """Targets' certificates are not verified, as AWS does not."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


_TLS = _unchecked()


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
    scheme = check.protocol.lower()
    # No proxy that this machine's environment names is between a balancer and its targets.
    opening = httpx.AsyncClient(http1=False, http2=True, verify=_TLS, timeout=check.timeout, trust_env=False)
    async with opening as client:
        headers = {"User-Agent": _AGENT}
        async with client.stream(
            "GET", f"{scheme}://{address}:{port}{check.path}", headers=headers
        ) as answer:
            return _judged(check, answer.status_code)


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
