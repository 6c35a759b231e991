"""Policies that are part of a role. Called by gateway/dispatch."""

from msgspec.structs import replace

from neargate.model.policy_document import parse_identity
from neargate.services.call import Call, Params, Result
from neargate.services.iam import names, views
from neargate.state.catalog_iam import IAM_ROLE
from neargate.state.store import Tx

MOST_INLINE = 10_240


async def put_role_policy(call: Call, params: Params) -> Result:
    role_name, name, document = params["RoleName"], params["PolicyName"], params["PolicyDocument"]

    parse_identity(document)

    def body(tx: Tx) -> None:
        role = names.changeable_role(tx, call, role_name)
        inline = role.inline | {name: document}
        if sum(map(names.size, inline.values())) > MOST_INLINE:
            raise names.exceeded(f"Maximum policy size of {MOST_INLINE} bytes exceeded for role {role_name}")
        tx.put(IAM_ROLE, replace(role, inline=inline))

    await call.store.write(body)
    return {}


async def get_role_policy(call: Call, params: Params) -> Result:
    name = params["PolicyName"]
    role = await call.store.read(lambda tx: names.need_role(tx, call, params["RoleName"]))
    if name not in role.inline:
        raise _no_such_policy(name)
    return {"RoleName": role.name, "PolicyName": name, "PolicyDocument": views.document(role.inline[name])}


async def list_role_policies(call: Call, params: Params) -> Result:
    role = await call.store.read(lambda tx: names.need_role(tx, call, params["RoleName"]))
    return names.page(params, "PolicyNames", role.inline, str, str)


async def delete_role_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        role = names.changeable_role(tx, call, params["RoleName"])
        if params["PolicyName"] not in role.inline:
            raise _no_such_policy(params["PolicyName"])
        left = {name: document for name, document in role.inline.items() if name != params["PolicyName"]}
        tx.put(IAM_ROLE, replace(role, inline=left))

    await call.store.write(body)
    return {}


def _no_such_policy(name: str) -> Exception:
    return names.no_such(f"The role policy with name {name} cannot be found.")
