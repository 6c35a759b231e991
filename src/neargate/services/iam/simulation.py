"""What policies would say of actions on resources, without doing them. Called by gateway/dispatch.

The page that was asked for is worked out, no more, and on a thread: actions can be many and policies long.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.policy import (
    PRINCIPAL_ACCOUNT,
    PRINCIPAL_ARN,
    Decision,
    Policy,
    Purpose,
    Request,
    condition_keys,
    decide,
    matched,
)
from neargate.model.policy_document import parse_kept, parse_resource
from neargate.model.policy_patterns import any_of
from neargate.model.role import Role
from neargate.model.session import parse_role
from neargate.services import paging
from neargate.services.call import Call, Params, Result
from neargate.services.iam import names
from neargate.state import roles
from neargate.state.store import Tx

_PAGE = 100


async def simulate_custom_policy(call: Call, params: Params) -> Result:
    if params.get("OrderedOrganizationPolicyInputList"):
        raise names.invalid("Policies of organizations are not built into neargate.")
    policies = _given(params["PolicyInputList"], Purpose.GRANT, "PolicyInputList") + _more(params)
    context = _context(params) | _caller(params.get("CallerArn"))
    return await call.store.scan(lambda tx: _answer(params, policies, context))


async def simulate_principal_policy(call: Call, params: Params) -> Result:
    source = params["PolicySourceArn"]
    given = _given(params.get("PolicyInputList"), Purpose.GRANT, "PolicyInputList") + _more(params)

    def body(tx: Tx) -> Result:
        role = roles.find_role(tx, call.scope.account, source)
        if role is None:
            named = parse_role(source)
            if named is None:
                raise names.invalid(
                    f"Invalid Entity Arn: {source} does not clearly define entity type and name."
                )
            raise names.no_such(f"The role with name {named.name} cannot be found.")
        excluded = params.get("PolicyExclusionList") or ()
        held = [
            policy
            for policy in roles.policies_of(tx, role)
            if not any(_names(identifier, policy, role) for identifier in excluded)
        ]
        if params.get("PermissionsBoundaryPolicyInputList"):
            held = [policy for policy in held if policy.purpose is not Purpose.BOUNDARY]
        tags = {f"aws:PrincipalTag/{key}": [value] for key, value in role.tags.items()}
        context = _caller(params.get("CallerArn") or source) | tags | _context(params)
        return _answer(params, [*held, *given], context)

    return await call.store.scan(body)


def _names(identifier: Mapping[str, Any], policy: Policy, role: Role) -> bool:
    """Whether a PolicyIdentifier is of a policy that the role has. Raise InvalidInput."""
    if len(identifier) != 1:
        raise names.invalid("A policy is identified by exactly one of its type, its ARN or its inline name.")
    inline = not policy.id.startswith("arn:")
    if "PolicyArn" in identifier:
        return not inline and any_of((identifier["PolicyArn"],))(policy.id)
    if "PolicyType" in identifier:
        if policy.purpose is Purpose.BOUNDARY:
            return bool(identifier["PolicyType"] == "permission-boundary")
        managed = "aws-managed" if policy.id.startswith("arn:aws:iam::aws:") else "user-managed"
        return bool(identifier["PolicyType"] == ("inline" if inline else managed))
    given = identifier["InlinePolicyIdentifier"]
    of_role = given["AttachmentType"] == "role" and given["AttachmentName"].lower() == role.name.lower()
    return inline and of_role and policy.id == given["PolicyName"]


def _more(params: Params) -> list[Policy]:
    """Boundaries and the resource's own policy, which a request can bring along."""
    member = "PermissionsBoundaryPolicyInputList"
    policies = _given(params.get(member), Purpose.BOUNDARY, member)
    if params.get("ResourcePolicy"):
        with _as_input("ResourcePolicy"):
            policies.append(parse_resource(params["ResourcePolicy"]))
    return policies


def _given(documents: Sequence[str] | None, purpose: Purpose, member: str) -> list[Policy]:
    policies = []
    for place, text in enumerate(documents or (), 1):
        with _as_input(member):
            policies.append(parse_kept(text, purpose=purpose, id=f"{member}.{place}"))
    return policies


@contextmanager
def _as_input(member: str) -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        raise names.invalid(f"Invalid Input Parameter [{member}]: {error.message}") from None


def _context(params: Params) -> dict[str, list[str]]:
    entries = params.get("ContextEntries") or ()
    return {
        entry["ContextKeyName"]: list(entry.get("ContextKeyValues") or ())
        for entry in entries
        if entry.get("ContextKeyName")
    }


def _caller(arn: str | None) -> dict[str, list[str]]:
    parts = (arn or "").split(":")
    if arn is None or len(parts) < 6:
        return {}
    return {PRINCIPAL_ARN: [arn], PRINCIPAL_ACCOUNT: [parts[4]]}


def _answer(params: Params, policies: Sequence[Policy], context: dict[str, list[str]]) -> Result:
    start = _place(params.get("Marker"))
    pairs: Iterable[tuple[str, str]] = itertools.product(
        params["ActionNames"], params.get("ResourceArns") or ("*",)
    )
    most = params.get("MaxItems") or _PAGE
    asked = list(itertools.islice(pairs, start, start + most + 1))
    results = [_result(policies, Request(action, arn, context)) for action, arn in asked[:most]]
    answer = {"EvaluationResults": results, "IsTruncated": len(asked) > most}
    return answer | ({"Marker": paging.token(str(start + most))} if len(asked) > most else {})


def _place(marker: str | None) -> int:
    place = paging.place(marker, names.bad_marker)
    if not (place.isascii() and place.isdecimal()) and place:
        raise names.bad_marker()
    return min(int(place or 0), 1 << 30)


def _result(policies: Sequence[Policy], request: Request) -> dict[str, Any]:
    decision = decide(policies, request)
    told = [
        {"SourcePolicyId": policy.id, "SourcePolicyType": "IAM Policy"}
        for policy, statement in matched(policies, request)
        if decision is not Decision.IMPLICIT_DENY and statement.allow is (decision is Decision.ALLOWED)
    ]
    known = {key.lower() for key in request.context}
    result: dict[str, Any] = {
        "EvalActionName": request.action,
        "EvalResourceName": request.resource,
        "EvalDecision": decision.value,
        "MatchedStatements": told,
        "MissingContextValues": sorted(condition_keys(policies) - known),
    }
    bounds = [policy for policy in policies if policy.purpose is Purpose.BOUNDARY]
    if bounds:
        within = decide([policy.granting() for policy in bounds], request) is Decision.ALLOWED
        result["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": within}
    return result
