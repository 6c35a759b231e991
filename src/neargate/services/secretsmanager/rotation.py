"""RotateSecret and CancelRotateSecret: what is said of rotation is kept. Called by gateway/dispatch.

A rotation is done by a Lambda function, and functions are not built: what would start one is refused.
"""

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import schedule
from neargate.model.schedule import ScheduleError
from neargate.model.secret import Rotation, Secret
from neargate.services.call import Call, Params, Result
from neargate.services.secretsmanager import names
from neargate.state import secrets
from neargate.state.catalog import SECRET
from neargate.state.store import Tx


async def rotate_secret(call: Call, params: Params) -> Result:
    rules = params.get("RotationRules") or {}
    if params.get("ExternalSecretRotationRoleArn") or params.get("ExternalSecretRotationMetadata"):
        raise names.invalid("Rotation of other systems' secrets is not built into neargate.")
    if rules.get("AutomaticallyAfterDays") is not None and rules.get("ScheduleExpression") is not None:
        raise names.invalid("You can't specify both AutomaticallyAfterDays and ScheduleExpression.")
    if rules.get("ScheduleExpression") is not None:
        _check_schedule(rules["ScheduleExpression"])
    given, now = names.text_of(params, "RotationLambdaARN"), params.get("RotateImmediately", True)

    def body(tx: Tx) -> Secret:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now())
        old = secret.rotation
        function = given or (old.function if old is not None else "")
        if not function:
            message = "No Lambda rotation function ARN is associated with this secret."
            raise ApiError("InvalidRequestException", message)
        if now:
            raise ApiError(
                "InvalidRequestException",
                "Rotation by a Lambda function is not built into neargate: put the new value with "
                "PutSecretValue. RotateImmediately=false keeps function and rules without rotating.",
            )
        made = Rotation(
            enabled=True,
            function=function,
            days=rules.get("AutomaticallyAfterDays", old.days if old and not rules else None),
            duration=rules.get("Duration", old.duration if old and not rules else None),
            schedule=rules.get("ScheduleExpression", old.schedule if old and not rules else None),
        )
        return tx.put(SECRET, replace(secret, rotation=made, changed_at=call.now()))

    secret = await call.store.write(body)
    return {"ARN": secret.arn, "Name": secret.name}


def _check_schedule(text: str) -> None:
    """Raise InvalidParameterException."""
    try:
        if isinstance(schedule.parse(text), schedule.At):
            raise ScheduleError("an expression is rate(value unit) or cron(six fields)")
    except ScheduleError as error:
        raise names.invalid(f"ScheduleExpression is not valid: {error}.") from None


async def cancel_rotate_secret(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Secret:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now())
        old = secret.rotation
        if old is None:
            return secret
        return tx.put(SECRET, replace(secret, rotation=replace(old, enabled=False), changed_at=call.now()))

    secret = await call.store.write(body)
    pending = secret.stages.get("AWSPENDING")
    return {"ARN": secret.arn, "Name": secret.name} | ({"VersionId": pending} if pending else {})
