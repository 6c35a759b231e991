"""The rights of who acts by a role: in the role's own policies, within those of the session.
NEARGATE_IAM says how much of that counts:

    off      nothing is asked
    known    roles that were created through the IAM API have the rights of their policies; any other has all
    strict   a role that nobody created does not exist

Each function takes a transaction. Called by the door (gateway/rights.py), services/cell, services/sts and
services/ecs. A role that was created and deleted does not exist, in `known` too: that gives nobody more.
"""

import functools
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from neargate.kit.errors import ApiError
from neargate.model import actions, policy_document
from neargate.model.actions import Need, Value
from neargate.model.policy import (
    PRINCIPAL_ACCOUNT,
    PRINCIPAL_ARN,
    PRINCIPAL_SERVICE,
    PRINCIPAL_SESSION,
    Decision,
    Policy,
    Purpose,
    Request,
    Statement,
    decide,
)
from neargate.model.record import Scope
from neargate.model.rights import EVERYTHING, Rights
from neargate.model.role import Role, name_id
from neargate.model.session import Session
from neargate.state import roles, secrets
from neargate.state.catalog import EFS_FILE_SYSTEM, FAMILY, REPOSITORY, SECRET
from neargate.state.catalog_events import QUEUE
from neargate.state.catalog_iam import IAM_ROLE, IAM_ROLE_GONE
from neargate.state.store import Tx

ASSUME = "sts:AssumeRole"
_of_session = functools.lru_cache(512)(policy_document.parse_kept)
_ALL = (EVERYTHING,)
_NOTHING = Policy((Statement(allow=False, actions=("*",), resources=("*",)),))


@functools.lru_cache(512)
def _of_resource(text: str) -> Policy:
    """Raise MalformedPolicyDocument. Policies of repositories and file systems need not name them."""
    try:
        document = json.loads(text)
        statements = document["Statement"]
        for statement in statements if isinstance(statements, list) else [statements]:
            if "NotResource" not in statement:
                statement.setdefault("Resource", "*")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise policy_document.malformed() from None
    return policy_document.parse_resource(json.dumps(document))


class NoRole(Exception):
    """The role does not exist, or is another than the one that the session was made of."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a request beside its action: condition keys for everybody."""

    now: float
    region: str
    source_ip: str = ""


def find(tx: Tx, iam: str, account: str, arn: str) -> Role | None:
    """The role; None for one that has every right. Raise NoRole. iam -- the setting."""
    if iam == "off":
        return None
    role = roles.find_role(tx, account, arn)
    if role is None and (iam == "strict" or tx.get(IAM_ROLE_GONE, arn) is not None):
        raise NoRole(arn)
    return role


def of_session(tx: Tx, iam: str, session: Session, caller: Caller) -> Rights | None:
    """None: all rights there are. Raise NoRole."""
    if iam == "off" or not session.role_arn:
        return None
    role = find(tx, iam, session.account, session.role_arn)
    if session.unique_id and (role is None or role.id != session.unique_id):
        raise NoRole(session.role_arn)
    within = _session_policies(tx, session)
    if role is None and not within:
        return None
    own = roles.policies_of(tx, role) if role is not None else _ALL
    news = role is not None and roles.use_is_news(role, caller.region, caller.now)
    return Rights(session.principal_arn, (*own, *within), _context(session, role, caller), news)


def _session_policies(tx: Tx, session: Session) -> list[Policy]:
    found = [_of_session(session.policy, purpose=Purpose.SESSION)] if session.policy else []
    managed = (roles.managed(tx, session.account, arn, Purpose.SESSION) for arn in session.policy_arns)
    return [*found, *managed]


def _context(session: Session, role: Role | None, caller: Caller) -> dict[str, Value]:
    found: dict[str, Value] = {
        PRINCIPAL_ARN: session.role_arn,
        PRINCIPAL_SESSION: session.principal_arn,
        PRINCIPAL_ACCOUNT: session.account,
        "aws:PrincipalType": "AssumedRole",
        "aws:userid": session.user_id,
        "aws:ResourceAccount": session.account,
        "aws:RequestedRegion": caller.region,
        "aws:CurrentTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(caller.now)),
        "aws:EpochTime": str(int(caller.now)),
    }
    if caller.source_ip:
        found["aws:SourceIp"] = caller.source_ip
    tags = role.tags.items() if role is not None else ()
    return found | {f"aws:PrincipalTag/{key}": value for key, value in tags}


