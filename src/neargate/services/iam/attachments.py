"""Which roles have which managed policies. Called by gateway/dispatch."""

from msgspec.structs import replace

from neargate.model.role import Role, account_wide, name_id
from neargate.services.call import Call, Params, Result
from neargate.services.iam import names
from neargate.state import roles
from neargate.state.catalog_iam import IAM_ROLE
from neargate.state.store import Tx

MOST_ATTACHED = 10


async def attach_role_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        role = names.changeable_role(tx, call, params["RoleName"])
        arn = names.policy_arn(params["PolicyArn"])
        policy = roles.find_policy(tx, call.scope.account, arn)
        if policy is None:
            raise names.no_such(f"Policy {arn} does not exist or is not attachable.")
        names.check_attachable(policy)
        if arn in role.attached:
            return
        if len(role.attached) >= MOST_ATTACHED:
            raise names.quota("PoliciesPerRole", MOST_ATTACHED)
        tx.put(IAM_ROLE, replace(role, attached=(*role.attached, arn)))

    await call.store.write(body)
    return {}


async def detach_role_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        role = names.changeable_role(tx, call, params["RoleName"])
        arn = names.policy_arn(params["PolicyArn"])
        if arn not in role.attached:
            raise names.no_such(f"Policy {arn} was not found.")
        tx.put(IAM_ROLE, replace(role, attached=tuple(each for each in role.attached if each != arn)))

    await call.store.write(body)
    return {}


async def list_attached_role_policies(call: Call, params: Params) -> Result:
    prefix = params.get("PathPrefix") or "/"
    role = await call.store.read(lambda tx: names.need_role(tx, call, params["RoleName"]))
    shown = [arn for arn in role.attached if _path(arn).startswith(prefix)]
    return names.page(
        params,
        "AttachedPolicies",
        shown,
        lambda arn: name_id(arn.split(":")[4], _name(arn)),
        lambda arn: {"PolicyName": _name(arn), "PolicyArn": arn},
    )


async def list_entities_for_policy(call: Call, params: Params) -> Result:
    """Roles only: there are no users and groups."""
    prefix, usage = params.get("PathPrefix") or "/", params.get("PolicyUsageFilter")
    with_roles = params.get("EntityFilter") in (None, "", "Role")

    def body(tx: Tx) -> Result:
        arn = names.need_policy(tx, call, params["PolicyArn"]).arn

        def uses(role: Role) -> bool:
            attached, bounding = arn in role.attached, arn == role.boundary
            if usage == "PermissionsPolicy":
                return attached
            return bounding if usage == "PermissionsBoundary" else attached or bounding

        found = tx.all(IAM_ROLE, account_wide(call.scope.account)) if with_roles else []
        shown = [role for role in found if uses(role) and role.path.startswith(prefix)]
        return names.page(
            params, "PolicyRoles", shown, IAM_ROLE.id, lambda r: {"RoleName": r.name, "RoleId": r.id}
        )

    return {"PolicyGroups": [], "PolicyUsers": []} | await call.store.scan(body)


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]


def _path(arn: str) -> str:
    inside = arn.partition(":policy/")[2]
    return f"/{inside.rpartition('/')[0]}/".replace("//", "/")
