"""GetSecretValue and PutSecretValue. Called by gateway/dispatch."""

from neargate.model.secret import CURRENT, Secret, Version, labels_of
from neargate.services.call import Call, Params, Result
from neargate.services.secretsmanager import names
from neargate.state import secrets
from neargate.state.store import Tx

_MAX_LABELS = 20


async def get_secret_value(call: Call, params: Params) -> Result:
    now = call.now()

    def body(tx: Tx) -> tuple[Secret, Version]:
        secret = secrets.need(tx, call.scope, names.secret_id(params), now)
        id, stage = names.text_of(params, "VersionId"), names.text_of(params, "VersionStage")
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
