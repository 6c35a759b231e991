"""Sessions of ECS Exec in the store: new ones, and new tokens for old ones.

Used by services/ecs and services/ssm, which both open them.
"""

import re

from msgspec.structs import replace

from neargate.kit.ids import Ids
from neargate.model import exec_session
from neargate.model.exec_session import ExecSession
from neargate.state.catalog import EXEC_SESSION
from neargate.state.store import Tx

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")


def opened(tx: Tx, ids: Ids, session: ExecSession, now: float) -> tuple[ExecSession, str]:
    """Keep a new session, or one that is given a new token; and the token, which is kept nowhere."""
    token = ids.token(exec_session.TOKEN_BYTES)
    kept = replace(
        session,
        token_digest=exec_session.digest(token),
        token_expires_at=now + exec_session.TOKEN_SECONDS,
    )
    return tx.put(EXEC_SESSION, kept), token


def stream_url(endpoint: str, host: str, id: str) -> str:
    """Where the door has the session's data channel, by the name under which the caller reached it."""
    scheme, _, own = endpoint.partition("://")
    where = host if _HOST.fullmatch(host) else own
    return f"ws{scheme.removeprefix('http')}://{where}/v1/data-channel/{id}?role=publish_subscribe"
