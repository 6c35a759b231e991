"""Secrets by name or ARN, and their values: what services/secretsmanager and services/cell share.

Each function takes a transaction. Errors are Secrets Manager's own ApiErrors.
"""

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.record import Scope
from neargate.model.secret import CURRENT, SealError, Secret, Value, Version, unseal, version_id
from neargate.state.catalog import SECRET, SECRET_VERSION, minute
from neargate.state.store import Tx

_VERSIONS_KEPT = 100
_DAY = 86_400.0


def not_found() -> ApiError:
    return ApiError("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")


def find(tx: Tx, scope: Scope, id: str, now: float) -> Secret | None:
    """By name, ARN, or ARN without its random end; also one that waits to be deleted, but no later."""
    secret: Secret | None = None
    if id.startswith("arn:"):
        prefix = scope.arn("secretsmanager", "secret:")
        if not id.startswith(prefix):
            return None
        secret = tx.get(SECRET, id)
        name = id.removeprefix(prefix)
    else:
        name = id
    if secret is None:
        found = tx.find(SECRET, "name", f"{scope.account}/{scope.region}/{name}")
        secret = next(iter(found), None)
    if secret is not None and secret.deleted_at is not None and secret.deleted_at <= now:
        return None
    return secret


def need(tx: Tx, scope: Scope, id: str, now: float, *, deleted: bool = False) -> Secret:
    """Raise ResourceNotFoundException; InvalidRequestException on one marked for deletion (but `deleted`)."""
    secret = find(tx, scope, id, now)
    if secret is None:
        raise not_found()
    if secret.deleted_at is not None and not deleted:
        raise ApiError(
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
        )
    return secret


def need_version(tx: Tx, secret: Secret, id: str | None, stage: str | None) -> Version:
    """Raise ResourceNotFoundException, InvalidRequestException (id and stage that do not belong together)."""
    if id is not None and stage is not None and secret.stages.get(stage) != id:
        raise ApiError(
            "InvalidRequestException",
            "You provided a VersionStage that is not associated to the provided VersionId.",
        )
    wanted = id if id is not None else secret.stages.get(stage or CURRENT)
    version = tx.get(SECRET_VERSION, version_id(secret.arn, wanted)) if wanted is not None else None
    if version is None:
        what = f"VersionId: {id}" if id is not None else f"staging label: {stage or CURRENT}"
        raise ApiError(
            "ResourceNotFoundException", f"Secrets Manager can't find the specified secret value for {what}"
        )
    return version


def opened(key: bytes, version: Version) -> Value:
    """The value in clear. Raise DecryptionFailure."""
    try:
        return unseal(key, version)
    except SealError as error:
        raise ApiError("DecryptionFailure", str(error)) from None


def note_access(tx: Tx, secret: Secret, now: float) -> None:
    """Remember the day on which a value was last read; see `access_is_news`."""
    kept = tx.get(SECRET, secret.arn)
    if kept is not None:
        tx.put(SECRET, replace(kept, accessed_day=now - now % _DAY))


def access_is_news(secret: Secret, now: float) -> bool:
    return secret.accessed_day != now - now % _DAY


def versions_of(tx: Tx, secret: Secret) -> list[Version]:
    return tx.find(SECRET_VERSION, "secret", secret.arn)


def trim(tx: Tx, secret: Secret) -> None:
    """Forget the oldest versions without a label, beyond a hundred."""
    unlabelled = [v for v in versions_of(tx, secret) if v.id not in secret.stages.values()]
    unlabelled.sort(key=lambda version: version.created_at)
    for version in unlabelled[:-_VERSIONS_KEPT]:
        tx.delete(SECRET_VERSION, SECRET_VERSION.id(version))


def delete(tx: Tx, secret: Secret) -> None:
    for version in versions_of(tx, secret):
        tx.delete(SECRET_VERSION, SECRET_VERSION.id(version))
    tx.delete(SECRET, secret.arn)


def purge(tx: Tx, now: float) -> None:
    """Forget the secrets whose recovery window has ended."""
    for value in tx.values(SECRET, "due", until=minute(now)):
        for secret in tx.find(SECRET, "due", value):
            if secret.deleted_at is not None and secret.deleted_at <= now:
                delete(tx, secret)
