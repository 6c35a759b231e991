"""Temporary credentials for who asks: AssumeRole and GetSessionToken.

Called by gateway/dispatch. Nothing is stored: a session is in its token (model/session). A role that a task's
credentials assume is bound to that task too: what a task was given ends with it.
"""

from neargate.kit.errors import ApiError
from neargate.model import session
from neargate.model.session import Role, Session
from neargate.services.call import Call, Params, Result

_DEFAULT_SECONDS = 3600
_CHAINED_SECONDS = 3600
_ROOT_SECONDS = 3600
_POLICY_CHARACTERS = 2048


async def assume_role(call: Call, params: Params) -> Result:
    arn, name = params["RoleArn"], params["RoleSessionName"]
    _role(call, arn)
    seconds = params.get("DurationSeconds", _DEFAULT_SECONDS)
    caller = call.session
    if caller is not None and caller.role_arn and seconds > _CHAINED_SECONDS:
        raise _invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role"
            " chaining"
        )
    _check_policy(params)
    made = Session(
        access_key_id=session.key_id(call.ids.hex(20)),
        account=call.scope.account,
        expires_at=call.now() + seconds,
        role_arn=arn,
        name=name,
        task_arn=caller.task_arn if caller is not None else "",
    )
    answer: Result = {
        "Credentials": _credentials(call, made),
        "AssumedRoleUser": {"AssumedRoleId": made.user_id, "Arn": made.principal_arn},
    }
    if params.get("SourceIdentity"):
        answer["SourceIdentity"] = params["SourceIdentity"]
    return answer


def _role(call: Call, arn: str) -> Role:
    """Raise ValidationError on what is no role, AccessDenied on another account's."""
    if not arn.startswith("arn:"):
        raise _invalid(f"{arn[:128]} is invalid")
    role = session.parse_role(arn)
    if role is None or role.account != call.scope.account:
        raise ApiError(
            "AccessDenied",
            f"User: {call.principal_arn} is not authorized to perform: sts:AssumeRole on resource:"
            f" {arn[:256]}",
            status=403,
        )
    return role


def _check_policy(params: Params) -> None:
    policy = params.get("Policy") or ""
    if len(policy) > _POLICY_CHARACTERS:
        raise _invalid(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint:"
            f" Member must have length less than or equal to {_POLICY_CHARACTERS}"
        )


async def get_session_token(call: Call, params: Params) -> Result:
    """For the account's owner it is an hour at most, whatever was asked for."""
    if call.session is not None:
        raise ApiError("AccessDenied", "Cannot call GetSessionToken with session credentials", status=403)
    seconds = min(params.get("DurationSeconds", _ROOT_SECONDS), _ROOT_SECONDS)
    made = Session(
        access_key_id=session.key_id(call.ids.hex(20)),
        account=call.scope.account,
        expires_at=call.now() + seconds,
    )
    return {"Credentials": _credentials(call, made)}


def _credentials(call: Call, made: Session) -> Result:
    minted = session.mint(call.house.signing_key, made, call.ids.hex(24))
    return {
        "AccessKeyId": made.access_key_id,
        "SecretAccessKey": minted.secret_access_key,
        "SessionToken": minted.token,
        "Expiration": made.expires_at,
    }


def _invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message, status=400)
