"""Tags of roles, policies and instance profiles. Called by gateway/dispatch."""

from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from neargate.model.role import InstanceProfile, ManagedPolicy, Role
from neargate.services.call import Call, Params, Result
from neargate.services.iam import names, views
from neargate.services.iam.instance_profiles import need_profile
from neargate.state.catalog_iam import IAM_INSTANCE_PROFILE, IAM_POLICY, IAM_ROLE
from neargate.state.store import Kind, Tx

R = TypeVar("R", Role, ManagedPolicy, InstanceProfile)


def _listed(params: Params, tags: dict[str, str]) -> Result:
    """Markers are places, as keys are longer than markers may be."""
    rows = list(enumerate(views.shown_tags(tags)))
    return names.page(params, "Tags", rows, lambda row: f"{row[0]:03d}", lambda row: row[1])


async def _retag(
    call: Call, kind: Kind[R], need: Callable[[Tx], R], change: Callable[[dict[str, str]], dict[str, str]]
) -> Result:
    """Change the tags of the record that `need` finds."""

    def body(tx: Tx) -> None:
        record = need(tx)
        tx.put(kind, replace(record, tags=change(record.tags)))

    await call.store.write(body)
    return {}


def _with(params: Params) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda tags: names.read_tags(params["Tags"], tags)


def _without(params: Params) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda tags: names.left_tags(tags, params["TagKeys"])


def _role(call: Call, params: Params) -> Callable[[Tx], Role]:
    return lambda tx: names.changeable_role(tx, call, params["RoleName"])


async def tag_role(call: Call, params: Params) -> Result:
    return await _retag(call, IAM_ROLE, _role(call, params), _with(params))


async def untag_role(call: Call, params: Params) -> Result:
    return await _retag(call, IAM_ROLE, _role(call, params), _without(params))


async def list_role_tags(call: Call, params: Params) -> Result:
    role = await call.store.read(lambda tx: names.need_role(tx, call, params["RoleName"]))
    return _listed(params, role.tags)


def _policy(call: Call, operation: str, params: Params) -> Callable[[Tx], ManagedPolicy]:
    return lambda tx: names.own_policy(tx, call, operation, params["PolicyArn"])


async def tag_policy(call: Call, params: Params) -> Result:
    return await _retag(call, IAM_POLICY, _policy(call, "TagPolicy", params), _with(params))


async def untag_policy(call: Call, params: Params) -> Result:
    return await _retag(call, IAM_POLICY, _policy(call, "UntagPolicy", params), _without(params))


async def list_policy_tags(call: Call, params: Params) -> Result:
    policy = await call.store.read(lambda tx: names.need_policy(tx, call, params["PolicyArn"]))
    return _listed(params, policy.tags)


def _profile(call: Call, params: Params) -> Callable[[Tx], InstanceProfile]:
    return lambda tx: need_profile(tx, call, params["InstanceProfileName"])


async def tag_instance_profile(call: Call, params: Params) -> Result:
    return await _retag(call, IAM_INSTANCE_PROFILE, _profile(call, params), _with(params))


async def untag_instance_profile(call: Call, params: Params) -> Result:
    return await _retag(call, IAM_INSTANCE_PROFILE, _profile(call, params), _without(params))


async def list_instance_profile_tags(call: Call, params: Params) -> Result:
    profile = await call.store.read(_profile(call, params))
    return _listed(params, profile.tags)
