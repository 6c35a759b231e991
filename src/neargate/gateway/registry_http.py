"""What the registry's handlers are given and what they answer, over ASGI. Bodies are streams both ways.

Used by gateway/registry and its parts only.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


class RegistryError(Exception):
    """An error as the distribution specification spells it: status, code, message."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        detail: Any = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.detail = detail

    def answer(self) -> "Answer":
        error = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return json_answer({"errors": [error]}, self.status, self.headers)


class Incoming:
    """One request."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.client: str = (scope.get("client") or ("",))[0]
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]},{text}" if key in self.headers else text
        self._receive = receive

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raise ClientGone if it ends too soon."""
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            if body := message.get("body", b""):
                yield body
            if not message.get("more_body", False):
                return

    async def read(self, limit: int) -> bytes:
        """The body whole. Raise RegistryError if it is longer than `limit`."""
        parts: list[bytes] = []
        left = limit
        async for chunk in self.stream():
            left -= len(chunk)
            if left < 0:
                raise RegistryError(413, "SIZE_INVALID", f"the body may have {limit} bytes at most")
            parts.append(chunk)
        return b"".join(parts)

    @property
    def length(self) -> int | None:
        """Bytes of the body as announced; None if the client did not say."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdecimal() and len(text) < 20 else None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""

    async def send(self, send: Send) -> None:
        """A streamed body must have its content-length among the headers."""
        headers = {"docker-distribution-api-version": "registry/2.0", **self.headers}
        if isinstance(self.body, bytes) and self.status != 204:
            headers.setdefault("content-length", str(len(self.body)))
        start = [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": start})
        if not isinstance(self.body, bytes):
            async for chunk in self.body:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": self.body})


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None, kind: str = "application/json"
) -> Answer:
    return Answer(status, {"content-type": kind, **(headers or {})}, json.dumps(value).encode())


def next_link(path: str, parameters: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The header that says where a list goes on."""
    return {"link": f'<{path}?{urlencode(parameters)}>; rel="next"'}
