"""Versions of managed policies, of which one is in force. Called by gateway/dispatch."""

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.role import ManagedPolicy, PolicyVersion
from neargate.services.call import Call, Params, Result
from neargate.services.iam import names, views
from neargate.services.iam.policies import check_document
from neargate.state.catalog_iam import IAM_POLICY
from neargate.state.store import Tx

MOST_VERSIONS = 5


async def create_policy_version(call: Call, params: Params) -> Result:
    document, now = check_document(params["PolicyDocument"]), call.now()

    def body(tx: Tx) -> Result:
        policy = names.own_policy(tx, call, "CreatePolicyVersion", params["PolicyArn"])
        if len(policy.versions) >= MOST_VERSIONS:
            raise names.exceeded(
                f"A managed policy can have up to {MOST_VERSIONS} versions. Before you create a new version,"
                " you must delete an existing version."
            )
        made = PolicyVersion(number=policy.latest + 1, document=document, created_at=now)
        default = made.number if params.get("SetAsDefault") else policy.default
        versions = (*policy.versions, made)
        changed = replace(policy, versions=versions, latest=made.number, default=default, updated_at=now)
        return views.shown_version(tx.put(IAM_POLICY, changed), made)

    return {"PolicyVersion": await call.store.write(body)}


async def get_policy_version(call: Call, params: Params) -> Result:
    policy = await call.store.read(lambda tx: names.need_policy(tx, call, params["PolicyArn"]))
    version = _need_version(policy, params["VersionId"])
    return {"PolicyVersion": views.shown_version(policy, version, whole=True)}


async def list_policy_versions(call: Call, params: Params) -> Result:
    policy = await call.store.read(lambda tx: names.need_policy(tx, call, params["PolicyArn"]))

    def newest_first(version: PolicyVersion) -> str:
        return f"{policy.latest - version.number:012d}"

    def show(version: PolicyVersion) -> Result:
        return views.shown_version(policy, version)

    return names.page(params, "Versions", policy.versions, newest_first, show)


async def delete_policy_version(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        policy = names.own_policy(tx, call, "DeletePolicyVersion", params["PolicyArn"])
        version = _need_version(policy, params["VersionId"])
        if version.number == policy.default:
            raise names.conflict("Cannot delete the default version of a policy.")
        left = tuple(each for each in policy.versions if each != version)
        tx.put(IAM_POLICY, replace(policy, versions=left))

    await call.store.write(body)
    return {}


async def set_default_policy_version(call: Call, params: Params) -> Result:
    now = call.now()

    def body(tx: Tx) -> None:
        policy = names.own_policy(tx, call, "SetDefaultPolicyVersion", params["PolicyArn"])
        version = _need_version(policy, params["VersionId"])
        tx.put(IAM_POLICY, replace(policy, default=version.number, updated_at=now))

    await call.store.write(body)
    return {}


def _need_version(policy: ManagedPolicy, id: str) -> PolicyVersion:
    found = next((version for version in policy.versions if version.id == id), None)
    if found is None:
        raise _no_such_version(policy, id)
    return found


def _no_such_version(policy: ManagedPolicy, id: str) -> ApiError:
    return names.no_such(f"Policy {policy.arn} version {id} does not exist or is not attachable.")
