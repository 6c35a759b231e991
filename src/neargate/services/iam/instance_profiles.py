"""Instance profiles: a role by another name, for tools that make them. Nothing here has one.

Called by gateway/dispatch.
"""

from msgspec.structs import replace

from neargate.model.role import EVERY_REGION, InstanceProfile, account_wide, name_id
from neargate.services.call import Call, Params, Result
from neargate.services.iam import names, views
from neargate.state.catalog_iam import IAM_INSTANCE_PROFILE, IAM_ROLE
from neargate.state.store import Tx

MOST_PROFILES = 1000


def need_profile(tx: Tx, call: Call, name: str) -> InstanceProfile:
    """Raise NoSuchEntity."""
    profile = tx.get(IAM_INSTANCE_PROFILE, name_id(call.scope.account, name))
    if profile is None:
        raise names.no_such(f"Instance Profile {name} cannot be found.")
    return profile


async def create_instance_profile(call: Call, params: Params) -> Result:
    account, name, path = call.scope.account, params["InstanceProfileName"], params.get("Path") or "/"
    profile = InstanceProfile(
        account=account,
        region=EVERY_REGION,
        arn=f"arn:aws:iam::{account}:instance-profile{path}{name}",
        id=names.unique_id("AIPA", call),
        name=name,
        path=path,
        created_at=call.now(),
        tags=names.read_tags(params.get("Tags"), {}),
    )

    def body(tx: Tx) -> Result:
        if tx.get(IAM_INSTANCE_PROFILE, name_id(account, name)) is not None:
            raise names.exists(f"Instance Profile {name} already exists.")
        if tx.count(IAM_INSTANCE_PROFILE, "account", account) >= MOST_PROFILES:
            raise names.quota("InstanceProfilesPerAccount", MOST_PROFILES)
        return views.shown_profile(tx, tx.insert(IAM_INSTANCE_PROFILE, profile))

    return {"InstanceProfile": await call.store.write(body)}


async def get_instance_profile(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Result:
        return views.shown_profile(tx, need_profile(tx, call, params["InstanceProfileName"]))

    return {"InstanceProfile": await call.store.read(body)}


async def list_instance_profiles(call: Call, params: Params) -> Result:
    prefix = params.get("PathPrefix") or "/"

    def body(tx: Tx) -> Result:
        found = tx.all(IAM_INSTANCE_PROFILE, account_wide(call.scope.account))
        shown = [profile for profile in found if profile.path.startswith(prefix)]
        return _listed(tx, params, shown)

    return await call.store.scan(body)


async def list_instance_profiles_for_role(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Result:
        role = names.need_role(tx, call, params["RoleName"])
        return _listed(tx, params, tx.find(IAM_INSTANCE_PROFILE, "role", IAM_ROLE.id(role)))

    return await call.store.read(body)


def _listed(tx: Tx, params: Params, profiles: list[InstanceProfile]) -> Result:
    return names.page(
        params,
        "InstanceProfiles",
        profiles,
        IAM_INSTANCE_PROFILE.id,
        lambda profile: views.shown_profile(tx, profile),
    )


async def add_role_to_instance_profile(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        profile = need_profile(tx, call, params["InstanceProfileName"])
        role = names.changeable_role(tx, call, params["RoleName"])
        if profile.role:
            raise names.quota("InstanceSessionsPerInstanceProfile", 1)
        tx.put(IAM_INSTANCE_PROFILE, replace(profile, role=role.name))

    await call.store.write(body)
    return {}


async def remove_role_from_instance_profile(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        profile = need_profile(tx, call, params["InstanceProfileName"])
        if profile.role.lower() != params["RoleName"].lower():
            raise names.no_such(f"The role with name {params['RoleName']} cannot be found.")
        tx.put(IAM_INSTANCE_PROFILE, replace(profile, role=""))

    await call.store.write(body)
    return {}


async def delete_instance_profile(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        profile = need_profile(tx, call, params["InstanceProfileName"])
        if profile.role:
            raise names.conflict("Cannot delete entity, must remove roles from instance profile first.")
        tx.delete(IAM_INSTANCE_PROFILE, IAM_INSTANCE_PROFILE.id(profile))

    await call.store.write(body)
    return {}
