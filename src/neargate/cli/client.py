"""How the CLI finds a daemon and speaks to it: its data directory names the door and the root credential.

Used by every command; AWS calls go through botocore, the daemon's own endpoints through signed requests.
"""

import json
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

DEFAULT_DATA_DIR = Path("/var/lib/neargate")
SERVICE = "neargate"


class CliError(Exception):
    """Something the user can mend; the message says how. Printed without a traceback, exit status 1."""


@dataclass(frozen=True, slots=True)
class DaemonInfo:
    """`<data dir>/daemon.json`, written by the daemon once its door is open."""

    pid: int
    started_ticks: int
    """Start time of the process (field 22 of /proc/<pid>/stat): a reused pid is not taken for it."""
    endpoint: str
    region: str
    account: str
    version: str
    isolation: str
    ephemeral: bool
    settings: dict[str, str]
    """Those by which another process finds what this daemon made: see main."""

    def alive(self) -> bool:
        return process_start(self.pid) == self.started_ticks


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None if there is none (zombies count as none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def data_dir(option: Path | None) -> Path:
    return (option or Path(os.environ.get("NEARGATE_DATA_DIR") or DEFAULT_DATA_DIR)).absolute()


def last(directory: Path) -> DaemonInfo | None:
    """The daemon that ran last on a data directory, alive or not."""
    path = directory / "daemon.json"
    try:
        return DaemonInfo(**json.loads(path.read_bytes()))
    except PermissionError:
        raise _unreadable(path) from None
    except (FileNotFoundError, TypeError, ValueError):
        return None


def find(directory: Path) -> DaemonInfo | None:
    """The living daemon of a data directory, if any."""
    info = last(directory)
    return info if info is not None and info.alive() else None


def require(directory: Path) -> DaemonInfo:
    info = find(directory)
    if info is None:
        raise CliError(f"no daemon runs on {directory}: start one with `neargate up --data-dir {directory}`")
    return info


@dataclass(frozen=True, slots=True)
class RootCredential:
    access_key_id: str
    secret_access_key: str = field(repr=False)


def credential(directory: Path) -> RootCredential:
    path = directory / "credentials.json"
    try:
        values = json.loads(path.read_bytes())
        return RootCredential(values["access_key_id"], values["secret_access_key"])
    except FileNotFoundError:
        raise CliError(f"{path} is missing: start the daemon once with `neargate up`") from None
    except PermissionError:
        raise _unreadable(path) from None
    except (KeyError, TypeError, ValueError):
        raise CliError(f"{path} is damaged: restore it, or remove it and start the daemon anew") from None


def _unreadable(path: Path) -> CliError:
    return CliError(f"{path} is not readable: run this as the user that runs the daemon")


class Client:
    """A caller of one daemon, with the root credential."""

    def __init__(self, directory: Path) -> None:
        self.info = require(directory)
        self._credential = credential(directory)
        generated = directory / "tls" / "cert.pem"
        self._verify: bool | str = str(generated) if generated.exists() else True

    def tls(self) -> ssl.SSLContext | None:
        """What the door's certificate is held against; None where it has none."""
        if not self.info.endpoint.startswith("https"):
            return None
        return ssl.create_default_context(cafile=self._verify if isinstance(self._verify, str) else None)

    def aws(self, service: str) -> Any:
        import botocore.session

        session = botocore.session.Session()
        session.set_credentials(self._credential.access_key_id, self._credential.secret_access_key)
        return session.create_client(
            service, region_name=self.info.region, endpoint_url=self.info.endpoint, verify=self._verify
        )

    def internal(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout: float | None = 60.0
    ) -> Any:
        """Call an endpoint below /_neargate/; returns its JSON. Raise CliError with the daemon's message."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        data = json.dumps(body).encode() if body is not None else b""
        request = AWSRequest(method, f"{self.info.endpoint}/_neargate/{path}", data=data)
        keys = Credentials(self._credential.access_key_id, self._credential.secret_access_key)
        SigV4Auth(keys, SERVICE, self.info.region).add_auth(request)
        try:
            answer = httpx.request(
                method,
                request.url,
                content=data,
                headers=dict(request.headers),
                timeout=timeout,
                verify=self._verify if isinstance(self._verify, bool) else _trust(self._verify),
            )
        except httpx.TransportError as error:
            raise CliError(f"the daemon at {self.info.endpoint} does not answer: {error}") from None
        if answer.status_code >= 400:
            raise CliError(_message(answer))
        return answer.json() if answer.content else {}


def _trust(path: str) -> Any:
    import ssl

    return ssl.create_default_context(cafile=path)


def _message(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return f"HTTP {answer.status_code}: {answer.text[:200]}"
    return str(body.get("message") or body.get("Message") or body)
