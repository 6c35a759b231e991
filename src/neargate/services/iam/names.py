"""What requests name: roles, policies, tags, markers; refused in IAM's words.

Used by the other modules of services/iam only.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from neargate.kit.errors import ApiError
from neargate.model.aws_policies import AWS
from neargate.model.role import ManagedPolicy, Role, name_id
from neargate.services import paging
from neargate.services.call import Call, Params
from neargate.state import roles
from neargate.state.catalog_iam import IAM_ROLE
from neargate.state.store import Tx

R = TypeVar("R")

SERVICE_LINKED = "/aws-service-role/"
MOST_TAGS = 50
_PAGE = 100
_POLICY_ARN = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[!-~]+", re.ASCII)
_WHITE = re.compile(r"[\t\n\r ]+")


def no_such(message: str) -> ApiError:
    return ApiError("NoSuchEntity", message, status=404)


def exists(message: str) -> ApiError:
    return ApiError("EntityAlreadyExists", message, status=409)


def conflict(message: str) -> ApiError:
    return ApiError("DeleteConflict", message, status=409)


def invalid(message: str) -> ApiError:
    return ApiError("InvalidInput", message, status=400)


def exceeded(message: str) -> ApiError:
    return ApiError("LimitExceeded", message, status=409)


def quota(name: str, most: int) -> ApiError:
    return exceeded(f"Cannot exceed quota for {name}: {most}")


def need_role(tx: Tx, call: Call, name: str) -> Role:
    role = tx.get(IAM_ROLE, name_id(call.scope.account, name))
    if role is None:
        raise no_such(f"The role with name {name} cannot be found.")
    return role


def changeable_role(tx: Tx, call: Call, name: str) -> Role:
    """One that is not a service's own. Raise UnmodifiableEntity."""
    role = need_role(tx, call, name)
    if role.path.startswith(SERVICE_LINKED):
        raise ApiError(
            "UnmodifiableEntity",
            f"Cannot perform the operation on the protected role '{role.name}' - this role is only modifiable"
            " by AWS",
            status=400,
        )
    return role


def policy_arn(given: str) -> str:
    """Raise InvalidInput."""
    if not _POLICY_ARN.fullmatch(given):
        raise invalid(f"ARN {given} is not valid.")
    return given


def need_policy(tx: Tx, call: Call, arn: str) -> ManagedPolicy:
    policy = roles.find_policy(tx, call.scope.account, policy_arn(arn))
    if policy is None:
        raise no_such(f"Policy {arn} was not found.")
    return policy


def own_policy(tx: Tx, call: Call, operation: str, arn: str) -> ManagedPolicy:
    """One that the account may change. Raise AccessDenied for AWS's."""
    policy = need_policy(tx, call, arn)
    if policy.account == AWS:
        raise ApiError(
            "AccessDenied",
            f"User: {call.principal_arn} is not authorized to perform: iam:{operation} on resource: policy"
            f" {arn}",
            status=403,
        )
    return policy


def check_attachable(policy: ManagedPolicy) -> None:
    """Raise PolicyNotAttachable: the policies of services' own roles are for those."""
    if policy.path.startswith(SERVICE_LINKED):
        message = "Cannot attach a Service Role Policy to a Customer Role."
        raise ApiError("PolicyNotAttachable", message, status=400)


def size(document: str) -> int:
    """As IAM counts against its quotas: without white space."""
    return len(_WHITE.sub("", document))


def read_tags(given: Sequence[Mapping[str, str]] | None, old: Mapping[str, str]) -> dict[str, str]:
    """Tags of a request on top of old ones. Keys are the same in any case."""
    added = {tag["Key"]: tag["Value"] for tag in given or ()}
    if len({key.lower() for key in added}) != len(given or ()):
        raise invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    if any(key.lower().startswith("aws:") for key in added):
        raise invalid("Tag keys that start with aws: are reserved for system use.")
    replaced = {key.lower() for key in added}
    tags = {key: value for key, value in old.items() if key.lower() not in replaced} | added
    if len(tags) > MOST_TAGS:
        raise exceeded("The number of tags has reached the maximum limit.")
    return tags


def left_tags(old: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    gone = {key.lower() for key in keys}
    return {key: value for key, value in old.items() if key.lower() not in gone}


def page(
    params: Params, member: str, rows: Iterable[R], key: Callable[[R], str], show: Callable[[R], Any]
) -> dict[str, Any]:
    """An answer with `member`, IsTruncated and, where there is more, Marker."""
    after = paging.place(params.get("Marker"), bad_marker)
    shown, more = paging.page(rows, key, after, params.get("MaxItems") or _PAGE, show)
    return {member: shown, "IsTruncated": more is not None} | ({"Marker": more} if more else {})


def bad_marker() -> ApiError:
    return ApiError("ValidationError", "Invalid Marker.", status=400)


def unique_id(prefix: str, call: Call) -> str:
    """`ANPA` and 17 characters, as IAM draws them."""
    return prefix + base64.b32encode(bytes.fromhex(call.ids.hex(22))).decode()[:17]
