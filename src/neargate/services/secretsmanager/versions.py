"""Versions of a secret and their staging labels. Called by gateway/dispatch."""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.secret import CURRENT, Secret, Version, labels_of, moved, version_id
from neargate.services.call import Call, Params, Result
from neargate.services.secretsmanager import names
from neargate.state import secrets
from neargate.state.catalog import SECRET, SECRET_VERSION
from neargate.state.store import Tx

_PAGE = 100


async def list_secret_version_ids(call: Call, params: Params) -> Result:
    """Those with labels; with IncludeDeprecated all that are kept."""
    limit, deprecated = params.get("MaxResults") or _PAGE, bool(params.get("IncludeDeprecated"))
    place = names.untoken(params["NextToken"]) if params.get("NextToken") else (0.0, "")

    def body(tx: Tx) -> tuple[Secret, list[Version]]:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now(), deleted=True)
        return secret, secrets.versions_of(tx, secret)

    secret, versions = await call.store.read(body)
    labelled = frozenset(secret.stages.values())
    rows = sorted((v.created_at, v.id) for v in versions if deprecated or v.id in labelled)
    rows = [row for row in rows if isinstance(place[0], float | int) and row > place]
    page = rows[:limit]
    result: Result = {
        "ARN": secret.arn,
        "Name": secret.name,
        "Versions": [_shown(secret, created_at, id) for created_at, id in page],
    }
    return result | ({"NextToken": names.token(page[-1])} if len(rows) > limit else {})


def _shown(secret: Secret, created_at: float, id: str) -> dict[str, Any]:
    labels = labels_of(secret.stages, id)
    shown = {"VersionId": id, "CreatedDate": created_at}
    return shown | ({"VersionStages": labels} if labels else {})


async def update_secret_version_stage(call: Call, params: Params) -> Result:
    """Move a label from one version to another, put it on one, or take it off."""
    label = names.text_of(params, "VersionStage") or ""
    to, off = names.text_of(params, "MoveToVersionId"), names.text_of(params, "RemoveFromVersionId")
    if to is None and off is None:
        raise names.invalid("You must specify MoveToVersionId, RemoveFromVersionId or both.")

    def body(tx: Tx) -> Secret:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now())
        for id in (to, off):
            if id is not None and tx.get(SECRET_VERSION, version_id(secret.arn, id)) is None:
                message = f"Secrets Manager can't find the specified secret value for VersionId: {id}"
                raise ApiError("ResourceNotFoundException", message)
        _check_holder(secret, label, to, off)
        if to is not None:
            stages = moved(secret.stages, to, [label])
        else:
            stages = {name: id for name, id in secret.stages.items() if name != label}
        changed = replace(secret, stages=stages, changed_at=call.now())
        secrets.trim(tx, changed)
        return tx.put(SECRET, changed)

    secret = await call.store.write(body)
    return {"ARN": secret.arn, "Name": secret.name}


def _check_holder(secret: Secret, label: str, to: str | None, off: str | None) -> None:
    """The version that has the label must be the one that the request takes it from."""
    holder = secret.stages.get(label)
    if off is not None and holder != off:
        raise names.invalid(f"The staging label {label} is not attached to version {off}.")
    if to is None and label == CURRENT:
        raise names.invalid(
            f"You can only move staging label {CURRENT} to a different secret version. It can't be "
            "completely removed."
        )
    if holder is not None and off is None and to != holder:
        raise names.invalid(
            f"The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently attached "
            f"to version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
        )
