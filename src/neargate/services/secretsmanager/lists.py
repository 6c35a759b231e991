"""ListSecrets: filtered, sorted, in pages. Called by gateway/dispatch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neargate.model.secret import Secret, labels_of
from neargate.services.call import Call, Params, Result
from neargate.services.secretsmanager import names
from neargate.services.secretsmanager.secrets import describe
from neargate.state.catalog import SECRET
from neargate.state.store import Tx

_PAGE = 100
_KEYS: Mapping[str, Callable[[Secret], float | str]] = {
    "created-date": lambda secret: secret.created_at,
    "last-changed-date": lambda secret: secret.changed_at,
    "last-accessed-date": lambda secret: secret.accessed_day or 0.0,
    "name": lambda secret: secret.name,
}
_TEXTS: Mapping[str, Callable[[Secret], Sequence[str]]] = {
    "name": lambda secret: [secret.name],
    "description": lambda secret: [secret.description],
    "tag-key": lambda secret: list(secret.tags),
    "tag-value": lambda secret: list(secret.tags.values()),
    "primary-region": lambda secret: [],
    "owning-service": lambda secret: [],
    "all": lambda secret: [secret.name, secret.description, *secret.tags, *secret.tags.values()],
}


async def list_secrets(call: Call, params: Params) -> Result:
    key = _KEYS[params.get("SortBy") or "created-date"]
    descending = params.get("SortOrder", "desc") == "desc"
    limit = params.get("MaxResults") or _PAGE
    place = names.untoken(params["NextToken"]) if params.get("NextToken") else None
    planned = bool(params.get("IncludePlannedDeletion"))
    now = call.now()

    fits = filtered(params)

    def wanted(secret: Secret) -> bool:
        if secret.deleted_at is not None and (not planned or secret.deleted_at <= now):
            return False
        return fits(secret)

    def body(tx: Tx) -> list[tuple[tuple[float | str, str], Secret]]:
        rows = [
            ((key(secret), secret.arn), secret) for secret in tx.all(SECRET, call.scope) if wanted(secret)
        ]
        rows.sort(key=lambda row: row[0], reverse=descending)
        return rows

    rows = await call.store.scan(body)
    if place is not None:
        rows = [row for row in rows if _is_after(row[0], place, descending)]
    result: Result = {"SecretList": [_shown(secret) for _, secret in rows[:limit]]}
    if len(rows) > limit:
        result["NextToken"] = names.token(rows[limit - 1][0])
    return result


def filtered(params: Params) -> Callable[[Secret], bool]:
    """Whether a secret passes the request's Filters."""
    filters = [(item.get("Key") or "all", item.get("Values") or ()) for item in params.get("Filters") or ()]
    return lambda secret: all(_fits(secret, where, values) for where, values in filters)


def _is_after(row: tuple[float | str, str], place: tuple[float | str, str], descending: bool) -> bool:
    if isinstance(row[0], str) != isinstance(place[0], str):
        return False  # a token of a list sorted otherwise
    return bool(row < place if descending else row > place)


def _fits(secret: Secret, key: str, values: Sequence[str]) -> bool:
    """True if any of the values is found, or (of a value after `!`) is not."""
    texts = _TEXTS[key](secret)
    return any(_found(texts, key, value.lstrip("!")) != value.startswith("!") for value in values)


def _found(texts: Sequence[str], key: str, value: str) -> bool:
    """At the head of a text; of `all`, each word anywhere. These and descriptions ignore case, as on AWS."""
    if key not in ("all", "description"):
        return any(text.startswith(value) for text in texts)
    lowered = [text.lower() for text in texts]
    if key == "description":
        return any(text.startswith(value.lower()) for text in lowered)
    return all(any(word in text for text in lowered) for word in value.lower().split())


def _shown(secret: Secret) -> dict[str, Any]:
    versions = {id: labels_of(secret.stages, id) for id in set(secret.stages.values())}
    return {**describe(secret), **({"SecretVersionsToStages": versions} if versions else {})}
