"""What a principal may do, and AWS's words for what it may not. Pure.

Made by state/rights.py of a role's policies; asked by the door and by services/cell with the needs that
model/actions.py lists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neargate.model.actions import Need, Value
from neargate.model.policy import (
    PRINCIPAL_ACCOUNT,
    Decision,
    Policy,
    Purpose,
    Request,
    Statement,
    decide,
)

EVERYTHING = Policy((Statement(allow=True, actions=("*",), resources=("*",)),))
"""Of who is not restricted by policies of an identity."""
UNABLE_TO_ASSUME = (
    "ECS was unable to assume the role '{}' that was provided for this task. Please verify that the role"
    " being passed has the proper trust relationship and permissions and that your IAM user has permissions"
    " to pass this role."
)
_KINDS = {
    Purpose.GRANT: "identity-based policy",
    Purpose.BOUNDARY: "permissions boundary",
    Purpose.SESSION: "session policy",
}


@dataclass(frozen=True, slots=True)
class Rights:
    principal: str
    """ARN of the session, as messages have it."""
    policies: tuple[Policy, ...]
    """Of its role, the role's boundary and the session itself."""
    context: Mapping[str, Value]
    use_is_news: bool = False
    """That the role is used is to be remembered."""

    def refusal(self, need: Need, of_resource: Sequence[Policy] = ()) -> str | None:
        """Why not, without who and what; None if it may. of_resource -- the resource's own policy."""
        request = Request(need.action, need.resource, {**self.context, **need.context})
        if _denied(of_resource, request):
            return "with an explicit deny in a resource-based policy"
        decision = decide(self.policies, request)
        if decision is Decision.ALLOWED:
            return None
        if decision is Decision.EXPLICIT_DENY:
            return f"with an explicit deny in {_article(self._denying(request))}"
        if of_resource:
            # A policy that names the account lets the account's own policies decide; it grants nothing.
            named = {key: value for key, value in request.context.items() if key != PRINCIPAL_ACCOUNT}
            alone = Request(request.action, request.resource, named)
            if decide((*self.policies, *of_resource), alone) is Decision.ALLOWED:
                return None
        return f"because no {self._missing(request)} allows the {need.action} action"

    def _denying(self, request: Request) -> str:
        kinds = [purpose for purpose in Purpose if _denied(self._of(purpose), request)]
        return _KINDS[kinds[0]]

    def _missing(self, request: Request) -> str:
        """The kind of policy that would have to allow it; the role's own first."""
        for purpose in Purpose:
            found = self._of(purpose)
            granting = [policy.granting() for policy in found]
            if (found or purpose is Purpose.GRANT) and decide(granting, request) is not Decision.ALLOWED:
                return _KINDS[purpose]
        return _KINDS[Purpose.GRANT]

    def _of(self, purpose: Purpose) -> list[Policy]:
        return [policy for policy in self.policies if policy.purpose is purpose]


def refused(principal: str, need: Need, why: str, *, quoted: bool = False, bare: bool = False) -> str:
    """AWS's message. quoted -- the resource as S3 has it; bare -- without one where there is none."""
    resource = need.resource or "*"
    told = f'"{resource}"' if quoted and resource != "*" else resource
    where = "" if bare and resource == "*" else f" on resource: {told}"
    return f"User: {principal} is not authorized to perform: {need.action}{where} {why}"


def _denied(policies: Sequence[Policy], request: Request) -> bool:
    return bool(policies) and decide(policies, request) is Decision.EXPLICIT_DENY


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
