"""Policy documents: JSON by IAM's grammar, or refused in IAM's words. Pure.

Called by services/iam with what callers give, and by state/roles.py with what is kept. Grammar:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from neargate.kit.errors import ApiError
from neargate.model.policy import Policy, Principal, Purpose, Statement
from neargate.model.policy_conditions import Condition, ConditionError, read
from neargate.model.policy_patterns import any_of

OLD, CURRENT = "2008-10-17", "2012-10-17"

_SYNTAX = "Syntax errors in policy."
_TOP = frozenset({"Version", "Id", "Statement"})
_ELEMENTS = frozenset(
    {
        "Sid",
        "Effect",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Principal",
        "NotPrincipal",
        "Condition",
    }
)
_PRINCIPALS = {"AWS": "AWS", "Service": "SERVICE", "Federated": "FEDERATED", "CanonicalUser": "CANONICAL"}
_VENDOR = re.compile(r"[A-Za-z0-9.-]+|\*", re.ASCII)
_PARTITION = re.compile(r"aws(?:-[a-z]+)*|[a-z*?-]*[*?][a-z*?-]*")
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_SERVICE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.amazonaws\.com(?:\.cn)?", re.ASCII)
_IDENTITY = re.compile(
    r"arn:aws[a-z-]*:(?:iam::[0-9]{12}:(?:root|(?:user|role)/[!-~]+)"
    r"|sts::[0-9]{12}:(?:assumed-role|federated-user)/[!-~]+)",
    re.ASCII,
)
_ASSUMING = frozenset(
    f"sts:{name}"
    for name in (
        *("assumerole", "assumerolewithsaml", "assumerolewithwebidentity", "decodeauthorizationmessage"),
        *("getaccesskeyinfo", "getcalleridentity", "getfederationtoken", "getservicebearertoken"),
        *("getsessiontoken", "setcontext", "setsourceidentity", "tagsession"),
    )
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a document may hold, by what it is put on."""

    resources: bool = True
    principals: bool = False
    old: bool = True
    """Whether a document of 2008, or of no version, will do."""
    syntax: str = _SYNTAX
    no_actions: str = "Policy statement must contain actions."


_IDENTITY_POLICY = _Kind(old=False)
_KEPT_POLICY = _Kind()
_TRUST_POLICY = _Kind(
    resources=False,
    principals=True,
    syntax="This policy contains invalid Json",
    no_actions="Missing required field Action",
)
_RESOURCE_POLICY = _Kind(principals=True)


def malformed(message: str = _SYNTAX) -> ApiError:
    return ApiError("MalformedPolicyDocument", message, status=400)


def _refuse(message: str = _SYNTAX) -> NoReturn:
    raise malformed(message)


def parse_identity(text: str) -> Policy:
    """The document of an inline or a managed policy that a caller puts. Raise MalformedPolicyDocument."""
    return _parse(text, _IDENTITY_POLICY)


def parse_kept(text: str, *, purpose: Purpose = Purpose.GRANT, id: str = "") -> Policy:
    """A policy of an identity that was accepted once: AWS's own are of versions that others may not use."""
    policy = _parse(text, _KEPT_POLICY)
    return Policy(policy.statements, policy.version, purpose, id)


def parse_trust(text: str) -> Policy:
    """A role's AssumeRolePolicyDocument. Raise MalformedPolicyDocument."""
    return _parse(text, _TRUST_POLICY)


def parse_resource(text: str) -> Policy:
    """A policy of a bucket, a secret or a file system, with Principal. Raise MalformedPolicyDocument."""
    return _parse(text, _RESOURCE_POLICY)


def _parse(text: str, kind: _Kind) -> Policy:
    document = _json(text, kind)
    if not isinstance(document, dict):
        _refuse(kind.syntax)
    _only(document, _TOP)
    version = document.get("Version", OLD)
    if version not in (OLD, CURRENT) or not isinstance(document.get("Id", ""), str):
        _refuse()
    given = document.get("Statement")
    items: list[Any] = given if isinstance(given, list) else [given]
    if not items or not all(isinstance(item, dict) for item in items):
        _refuse()
    for item in items:
        _only(item, _ELEMENTS)
    if version == OLD and not kind.old:
        _refuse("Policy document must be version 2012-10-17 or greater.")
    statements = tuple(_statement(item, kind) for item in items)
    sids = [statement.sid for statement in statements if statement.sid]
    if len(set(sids)) != len(sids):
        _refuse("Statement IDs (SID) in a single policy must be unique.")
    return Policy(statements, version)


def _json(text: str, kind: _Kind) -> Any:
    try:
        text.encode()
        return json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        _refuse(kind.syntax)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _only(given: Mapping[str, Any], known: frozenset[str]) -> None:
    for name in given:
        if name not in known:
            _refuse(f"Unknown field {name}")


