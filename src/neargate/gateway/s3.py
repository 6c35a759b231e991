"""What S3's requests have of their own: buckets in the host's name, the old presigned URLs, chunked bodies.

Called by app.py for the service s3, before and after a request's signature is checked.
"""

import asyncio
import dataclasses
import re
from urllib.parse import urlsplit

from neargate.gateway import s3_body, sigv2
from neargate.gateway.credentials import Credentials
from neargate.gateway.sigv4 import Verified
from neargate.wire.http import Request

_ADDRESS = re.compile(r"[0-9.]+|\[.*\]")
_IN_LINE = 64 * 1024
"""Bytes of a body that are hashed at once; more are on a thread."""


class S3Requests:
    def __init__(self, credentials: Credentials, endpoint: str, region: str) -> None:
        """endpoint -- the door's URL. region -- of requests whose signature names none."""
        self._credentials = credentials
        self._region = region
        names = [r"(?:s3\.)?localhost", r"s3(?:[.-][a-z0-9-]+)*\.amazonaws\.com"]
        host = urlsplit(endpoint).hostname or ""
        if host and not _ADDRESS.fullmatch(host):
            names.append(re.escape(host))
        self._hosts = re.compile(rf"(.+?)\.(?:{'|'.join(names)})")

    def verify_v2(self, request: Request, now: float) -> Verified:
        """Of a request that `sigv2.is_signed`. Raise a Refusal."""
        credential = sigv2.verify(request, self._path(request), self._credentials, now)
        return Verified(credential, self._region, "s3", b"", "", "")

    async def plain(self, request: Request, verified: Verified) -> Request:
        """The request as S3's model has it: bucket in the path, body without chunks. Raise ApiError."""
        headers = request.headers
        if sigv2.is_signed(request):
            headers = {**headers, **sigv2.signed_headers(request)}
        request = dataclasses.replace(request, path=self._path(request), headers=headers)
        if len(request.body) <= _IN_LINE:
            return s3_body.plain(request, verified)
        return await asyncio.to_thread(s3_body.plain, request, verified)

    def _path(self, request: Request) -> str:
        """With the bucket at its head, wherever it is in the request."""
        host = request.headers.get("host", "").lower()
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        found = self._hosts.fullmatch(name)
        return f"/{found[1]}{request.path}" if found else request.path
