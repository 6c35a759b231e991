"""Roles by ARN and the policies that are in force for them: what services/iam and those who enforce share.

Each function takes a transaction.
"""

import functools

from msgspec.structs import replace

from neargate.model.aws_policies import aws_policy
from neargate.model.policy import Policy, Purpose
from neargate.model.policy_document import parse_kept, parse_trust
from neargate.model.role import GoneRole, LastUsed, ManagedPolicy, Role, name_id
from neargate.model.session import parse_role
from neargate.state.catalog_iam import IAM_POLICY, IAM_ROLE, IAM_ROLE_GONE
from neargate.state.store import Tx

_NOTED_EVERY = 3600.0

_parsed = functools.lru_cache(1024)(parse_kept)
_parsed_trust = functools.lru_cache(256)(parse_trust)


def find_role(tx: Tx, account: str, arn: str) -> Role | None:
    """None: no such role of the account was created through the API."""
    named = parse_role(arn)
    if named is None or named.account != account:
        return None
    role = tx.get(IAM_ROLE, name_id(account, named.name))
    return role if role is not None and role.arn == arn else None


def insert_role(tx: Tx, role: Role) -> Role:
    tx.delete(IAM_ROLE_GONE, role.arn)
    return tx.insert(IAM_ROLE, role)


def delete_role(tx: Tx, role: Role) -> None:
    """Remembered, so that what is no longer allowed is not taken for what was never said."""
    tx.delete(IAM_ROLE, IAM_ROLE.id(role))
    tx.put(IAM_ROLE_GONE, GoneRole(account=role.account, region=role.region, arn=role.arn))


def find_policy(tx: Tx, account: str, arn: str) -> ManagedPolicy | None:
    """AWS's or the account's own."""
    known = aws_policy(arn)
    if known is not None:
        return known
    policy = tx.get(IAM_POLICY, name_id(account, arn.rpartition("/")[2]))
    return policy if policy is not None and policy.arn == arn else None


def policies_of(tx: Tx, role: Role) -> tuple[Policy, ...]:
    """What `decide` is to be asked with: inline and attached policies, and the boundary where there is one.
    A role without policies has none: nothing is allowed.
    """
    found = [_parsed(document, id=name) for name, document in role.inline.items()]
    found += [managed(tx, role.account, arn, Purpose.GRANT) for arn in role.attached]
    if role.boundary:
        found.append(managed(tx, role.account, role.boundary, Purpose.BOUNDARY))
    return tuple(found)


def managed(tx: Tx, account: str, arn: str, purpose: Purpose) -> Policy:
    """The version in force of a managed policy; one that is gone allows nothing."""
    policy = find_policy(tx, account, arn)
    if policy is None:
        return Policy((), purpose=purpose, id=arn)
    return _parsed(policy.document, purpose=purpose, id=arn)


def trust_policy(tx: Tx, account: str, role_arn: str) -> Policy | None:
    """Who may assume a role. None: no such role was created through the API."""
    role = find_role(tx, account, role_arn)
    return None if role is None else _parsed_trust(role.trust)


def use_is_news(role: Role, region: str, now: float) -> bool:
    last = role.last_used
    return last is None or last.region != region or now - last.at >= _NOTED_EVERY


def note_use(tx: Tx, account: str, role_arn: str, region: str, now: float) -> None:
    """Remember when and where a role's credentials were last used; ask `use_is_news` first, to write less."""
    role = find_role(tx, account, role_arn)
    if role is not None and use_is_news(role, region, now):
        tx.put(IAM_ROLE, replace(role, last_used=LastUsed(at=now, region=region)))
