"""A client of registries: one repository of one registry, over TLS or (where told) plain HTTP.

Made by node/images for each pull and handed to images.ImageStore as its Source. Speaks the OCI distribution
specification: Basic and Bearer authentication, redirects, ranges, retries. Errors are ImageErrors in
AWS's words.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from typing import Self

import httpx

from neargate.oci import digest as digests
from neargate.oci.auth import Credentials, Login, LoginError
from neargate.oci.errors import ImageError, Interrupted
from neargate.oci.manifest import ACCEPT, MAX_MANIFEST
from neargate.oci.reference import Reference

_ATTEMPTS = 3
_RETRIED = (408, 429, 500, 502, 503, 504)
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_REDIRECTS = 5


class RegistryClient:
    """See images.Source. Use as an async context manager."""

    def __init__(
        self,
        reference: Reference,
        *,
        credentials: Credentials | None = None,
        endpoint: str = "",
        insecure_hosts: Collection[str] = (),
        ca_file: str = "",
        verify: bool = True,
        backoff: float = 0.5,
    ) -> None:
        """endpoint -- base URL instead of the reference's own host (the built-in registry's door).

        insecure_hosts -- hosts (with or without port) that may be asked over plain HTTP.
        ca_file -- PEM bundle trusted beside the system's. backoff -- seconds before the first retry.
        """
        host = reference.host
        plain = host in insecure_hosts or host.rpartition(":")[0] in insecure_hosts
        self._base = (endpoint or f"{'http' if plain else 'https'}://{host}").rstrip("/")
        self._ref = reference
        self._ca_file, self._verify, self._backoff = ca_file, verify, backoff
        self._login = Login(credentials, f"repository:{reference.path}:pull", self._base)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._http = await self._stack.enter_async_context(
            httpx.AsyncClient(
                verify=_trust(self._base, self._ca_file, self._verify),
                timeout=_TIMEOUT,
                follow_redirects=True,
                max_redirects=_REDIRECTS,
                headers={"User-Agent": "neargate", "Accept-Encoding": "identity"},
                limits=httpx.Limits(max_connections=8),
                trust_env=self._base.startswith("https://"),
            )
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def manifest(self, ref: Reference) -> tuple[bytes, str, str]:
        """(bytes, media type, digest) of what `ref` names. Raise ImageError."""
        url = f"{self._base}/v2/{ref.path}/manifests/{ref.target}"
        prefix = f"pull image manifest has been retried {{}} time(s): failed to resolve ref {ref}: "
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                data, response = await self._small(url, {"Accept": ACCEPT})
            except (httpx.TransportError, httpx.TooManyRedirects, LoginError) as error:
                final = isinstance(error, httpx.TooManyRedirects) or (
                    isinstance(error, LoginError) and not error.transient
                )
                if attempt == _ATTEMPTS or final:
                    raise ImageError(prefix.format(attempt) + _cause("Get", url, error)) from None
            else:
                if response.status_code == 200:
                    return data, *self._identify(ref, data, response)
                if attempt == _ATTEMPTS or response.status_code not in _RETRIED:
                    raise ImageError(prefix.format(attempt) + _refusal(ref, response, data))
            await asyncio.sleep(self._backoff * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _identify(self, ref: Reference, data: bytes, response: httpx.Response) -> tuple[str, str]:
        digest = digests.of(data)
        if ref.digest and ref.digest != digest:
            raise ImageError(
                f"failed to resolve ref {ref}: the registry sent a manifest with digest {digest}"
            )
        return response.headers.get("Content-Type", "").partition(";")[0].strip(), digest

    async def _small(self, url: str, headers: dict[str, str]) -> tuple[bytes, httpx.Response]:
        """A bounded body, logged in if the registry asks for it."""
        for again in (True, False):
            send = headers | self._login.headers()
            async with self._http.stream("GET", url, headers=send) as response:
                if response.status_code == 401 and again and await self._login.answer(self._http, response):
                    continue
                data = b""
                async for chunk in response.aiter_raw():
                    data += chunk
                    if len(data) > MAX_MANIFEST:
                        raise ImageError(f"{url} sent more than {MAX_MANIFEST} bytes for a manifest")
                return data, response
        raise AssertionError("unreachable")

    async def blob(self, digest: str, size: int, offset: int) -> AsyncIterator[bytes]:
        """Bytes of a blob from `offset` on. Raise Interrupted where going on may help, else ImageError."""
        url = f"{self._base}/v2/{self._ref.path}/blobs/{digest}"
        try:
            async for chunk in self._blob(url, size, offset):
                yield chunk
        except LoginError as error:
            raise ImageError(f"failed to copy: {error}") from None
        except httpx.TransportError as error:
            raise Interrupted(
                f"failed to copy: httpReadSeeker: failed open: {_cause('Get', url, error)}"
            ) from None
        except httpx.TooManyRedirects:
            raise ImageError(f"failed to copy: {url}: too many redirects") from None

    async def _blob(self, url: str, size: int, offset: int) -> AsyncIterator[bytes]:
        for again in (True, False):
            headers = self._login.headers() | ({"Range": f"bytes={offset}-"} if offset else {})
            async with self._http.stream("GET", url, headers=headers) as response:
                status = response.status_code
                if status == 401 and again and await self._login.answer(self._http, response):
                    continue
                if status in _RETRIED:
                    raise Interrupted(f"failed to copy: unexpected status code {url}: {_status(response)}")
                if status not in (200, 206):
                    raise ImageError(
                        f"failed to copy: httpReadSeeker: failed open: {url}: {_status(response)}"
                    )
                skip = offset if status == 200 else 0  # a server without ranges sends it all again
                async for chunk in response.aiter_raw():
                    if skip:
                        skip, chunk = max(0, skip - len(chunk)), chunk[skip:]
                    offset += len(chunk)
                    if offset > size:
                        raise ImageError(
                            f"failed to copy: {url} sent more than the {size} bytes it should have"
                        )
                    if chunk:
                        yield chunk
                if offset < size:
                    raise Interrupted(f"failed to copy: {url}: unexpected EOF after {offset} of {size} bytes")
                return


def _trust(base: str, ca_file: str, verify: bool) -> ssl.SSLContext | bool:
    if base.startswith("http://") or not verify:
        return False
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ImageError(f"registry_ca_file {ca_file} cannot be read: {error}") from None
    return context


def _status(response: httpx.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}"


def _refusal(ref: Reference, response: httpx.Response, body: bytes) -> str:
    if response.status_code == 404:
        return f"{ref}: not found"
    if response.status_code in (401, 403):
        return (
            "pull access denied, repository does not exist or may require authorization: "
            f"authorization failed: {_status(response)}"
        )
    return f"unexpected status from GET request to {response.request.url}: {_status(response)}"


def _cause(verb: str, url: str, error: Exception) -> str:
    """What went wrong on the way, in the words of Go's HTTP client."""
    if isinstance(error, LoginError):
        return str(error)
    host = httpx.URL(url)
    address = f"{host.host}:{host.port or (443 if host.scheme == 'https' else 80)}"
    if isinstance(error, httpx.ConnectTimeout):
        why = f"dial tcp {address}: i/o timeout"
    elif isinstance(error, httpx.TimeoutException):
        why = "net/http: timeout awaiting response"
    elif isinstance(error, httpx.ConnectError):
        why = f"dial tcp {address}: {_words(error)}"
    else:
        why = _words(error)
    return f'failed to do request: {verb} "{url}": {why}'


def _words(error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"tls: failed to verify certificate: {text}"
    if "Name or service not known" in text or "name resolution" in text or "No address" in text:
        return "lookup: no such host"
    if "refused" in text or "All connection attempts failed" in text:
        return "connect: connection refused"
    return text or type(error).__name__