def _statement(item: Mapping[str, Any], kind: _Kind) -> Statement:
    effect = item.get("Effect")
    if not isinstance(effect, str) or effect.lower() not in ("allow", "deny"):
        _refuse("Missing required field Effect" if effect is None else _SYNTAX)
    sid = item.get("Sid", "")
    if not isinstance(sid, str):
        _refuse()
    principals, other_principals = _principals(item, kind)
    actions, other_actions = _either(item, "Action")
    if not actions:
        _refuse(
            "Policy statement must contain actions." if kind.resources else "Missing required field Action"
        )
    for action in actions:
        _check_action(action, kind)
    resources, other_resources = _either(item, "Resource")
    if not kind.resources and resources is not None:
        _refuse(f"Has prohibited field {'Not' * other_resources}Resource")
    if kind.resources and not resources:
        _refuse("Policy statement must contain resources.")
    for resource in resources or ():
        _check_resource(resource)
    return Statement(
        allow=effect.lower() == "allow",
        actions=tuple(action.lower() for action in actions),
        other_actions=other_actions,
        resources=resources,
        other_resources=other_resources,
        principals=principals,
        other_principals=other_principals,
        conditions=tuple(_conditions(item)),
        sid=sid,
    )


def _either(item: Mapping[str, Any], name: str) -> tuple[tuple[str, ...] | None, bool]:
    """The values of an element or of its opposite, and whether it is the opposite."""
    opposite = f"Not{name}"
    if name in item and opposite in item:
        _refuse()
    other = opposite in item
    if name not in item and not other:
        return None, False
    return _texts(item[opposite if other else name]), other


def _texts(given: Any) -> tuple[str, ...]:
    items = given if isinstance(given, list) else [given]
    if not all(isinstance(item, str) for item in items):
        _refuse()
    return tuple(items)


def _check_action(action: str, kind: _Kind) -> None:
    if action == "*" and kind.resources:
        return
    vendor, colon, name = action.partition(":")
    if not colon:
        _refuse("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    if ":" in name:
        _refuse("Actions/Condition can contain only one colon.")
    if not _VENDOR.fullmatch(vendor):
        _refuse(f"Vendor {vendor} is not valid")
    if not kind.resources and not any(map(any_of((action.lower(),)), _ASSUMING)):
        _refuse("AssumeRole policy may only specify STS AssumeRole actions.")


def _check_resource(resource: str) -> None:
    if resource == "*":
        return
    if ":" not in resource:
        _refuse(f'Resource {resource} must be in ARN format or "*".')
    parts = resource.split(":", 5)
    if parts[0] != "arn" and not parts[0].startswith("arn*"):
        _refuse("The policy failed legacy parsing")
    if len(parts) < 3 or ("*" not in resource and len(parts) < 6):
        _refuse("The policy failed legacy parsing")
    if not _PARTITION.fullmatch(parts[1]):
        _refuse(f'Partition "{parts[1]}" is not valid for resource "{resource}".')
    if parts[2] != "*" and ("*" in parts[2] or "?" in parts[2]):
        _refuse("Resource vendor must be fully qualified and cannot contain regexes.")


def _principals(item: Mapping[str, Any], kind: _Kind) -> tuple[tuple[Principal, ...] | None, bool]:
    other = "NotPrincipal" in item
    if not kind.principals:
        if other or "Principal" in item:
            _refuse("Policy document should not specify a principal.")
        return None, False
    if other and ("Principal" in item or not kind.resources):
        _refuse("Has prohibited field NotPrincipal")
    given = item.get("NotPrincipal" if other else "Principal")
    if given is None:
        _refuse("Missing required field Principal")
    if given == "*":
        if not kind.resources:
            _refuse('AssumeRolepolicy contained an invalid principal: "STAR".')
        given = {"AWS": "*"}
    if not isinstance(given, dict) or not given:
        _refuse("Invalid principal in policy")
    return tuple(_principal(name, text) for name, texts in given.items() for text in _texts(texts)), other


def _principal(kind: str, name: str) -> Principal:
    if kind not in _PRINCIPALS:
        _refuse(f"Unknown principal type {kind}" if kind.isascii() else _SYNTAX)
    wrong = f'Invalid principal in policy: "{_PRINCIPALS[kind]}":"{name}"'
    if kind == "AWS":
        if _ACCOUNT.fullmatch(name):
            return Principal(kind, f"arn:aws:iam::{name}:root")
        if name != "*" and (not _IDENTITY.fullmatch(name) or "*" in name):
            _refuse(wrong)
    elif kind == "Service":
        if not _SERVICE.fullmatch(name):
            _refuse(wrong)
    elif not name or "*" in name:
        _refuse(wrong)
    return Principal(kind, name)


def _conditions(item: Mapping[str, Any]) -> Iterator[Condition]:
    given = item.get("Condition", {})
    if not isinstance(given, dict):
        _refuse()
    for operator, keys in given.items():
        if not isinstance(keys, dict):
            _refuse()
        for key, values in keys.items():
            if ":" not in key:
                _refuse("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
            try:
                yield read(operator, key, _values(values))
            except ConditionError:
                # IAM tells of dates from an older look at the document.
                _refuse("The policy failed legacy parsing" if "Date" in operator else _SYNTAX)


def _values(given: Any) -> tuple[str, ...]:
    values = []
    for item in given if isinstance(given, list) else [given]:
        if not isinstance(item, (str, bool, int, float)):
            _refuse()
        values.append(item if isinstance(item, str) else json.dumps(item))
    return tuple(values)
