"""The root credential and the daemon's own key: made at first start, kept in the data directory, mode 0600.

Called by `main` at start-up; gateway/sigv4 asks for the secret behind a key id. Secrets are never logged.
"""

import base64
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from neargate.kit.ids import Ids
from neargate.kit.settings import Settings, SettingsError
from neargate.model import session
from neargate.model.session import Session

_FILE = "credentials.json"
_KEY_FILE = "signing.key"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a key id stands for. `session_token` is set for temporary credentials only."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    account: str
    principal_arn: str
    session_token: str = field(default="", repr=False)
    session: Session | None = None
    """Of temporary credentials that the daemon minted: they end, and may be bound to a task."""


class RootCredential(Credential):
    """The account's own: may do everything."""


class Credentials(Protocol):
    def find(self, access_key_id: str, token: str = "") -> Credential | None: ...


class KeyRing:
    """Credentials held in memory, by key id; and sessions, which their tokens hold."""

    def __init__(self, *credentials: Credential, key: bytes = b"") -> None:
        """key -- the daemon's own, with which sessions are minted; without it there are none."""
        self._by_id = {c.access_key_id: c for c in credentials}
        self._key = key

    def find(self, access_key_id: str, token: str = "") -> Credential | None:
        """`token` -- the session token that came with the key id; whether it has expired is not asked."""
        known = self._by_id.get(access_key_id)
        if known is not None or not token or not self._key:
            return known
        found = session.open_token(self._key, access_key_id, token)
        if found is None:
            return None
        secret = session.secret_of(self._key, access_key_id)
        return Credential(access_key_id, secret, found.account, found.principal_arn, token, found)


def load_or_create(settings: Settings, ids: Ids) -> RootCredential:
    """The root credential: imported from settings, else read from the data directory, else made there.

    An imported one replaces the file, so that the CLI finds it. Raises SettingsError on a file that others
    may read, or that is damaged.
    """
    path = settings.data_dir / _FILE
    kept = _load(path)
    if settings.root_access_key_id:
        pair = settings.root_access_key_id, settings.root_secret_access_key
    elif kept is not None:
        pair = kept
    else:
        pair = _new_key_id(ids), _new_secret()
    if pair != kept:
        text = json.dumps({"access_key_id": pair[0], "secret_access_key": pair[1]}, indent=2) + "\n"
        _write_private(path, text.encode())
    account = settings.account_id
    return RootCredential(pair[0], pair[1], account, f"arn:aws:iam::{account}:root")


def load_or_create_key(data_dir: Path) -> bytes:
    """32 random bytes that sign the daemon's own tokens; made at first start."""
    path = data_dir / _KEY_FILE
    key = _read_private(path)
    if key is None:
        key = secrets.token_bytes(32)
        _write_private(path, key)
    if len(key) != 32:
        raise SettingsError(f"{path} is damaged: it must hold 32 bytes; remove it to have a new one made")
    return key


def _new_key_id(ids: Ids) -> str:
    return "AKIA" + base64.b32encode(bytes.fromhex(ids.hex(20))).decode()


def _new_secret() -> str:
    # 30 bytes make 40 base64 digits without padding, as AWS's secrets are.
    return base64.b64encode(secrets.token_bytes(30)).decode()


def _load(path: Path) -> tuple[str, str] | None:
    raw = _read_private(path)
    if raw is None:
        return None
    try:
        kept: Mapping[str, str] = json.loads(raw)
        pair = kept["access_key_id"], kept["secret_access_key"]
        if not all(isinstance(part, str) and part for part in pair):
            raise ValueError("empty")
    except (ValueError, KeyError, TypeError):
        raise SettingsError(f"{path} is damaged; remove it to have a new credential made") from None
    return pair


def _read_private(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise SettingsError(f"{path} has mode {mode:04o}: others may read it; run `chmod 600 {path}`")
            return file.read(65536)
    except FileNotFoundError:
        return None


def _write_private(path: Path, content: bytes) -> None:
    """Write whole or not at all, never readable by others, on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
