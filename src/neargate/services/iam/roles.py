"""Roles: create, read, list, change, delete. Called by gateway/dispatch."""

from collections.abc import Callable

from msgspec.structs import replace

from neargate.model.policy_document import parse_trust
from neargate.model.role import EVERY_REGION, Role, account_wide, name_id
from neargate.services.call import Call, Params, Result
from neargate.services.iam import names, views
from neargate.services.iam.boundaries import need_boundary
from neargate.state import roles
from neargate.state.catalog_iam import IAM_INSTANCE_PROFILE, IAM_ROLE
from neargate.state.store import Tx

MOST_ROLES = 1000
MOST_TRUST = 2048


async def change(call: Call, name: str, changed: Callable[[Role], Role]) -> Role:
    """Write a role that is not a service's own anew."""

    def body(tx: Tx) -> Role:
        return tx.put(IAM_ROLE, changed(names.changeable_role(tx, call, name)))

    return await call.store.write(body)


def check_trust(document: str) -> str:
    """Raise MalformedPolicyDocument, LimitExceeded."""
    parse_trust(document)
    if names.size(document) > MOST_TRUST:
        raise names.quota("ACLSizePerRole", MOST_TRUST)
    return document


def insert(tx: Tx, role: Role) -> Role:
    """Raise LimitExceeded when the account is full."""
    if tx.count(IAM_ROLE, "account", role.account) >= MOST_ROLES:
        raise names.quota("RolesPerAccount", MOST_ROLES)
    return roles.insert_role(tx, role)


async def create_role(call: Call, params: Params) -> Result:
    account, name, path = call.scope.account, params["RoleName"], params.get("Path") or "/"
    if path.startswith(names.SERVICE_LINKED):
        raise names.invalid(f"Roles below {names.SERVICE_LINKED} are made by CreateServiceLinkedRole.")
    role = Role(
        account=account,
        region=EVERY_REGION,
        arn=f"arn:aws:iam::{account}:role{path}{name}",
        id=names.unique_id("AROA", call),
        name=name,
        path=path,
        created_at=call.now(),
        trust=check_trust(params["AssumeRolePolicyDocument"]),
        description=params.get("Description") or "",
        max_session=params.get("MaxSessionDuration") or 3600,
        tags=names.read_tags(params.get("Tags"), {}),
        boundary=params.get("PermissionsBoundary") or "",
    )

    def body(tx: Tx) -> Role:
        if role.boundary:
            need_boundary(tx, call, role.boundary)
        if tx.get(IAM_ROLE, name_id(account, name)) is not None:
            raise names.exists(f"Role with name {name} already exists.")
        return insert(tx, role)

    return {"Role": views.created_role(await call.store.write(body))}


async def get_role(call: Call, params: Params) -> Result:
    role = await call.store.read(lambda tx: names.need_role(tx, call, params["RoleName"]))
    return {"Role": views.whole_role(role)}


async def list_roles(call: Call, params: Params) -> Result:
    prefix = params.get("PathPrefix") or "/"
    found = await call.store.scan(lambda tx: tx.all(IAM_ROLE, account_wide(call.scope.account)))
    shown = [role for role in found if role.path.startswith(prefix)]
    return names.page(params, "Roles", shown, IAM_ROLE.id, views.listed_role)


async def delete_role(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        role = names.changeable_role(tx, call, params["RoleName"])
        if tx.count(IAM_INSTANCE_PROFILE, "role", IAM_ROLE.id(role)):
            raise names.conflict("Cannot delete entity, must remove roles from instance profile first.")
        if role.attached:
            raise names.conflict("Cannot delete entity, must detach all policies first.")
        if role.inline:
            raise names.conflict("Cannot delete entity, must delete policies first.")
        roles.delete_role(tx, role)

    await call.store.write(body)
    return {}


async def update_role(call: Call, params: Params) -> Result:
    def changed(role: Role) -> Role:
        description = params.get("Description")
        longest = params.get("MaxSessionDuration") or role.max_session
        kept = role.description if description is None else description
        return replace(role, description=kept, max_session=longest)

    await change(call, params["RoleName"], changed)
    return {}


async def update_role_description(call: Call, params: Params) -> Result:
    description = params["Description"]
    role = await change(call, params["RoleName"], lambda role: replace(role, description=description))
    return {"Role": views.created_role(role)}


async def update_assume_role_policy(call: Call, params: Params) -> Result:
    trust = check_trust(params["PolicyDocument"])
    await change(call, params["RoleName"], lambda role: replace(role, trust=trust))
    return {}
