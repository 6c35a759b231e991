"""Managed policies: create, read, list, delete. Called by gateway/dispatch."""

from collections.abc import Iterator

from neargate.model.aws_policies import aws_policies
from neargate.model.policy_document import parse_identity
from neargate.model.role import EVERY_REGION, ManagedPolicy, PolicyVersion, account_wide, name_id
from neargate.services.call import Call, Params, Result
from neargate.services.iam import names, views
from neargate.state.catalog_iam import IAM_POLICY
from neargate.state.store import Tx

MOST_POLICIES = 1500
MOST_DOCUMENT = 6144


def check_document(document: str) -> str:
    """Raise MalformedPolicyDocument, LimitExceeded."""
    parse_identity(document)
    if names.size(document) > MOST_DOCUMENT:
        raise names.quota("PolicySize", MOST_DOCUMENT)
    return document


async def create_policy(call: Call, params: Params) -> Result:
    account, name, path, now = call.scope.account, params["PolicyName"], params.get("Path") or "/", call.now()
    first = PolicyVersion(number=1, document=check_document(params["PolicyDocument"]), created_at=now)
    policy = ManagedPolicy(
        account=account,
        region=EVERY_REGION,
        arn=f"arn:aws:iam::{account}:policy{path}{name}",
        id=names.unique_id("ANPA", call),
        name=name,
        path=path,
        created_at=now,
        updated_at=now,
        default=1,
        latest=1,
        versions=(first,),
        description=params.get("Description") or "",
        tags=names.read_tags(params.get("Tags"), {}),
    )

    def body(tx: Tx) -> Result:
        if tx.get(IAM_POLICY, name_id(account, name)) is not None:
            raise names.exists(f"A policy called {name} already exists. Duplicate names are not allowed.")
        if tx.count(IAM_POLICY, "account", account) >= MOST_POLICIES:
            raise names.quota("PoliciesPerAccount", MOST_POLICIES)
        return views.whole_policy(tx.insert(IAM_POLICY, policy), views.Uses())

    return {"Policy": await call.store.write(body)}


async def get_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Result:
        return views.whole_policy(names.need_policy(tx, call, params["PolicyArn"]), views.uses_of(tx, call))

    return {"Policy": await call.store.scan(body)}


async def list_policies(call: Call, params: Params) -> Result:
    prefix, wanted = params.get("PathPrefix") or "/", params.get("Scope") or "All"

    def body(tx: Tx) -> Result:
        uses = views.uses_of(tx, call)

        def found() -> Iterator[ManagedPolicy]:
            if wanted != "AWS":
                yield from tx.all(IAM_POLICY, account_wide(call.scope.account))
            if wanted != "Local":
                yield from aws_policies().values()

        usage = {
            "PermissionsPolicy": uses.attached,
            "PermissionsBoundary": uses.bounding,
        }.get(params.get("PolicyUsageFilter") or "", uses.attached + uses.bounding)
        only_used = bool(params.get("OnlyAttached") or params.get("PolicyUsageFilter"))
        shown = [
            policy
            for policy in found()
            if policy.path.startswith(prefix) and (usage[policy.arn] or not only_used)
        ]
        return names.page(
            params,
            "Policies",
            shown,
            IAM_POLICY.id,
            lambda policy: views.listed_policy(policy, uses),
        )

    return await call.store.scan(body)


async def delete_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        policy = names.own_policy(tx, call, "DeletePolicy", params["PolicyArn"])
        uses = views.uses_of(tx, call)
        if uses.attached[policy.arn] or uses.bounding[policy.arn]:
            raise names.conflict("Cannot delete a policy attached to entities.")
        if len(policy.versions) > 1:
            raise names.conflict(
                "This policy has more than one version. Before you delete a policy, you must delete the"
                " policy's versions. The default version is deleted with the policy."
            )
        tx.delete(IAM_POLICY, IAM_POLICY.id(policy))

    await call.store.write(body)
    return {}
