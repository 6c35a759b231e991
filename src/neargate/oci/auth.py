"""Logging in to a registry: answers Basic and Bearer challenges. Part of client.py; token format: the
distribution project's token authentication specification.
"""

import base64
import re
from dataclasses import dataclass, field

import httpx
import msgspec

_CHALLENGE = re.compile(r"\s*(\w+)\s*(.*)", re.S)
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_TOKEN_LIMIT = 256 * 1024


class LoginError(Exception):
    """Logging in failed. `transient`: trying again may help."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str = field(repr=False)

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Login:
    """What one repository's requests carry. Starts with nothing and learns from the registry's challenge."""

    def __init__(self, credentials: Credentials | None, scope: str, registry: str) -> None:
        """registry -- its base URL: nobody else's challenge is answered."""
        self._credentials = credentials
        self._scope = scope
        self._registry = httpx.URL(registry)
        self._authorization = ""

    def headers(self) -> dict[str, str]:
        return {"Authorization": self._authorization} if self._authorization else {}

    async def answer(self, http: httpx.AsyncClient, response: httpx.Response) -> bool:
        """Learn from a 401; True if the request is worth repeating. Raise LoginError."""
        if response.request.url.netloc != self._registry.netloc:
            return False  # a storage that it redirects to: it must not get at the password
        for header in response.headers.get_list("www-authenticate"):
            match = _CHALLENGE.fullmatch(header)
            scheme = match[1].lower() if match else ""
            if scheme == "bearer" and match:
                parameters = {k.lower(): v or w for k, v, w in _PARAMETER.findall(match[2])}
                self._authorization = f"Bearer {await self._token(http, parameters)}"
                return True
            if scheme == "basic" and self._credentials:
                wanted = self._credentials.basic()
                if self._authorization != wanted:
                    self._authorization = wanted
                    return True
        return False

    async def _token(self, http: httpx.AsyncClient, challenge: dict[str, str]) -> str:
        realm = challenge.get("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise LoginError(f"failed to fetch oauth token: realm {realm!r} is no URL")
        if self._credentials and realm.startswith("http://") and self._registry.scheme == "https":
            raise LoginError(
                f"failed to fetch oauth token: realm {realm!r} would get the password unencrypted"
            )
        query = {"scope": challenge.get("scope", self._scope)}
        if "service" in challenge:
            query["service"] = challenge["service"]
        headers = {"Authorization": self._credentials.basic()} if self._credentials else {}
        try:
            async with http.stream(
                "GET", httpx.URL(realm).copy_merge_params(query), headers=headers
            ) as answer:
                body = b""
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > _TOKEN_LIMIT:
                        raise LoginError("failed to fetch oauth token: the answer is too long")
        except httpx.TooManyRedirects as error:
            raise LoginError(f"failed to fetch oauth token: {error}") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise LoginError(f"failed to fetch oauth token: {error}", transient=True) from None
        if answer.status_code != 200:
            raise LoginError(
                "pull access denied, repository does not exist or may require authorization: "
                f"failed to fetch oauth token: unexpected status from GET request to {realm}: "
                f"{answer.status_code} {answer.reason_phrase}",
                transient=answer.status_code >= 500 or answer.status_code == 429,
            )
        return _read(body)


def _read(body: bytes) -> str:
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        document = None
    token = document.get("token") or document.get("access_token") if isinstance(document, dict) else None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise LoginError("failed to fetch oauth token: the answer has no token")
    return token
