"""Temporary credentials for who asks: AssumeRole and GetSessionToken.

Called by gateway/dispatch. Nothing is stored: a session is in its token (model/session). A role that a task's
credentials assume is bound to that task too: what a task was given ends with it.
"""

from neargate.kit.errors import ApiError
from neargate.model import policy_document, session
from neargate.model.actions import Value
from neargate.model.policy import PRINCIPAL_ACCOUNT, PRINCIPAL_ARN, PRINCIPAL_SESSION
from neargate.model.role import Role
from neargate.model.session import Session
from neargate.services.call import Call, Params, Result
from neargate.state import rights, roles
from neargate.state.store import Tx

_DEFAULT_SECONDS = 3600
_CHAINED_SECONDS = 3600
_ROOT_SECONDS = 3600
_POLICY_CHARACTERS = 2048
_MOST_POLICIES = 10


async def assume_role(call: Call, params: Params) -> Result:
    arn, name = params["RoleArn"], params["RoleSessionName"]
    role = await _role(call, arn, params.get("ExternalId"))
    seconds = params.get("DurationSeconds", _DEFAULT_SECONDS)
    caller = call.session
    if caller is not None and caller.role_arn and seconds > _CHAINED_SECONDS:
        raise _invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role"
            " chaining"
        )
    if role is not None and seconds > role.max_session:
        raise _invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    policy, policy_arns = await _session_policies(call, params)
    made = Session(
        access_key_id=session.key_id(call.ids.hex(20)),
        account=call.scope.account,
        expires_at=call.now() + seconds,
        role_arn=arn,
        name=name,
        task_arn=caller.task_arn if caller is not None else "",
        unique_id=role.id if role is not None else "",
        policy=policy,
        policy_arns=policy_arns,
    )
    answer: Result = {
        "Credentials": _credentials(call, made),
        "AssumedRoleUser": {"AssumedRoleId": made.user_id, "Arn": made.principal_arn},
    }
    if params.get("SourceIdentity"):
        answer["SourceIdentity"] = params["SourceIdentity"]
    return answer


async def _role(call: Call, arn: str, external_id: str | None) -> Role | None:
    """The role, if it was created. Raise ValidationError on what is no role, AccessDenied on one that does
    not trust the caller, or is another account's.
    """
    if not arn.startswith("arn:"):
        raise _invalid(f"{arn[:128]} is invalid")
    named = session.parse_role(arn)
    context = _caller(call) | ({"sts:ExternalId": external_id} if external_id else {})

    def body(tx: Tx) -> Role | None:
        if named is None or named.account != call.scope.account:
            raise _denied(call, arn)
        if not rights.trusts(tx, call.settings.iam, call.scope.account, arn, context):
            raise _denied(call, arn)
        return None if call.settings.iam == "off" else roles.find_role(tx, call.scope.account, arn)

    return await call.store.read(body)


def _caller(call: Call) -> dict[str, Value]:
    """Who asks, as trust policies name principals."""
    held = call.session
    found: dict[str, Value] = {PRINCIPAL_ACCOUNT: call.scope.account, PRINCIPAL_ARN: call.principal_arn}
    if held is not None and held.role_arn:
        found |= {PRINCIPAL_ARN: held.role_arn, PRINCIPAL_SESSION: held.principal_arn}
    return found | ({"aws:SourceIp": call.source_ip} if call.source_ip else {})


def _denied(call: Call, arn: str) -> ApiError:
    return ApiError(
        "AccessDenied",
        f"User: {call.principal_arn} is not authorized to perform: sts:AssumeRole on resource: {arn[:256]}",
        status=403,
    )


async def _session_policies(call: Call, params: Params) -> tuple[str, tuple[str, ...]]:
    """What the session is restricted to. Raise ValidationError, MalformedPolicyDocument."""
    policy = params.get("Policy") or ""
    arns = tuple(str(one["arn"]) for one in params.get("PolicyArns") or () if one.get("arn"))
    if len(policy) + sum(map(len, arns)) > _POLICY_CHARACTERS:
        raise _invalid(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint:"
            f" Member must have length less than or equal to {_POLICY_CHARACTERS}"
        )
    if len(arns) > _MOST_POLICIES:
        raise _invalid(f"The number of managed policies cannot exceed {_MOST_POLICIES}.")
    if policy:
        policy_document.parse_identity(policy)

    def missing(tx: Tx) -> list[str]:
        return [arn for arn in arns if roles.find_policy(tx, call.scope.account, arn) is None]

    for arn in await call.store.read(missing) if arns else ():
        raise _invalid(f"Policy {arn[:256]} does not exist or is not attachable.")
    return policy, arns


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
