"""Permissions boundaries of roles. Called by gateway/dispatch; what they do is decided by model/policy."""

from msgspec.structs import replace

from neargate.services.call import Call, Params, Result
from neargate.services.iam import names
from neargate.state import roles
from neargate.state.catalog_iam import IAM_ROLE
from neargate.state.store import Tx


def need_boundary(tx: Tx, call: Call, arn: str) -> None:
    """Raise NoSuchEntity, InvalidInput, PolicyNotAttachable."""
    policy = roles.find_policy(tx, call.scope.account, names.policy_arn(arn))
    if policy is None:
        raise names.no_such(f"Scope ARN: {arn} does not exist or is not attachable.")
    names.check_attachable(policy)


async def put_role_permissions_boundary(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        role = names.changeable_role(tx, call, params["RoleName"])
        need_boundary(tx, call, params["PermissionsBoundary"])
        tx.put(IAM_ROLE, replace(role, boundary=params["PermissionsBoundary"]))

    await call.store.write(body)
    return {}


async def delete_role_permissions_boundary(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        tx.put(IAM_ROLE, replace(names.changeable_role(tx, call, params["RoleName"]), boundary=""))

    await call.store.write(body)
    return {}
