"""GetSecretValue, BatchGetSecretValue and PutSecretValue. Called by gateway/dispatch."""

from neargate.kit.errors import ApiError
from neargate.model.secret import CURRENT, Secret, Version, labels_of
from neargate.services.call import Call, Params, Result
from neargate.services.secretsmanager import names
from neargate.services.secretsmanager.lists import filtered
from neargate.state import secrets
from neargate.state.catalog import SECRET
from neargate.state.store import Tx

_MAX_LABELS = 20
_BATCH = 20


async def get_secret_value(call: Call, params: Params) -> Result:
    id, stage = names.text_of(params, "VersionId"), names.text_of(params, "VersionStage")
    return await _value(call, names.secret_id(params), id, stage)


async def _value(call: Call, secret_id: str, id: str | None = None, stage: str | None = None) -> Result:
    now = call.now()

    def body(tx: Tx) -> tuple[Secret, Version]:
        secret = secrets.need(tx, call.scope, secret_id, now)
        return secret, secrets.need_version(tx, secret, id, stage)

    secret, version = await call.store.read(body)
    value = secrets.opened(call.house.signing_key, version)
    if secrets.access_is_news(secret, now):
        await call.store.write(lambda tx: secrets.note_access(tx, secret, now))
    content = {"SecretBinary": value.data} if value.binary else {"SecretString": value.data.decode()}
    return {
        "ARN": secret.arn,
        "Name": secret.name,
        "VersionId": version.id,
        **content,
        "VersionStages": labels_of(secret.stages, version.id),
        "CreatedDate": version.created_at,
    }


async def batch_get_secret_value(call: Call, params: Params) -> Result:
    """Current values by a list of secrets or by filters; those that cannot be had are told beside them."""
    listed, filters = params.get("SecretIdList"), params.get("Filters")
    if bool(listed) == bool(filters):
        raise names.invalid("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
    if listed and params.get("MaxResults") is not None:
        raise names.invalid("'MaxResults' can be given with 'Filters' only.")
    place = names.untoken(params["NextToken"])[1] if params.get("NextToken") else ""
    if filters:
        ids, more = await _matching(call, params, place)
    else:
        ids, more = [names.text_of({"SecretId": id}, "SecretId") or "" for id in listed or ()], False
    values: list[Result] = []
    errors: list[Result] = []
    for id in ids:
        try:
            values.append(await _value(call, id))
        except ApiError as error:
            errors.append({"SecretId": id, "ErrorCode": error.code, "Message": error.message})
    result: Result = {"SecretValues": values, "Errors": errors}
    return result | ({"NextToken": names.token([0.0, ids[-1]])} if more else {})


async def _matching(call: Call, params: Params, after: str) -> tuple[list[str], bool]:
    """ARNs of a page of the secrets that pass the filters and have a value."""
    fits, limit = filtered(params), params.get("MaxResults") or _BATCH

    def body(tx: Tx) -> list[str]:
        found = (s for s in tx.all(SECRET, call.scope, after=after) if s.deleted_at is None and s.stages)
        return [secret.arn for secret in found if fits(secret)]

    arns = await call.store.scan(body)
    return arns[:limit], len(arns) > limit


async def put_secret_value(call: Call, params: Params) -> Result:
    value, id = names.value_of(params), names.request_token(call, params)
    if value is None:
        raise names.invalid("You must provide either SecretString or SecretBinary.")
    labels = list(dict.fromkeys(params.get("VersionStages") or [CURRENT]))
    if len(labels) > _MAX_LABELS:
        raise names.invalid(f"A version can have {_MAX_LABELS} staging labels at most.")
    for label in labels:
        names.text_of({"VersionStages": label}, "VersionStages")

    def body(tx: Tx) -> Secret:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now())
        return names.add_version(tx, call, secret, id, value, labels)

    secret = await call.store.write(body)
    stages = labels_of(secret.stages, id)
    return {"ARN": secret.arn, "Name": secret.name, "VersionId": id, "VersionStages": stages}
