"""What policies say of a request: allowed, denied, or nothing. Pure.

Documents are read by policy_document.py, kept by state/roles.py. Asked by whoever enforces; rules:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from neargate.model.policy_conditions import Condition, holds
from neargate.model.policy_patterns import Context, Style, any_of, expand, matches

PRINCIPAL_ARN = "aws:PrincipalArn"
"""Of a session: its role's ARN."""
PRINCIPAL_ACCOUNT = "aws:PrincipalAccount"
PRINCIPAL_SERVICE = "aws:PrincipalServiceName"
FEDERATED_PROVIDER = "aws:FederatedProvider"
PRINCIPAL_SESSION = "neargate:PrincipalSession"
"""ARN of a session (`...:assumed-role/...`), which Principal elements can name and AWS has no key for."""

_VARIABLES_SINCE = "2012-10-17"


class Decision(Enum):
    ALLOWED = "allowed"
    IMPLICIT_DENY = "implicitDeny"
    EXPLICIT_DENY = "explicitDeny"


class Purpose(Enum):
    """What a policy is there for."""

    GRANT = "grant"
    """Gives permissions: of an identity or a resource."""
    BOUNDARY = "boundary"
    """Gives none; what it does not allow either, its identity cannot do."""
    SESSION = "session"
    """The same, of one session."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a statement is about: `*`, an ARN, a service, a provider."""

    kind: str
    """AWS, Service, Federated or CanonicalUser."""
    name: str


@dataclass(frozen=True, slots=True)
class Statement:
    allow: bool
    actions: tuple[str, ...]
    """In lower case; of NotAction where `other_actions`."""
    other_actions: bool = False
    resources: tuple[str, ...] | None = None
    """Of NotResource where `other_resources`; None in trust policies, which are about their role."""
    other_resources: bool = False
    principals: tuple[Principal, ...] | None = None
    """None in identities' policies, which are about their identity."""
    other_principals: bool = False
    conditions: tuple[Condition, ...] = ()
    sid: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    statements: tuple[Statement, ...]
    version: str = _VARIABLES_SINCE
    purpose: Purpose = Purpose.GRANT
    id: str = ""
    """By which name answers tell of it: an ARN, or an inline policy's name."""

    def granting(self) -> "Policy":
        """As if it gave what it allows, whatever its purpose."""
        return Policy(self.statements, self.version)


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to do.

    action -- `service:Operation`, in any case.
    resource -- the ARN it is done to; `*` for actions that are about no resource. None where the caller
        cannot name it: Resource and NotResource then match whatever they say, of Allow and of Deny alike.
    context -- condition keys in any case, with one value or several. Principal elements are held against
        PRINCIPAL_ARN, PRINCIPAL_ACCOUNT, PRINCIPAL_SERVICE, FEDERATED_PROVIDER and PRINCIPAL_SESSION in it.
    """

    action: str
    resource: str | None
    context: Mapping[str, str | Sequence[str]]


def decide(policies: Sequence[Policy], request: Request) -> Decision:
    """What all the policies say together: one Deny is enough; else some Allow of GRANT policies.

    Where there are policies of another purpose, each such purpose has to allow it as well. Within an account,
    policies of identities and of resources can be mixed; across accounts each side is asked by itself.
    """
    context = _context(request.context)
    allowed = {policy.purpose: False for policy in policies}
    for policy in policies:
        for statement in policy.statements:
            if not statement.allow or not allowed[policy.purpose]:
                if not applies(statement, policy.version, request, context):
                    continue
                if not statement.allow:
                    return Decision.EXPLICIT_DENY
                allowed[policy.purpose] = True
    granted = allowed.get(Purpose.GRANT, False) and all(allowed.values())
    return Decision.ALLOWED if granted else Decision.IMPLICIT_DENY


def applies(statement: Statement, version: str, request: Request, context: Context) -> bool:
    """Whether a statement is about the request; `context` is the request's, with keys in lower case."""
    variables = context if version == _VARIABLES_SINCE else None
    return (
        _is_action(statement, request.action.lower())
        and _is_resource(statement, request.resource, variables)
        and _is_principal(statement, context)
        and all(holds(condition, context, variables) for condition in statement.conditions)
    )


def matched(policies: Sequence[Policy], request: Request) -> list[tuple[Policy, Statement]]:
    """The statements that are about a request, for those who ask why."""
    context = _context(request.context)
    return [
        (policy, statement)
        for policy in policies
        for statement in policy.statements
        if applies(statement, policy.version, request, context)
    ]


def condition_keys(policies: Sequence[Policy]) -> set[str]:
    """The keys that conditions ask for, in lower case."""
    statements = (statement for policy in policies for statement in policy.statements)
    return {condition.key for statement in statements for condition in statement.conditions}


def _context(given: Mapping[str, str | Sequence[str]]) -> Context:
    return {key.lower(): (value,) if isinstance(value, str) else tuple(value) for key, value in given.items()}


def _is_action(statement: Statement, action: str) -> bool:
    return any_of(statement.actions)(action) != statement.other_actions


def _is_resource(statement: Statement, resource: str | None, variables: Context | None) -> bool:
    if resource is None or statement.resources is None:
        return True
    found = False
    for pattern in statement.resources:
        pieces = expand(pattern, variables)
        if pieces is not None and matches(pieces, resource, Style.RESOURCE):
            found = True
            break
    return found != statement.other_resources


def _is_principal(statement: Statement, context: Context) -> bool:
    if statement.principals is None:
        return True
    return any(_is(principal, context) for principal in statement.principals) != statement.other_principals


def _is(principal: Principal, context: Context) -> bool:
    def has(key: str, value: str) -> bool:
        return value in context.get(key.lower(), ())

    if principal.name == "*":
        return True
    if principal.kind == "Service":
        return has(PRINCIPAL_SERVICE, principal.name)
    if principal.kind == "Federated":
        return has(FEDERATED_PROVIDER, principal.name)
    if principal.kind != "AWS":
        return False
    account = principal.name.split(":")[4] if principal.name.endswith(":root") else None
    if account is not None and has(PRINCIPAL_ACCOUNT, account):
        return True
    return has(PRINCIPAL_ARN, principal.name) or has(PRINCIPAL_SESSION, principal.name)