def refusal(
    tx: Tx, iam: str, session: Session, scope: Scope, needs: Iterable[Need], caller: Caller
) -> tuple[Need, str] | None:
    """The first need that is refused, and why. Raise NoRole."""
    held = of_session(tx, iam, session, caller)
    return refused_of(tx, held, scope, needs, caller) if held is not None else None


def refused_of(
    tx: Tx, held: Rights, scope: Scope, needs: Iterable[Need], caller: Caller
) -> tuple[Need, str] | None:
    for need in needs:
        need = settled(tx, scope, need, caller.now)
        why = held.refusal(need, resource_policies(tx, scope.account, need))
        if why is not None:
            return need, why
    return None


def settled(tx: Tx, scope: Scope, need: Need, now: float) -> Need:
    """With the resource's real ARN, where only the store has it."""
    service, resource = need.action.partition(":")[0], need.resource
    if resource is None:
        return need
    if service == "secretsmanager" and resource.count(":") >= 6:
        secret = secrets.find(tx, scope, resource, now)
        return replace(need, resource=secret.arn) if secret is not None else need
    if service == "iam" and need.action != actions.PASS_ROLE and ":role/" in resource:
        role = tx.get(IAM_ROLE, name_id(scope.account, resource.rpartition("/")[2]))
        return replace(need, resource=role.arn) if role is not None else need
    if service == "ecs" and ":task-definition/" in resource and resource.count(":") == 5:
        return replace(need, resource=f"{resource}:{newest(tx, scope, resource)}")
    return need


def newest(tx: Tx, scope: Scope, arn: str) -> int:
    """The revision that a family's name alone means."""
    family = tx.get(FAMILY, f"{scope.account}/{scope.region}/{arn.rpartition('/')[2]}")
    return family.active if family is not None else 0


def resource_policies(tx: Tx, account: str, need: Need) -> tuple[Policy, ...]:
    """The policy that the resource itself has."""
    service, text = need.action.partition(":")[0], ""
    if need.resource is None:
        return ()
    if need.action == ASSUME:
        trust = roles.trust_policy(tx, account, need.resource)
        return () if trust is None else (trust,)
    if service == "secretsmanager":
        secret = tx.get(SECRET, need.resource)
        text = secret.policy if secret is not None else ""
    elif service == "elasticfilesystem":
        file_system = tx.get(EFS_FILE_SYSTEM, need.resource.rpartition("/")[2])
        text = (file_system.policy or "") if file_system is not None else ""
    elif service == "ecr":
        repository = tx.get(REPOSITORY, need.resource)
        text = (repository.policy or "") if repository is not None else ""
    elif service == "sqs":
        queue = tx.get(QUEUE, need.resource)
        text = queue.attributes.get("Policy", "") if queue is not None else ""
    return read_resource(text)


def understood(text: str) -> bool:
    """Whether a resource's policy can be asked."""
    try:
        _of_resource(text)
    except ApiError:
        return False
    return True


def read_resource(text: str) -> tuple[Policy, ...]:
    if not text:
        return ()
    try:
        return (_of_resource(text),)
    except ApiError:  # put before policies were read: what nobody understands may be a Deny
        return (_NOTHING,)


def trusts(tx: Tx, iam: str, account: str, arn: str, context: dict[str, Value]) -> bool:
    """Whether who is described may assume the role. False where there is none."""
    try:
        role = find(tx, iam, account, arn)
    except NoRole:
        return False
    trust = roles.trust_policy(tx, account, arn) if role is not None else None
    return trust is None or decide((trust,), Request(ASSUME, arn, context)) is Decision.ALLOWED


def trusts_service(tx: Tx, iam: str, account: str, region: str, arn: str, service: str) -> bool:
    """Whether a service of AWS's may assume the role, for what it does in this account and region."""
    prefix = service.partition(".")[0].removesuffix("-tasks")
    context: dict[str, Value] = {
        PRINCIPAL_SERVICE: service,
        "aws:SourceAccount": account,
        "aws:SourceArn": f"arn:aws:{prefix}:{region}:{account}:*",
    }
    return trusts(tx, iam, account, arn, context)
