"""Tags of roles, policies and instance profiles. Called by gateway/dispatch."""

from msgspec.structs import replace

from neargate.services.call import Call, Params, Result
from neargate.services.iam import names, views
from neargate.services.iam.instance_profiles import need_profile
from neargate.state.catalog_iam import IAM_INSTANCE_PROFILE, IAM_POLICY, IAM_ROLE
from neargate.state.store import Tx


def _listed(params: Params, tags: dict[str, str]) -> Result:
    """Markers are places, as keys are longer than markers may be."""
    rows = list(enumerate(views.shown_tags(tags)))
    return names.page(params, "Tags", rows, lambda row: f"{row[0]:03d}", lambda row: row[1])


async def tag_role(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        role = names.changeable_role(tx, call, params["RoleName"])
        tx.put(IAM_ROLE, replace(role, tags=names.read_tags(params["Tags"], role.tags)))

    await call.store.write(body)
    return {}


async def untag_role(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        role = names.changeable_role(tx, call, params["RoleName"])
        tx.put(IAM_ROLE, replace(role, tags=names.left_tags(role.tags, params["TagKeys"])))

    await call.store.write(body)
    return {}


async def list_role_tags(call: Call, params: Params) -> Result:
    role = await call.store.read(lambda tx: names.need_role(tx, call, params["RoleName"]))
    return _listed(params, role.tags)


async def tag_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        policy = names.own_policy(tx, call, "TagPolicy", params["PolicyArn"])
        tx.put(IAM_POLICY, replace(policy, tags=names.read_tags(params["Tags"], policy.tags)))

    await call.store.write(body)
    return {}


async def untag_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        policy = names.own_policy(tx, call, "UntagPolicy", params["PolicyArn"])
        tx.put(IAM_POLICY, replace(policy, tags=names.left_tags(policy.tags, params["TagKeys"])))

    await call.store.write(body)
    return {}


async def list_policy_tags(call: Call, params: Params) -> Result:
    policy = await call.store.read(lambda tx: names.need_policy(tx, call, params["PolicyArn"]))
    return _listed(params, policy.tags)


async def tag_instance_profile(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        profile = need_profile(tx, call, params["InstanceProfileName"])
        tx.put(IAM_INSTANCE_PROFILE, replace(profile, tags=names.read_tags(params["Tags"], profile.tags)))

    await call.store.write(body)
    return {}


async def untag_instance_profile(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        profile = need_profile(tx, call, params["InstanceProfileName"])
        left = names.left_tags(profile.tags, params["TagKeys"])
        tx.put(IAM_INSTANCE_PROFILE, replace(profile, tags=left))

    await call.store.write(body)
    return {}


async def list_instance_profile_tags(call: Call, params: Params) -> Result:
    profile = await call.store.read(lambda tx: need_profile(tx, call, params["InstanceProfileName"]))
    return _listed(params, profile.tags)
