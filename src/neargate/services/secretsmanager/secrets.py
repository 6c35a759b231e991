"""Secrets: create, update, describe, delete, restore, and their tags.

Called by gateway/dispatch.
"""

from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.secret import CURRENT, Rotation, Secret, labels_of
from neargate.services.call import Call, Params, Result
from neargate.services.secretsmanager import names
from neargate.state import secrets
from neargate.state.catalog import SECRET
from neargate.state.store import Tx

_DAY = 86_400.0
_RECOVERY_DAYS = 30
_LEAST_RECOVERY_DAYS = 7


async def create_secret(call: Call, params: Params) -> Result:
    name = names.secret_name(params["Name"])
    if params.get("AddReplicaRegions"):
        raise names.invalid("Replication to other regions is not built into neargate.")
    value, id = names.value_of(params), names.request_token(call, params)
    now = call.now()
    record = Secret(
        account=call.scope.account,
        region=call.scope.region,
        arn=call.scope.arn("secretsmanager", f"secret:{name}-{call.ids.hex(6)}"),
        name=name,
        created_at=now,
        changed_at=now,
        description=names.text_of(params, "Description") or "",
        kms_key_id=names.text_of(params, "KmsKeyId"),
        type=names.text_of(params, "Type"),
        tags=names.read_tags(params.get("Tags")),
    )

    def body(tx: Tx) -> Secret:
        secrets.purge(tx, now)
        old = secrets.find(tx, call.scope, name, now)
        if old is None:
            made = tx.put(SECRET, record)
            return made if value is None else names.add_version(tx, call, made, id, value, [CURRENT])
        if old.deleted_at is not None:
            raise ApiError(
                "InvalidRequestException",
                "You can't create this secret because a secret with this name is already scheduled for "
                "deletion.",
            )
        if value is None or not labels_of(old.stages, id):
            message = f"The operation failed because the secret {name} already exists."
            raise ApiError("ResourceExistsException", message)
        return names.add_version(tx, call, old, id, value, [CURRENT])  # the same call again

    made = await call.store.write(body)
    return {"ARN": made.arn, "Name": made.name, **({"VersionId": id} if value is not None else {})}


async def update_secret(call: Call, params: Params) -> Result:
    value, id = names.value_of(params), names.request_token(call, params)
    changes: dict[str, Any] = {}
    for member, field in (("Description", "description"), ("KmsKeyId", "kms_key_id"), ("Type", "type")):
        text = names.text_of(params, member)
        if text is not None:
            changes[field] = text

    def body(tx: Tx) -> Secret:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now())
        secret = tx.put(SECRET, replace(secret, changed_at=call.now(), **changes))
        return secret if value is None else names.add_version(tx, call, secret, id, value, [CURRENT])

    secret = await call.store.write(body)
    return {"ARN": secret.arn, "Name": secret.name, **({"VersionId": id} if value is not None else {})}


async def describe_secret(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Result:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now(), deleted=True)
        shown = describe(secret)
        versions = {id: labels_of(secret.stages, id) for id in set(secret.stages.values())}
        return {**shown, "VersionIdsToStages": versions} if versions else shown

    return await call.store.read(body)


def describe(secret: Secret) -> dict[str, Any]:
    """A secret as DescribeSecret and ListSecrets show it, without its versions."""
    shown: dict[str, Any] = {
        "ARN": secret.arn,
        "Name": secret.name,
        "CreatedDate": secret.created_at,
        "LastChangedDate": secret.changed_at,
        "Tags": [{"Key": key, "Value": value} for key, value in secret.tags.items()],
    }
    optional = {
        "Description": secret.description or None,
        "KmsKeyId": secret.kms_key_id,
        "Type": secret.type,
        "LastAccessedDate": secret.accessed_day,
        "DeletedDate": secret.deleted_at,
        **_rotation(secret.rotation),
    }
    return shown | {name: value for name, value in optional.items() if value is not None}


def _rotation(rotation: Rotation | None) -> dict[str, Any]:
    if rotation is None:
        return {}
    rules = {
        "AutomaticallyAfterDays": rotation.days,
        "Duration": rotation.duration,
        "ScheduleExpression": rotation.schedule,
    }
    return {
        "RotationEnabled": rotation.enabled,
        "RotationLambdaARN": rotation.function or None,
        "RotationRules": {name: value for name, value in rules.items() if value is not None},
    }


async def delete_secret(call: Call, params: Params) -> Result:
    """Mark it for deletion after a recovery window, or (ForceDeleteWithoutRecovery) forget it at once."""
    days, force = params.get("RecoveryWindowInDays"), bool(params.get("ForceDeleteWithoutRecovery"))
    if days is not None and force:
        message = "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."
        raise names.invalid(message)
    if days is not None and not _LEAST_RECOVERY_DAYS <= days <= _RECOVERY_DAYS:
        raise names.invalid("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
    now, id = call.now(), names.secret_id(params)
    due = now if force else now + (days or _RECOVERY_DAYS) * _DAY

    def body(tx: Tx) -> tuple[str, str]:
        secrets.purge(tx, now)
        secret = secrets.find(tx, call.scope, id, now)
        if secret is None and force and not id.startswith("arn:"):
            return call.scope.arn("secretsmanager", f"secret:{id}"), id  # AWS does not mind either
        secret = secrets.need(tx, call.scope, id, now, deleted=force)
        if force:
            secrets.delete(tx, secret)
        else:
            tx.put(SECRET, replace(secret, deleted_at=due))
        return secret.arn, secret.name

    arn, name = await call.store.write(body)
    return {"ARN": arn, "Name": name, "DeletionDate": due}


async def restore_secret(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Secret:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now(), deleted=True)
        return tx.put(SECRET, replace(secret, deleted_at=None))

    secret = await call.store.write(body)
    return {"ARN": secret.arn, "Name": secret.name}


async def tag_resource(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now())
        tx.put(SECRET, replace(secret, tags=names.read_tags(params["Tags"], secret.tags)))

    await call.store.write(body)
    return {}


async def untag_resource(call: Call, params: Params) -> Result:
    gone = frozenset(params["TagKeys"])

    def body(tx: Tx) -> None:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now())
        tx.put(SECRET, replace(secret, tags={k: v for k, v in secret.tags.items() if k not in gone}))

    await call.store.write(body)
    return {}
