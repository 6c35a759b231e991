"""Records of IAM: roles, managed policies, instance profiles. They belong to an account, in every region.

Written by services/iam through state/roles; what their policies say is in policy.py.
"""

import msgspec

from neargate.model.record import Record, Scope

EVERY_REGION = ""
"""The region of IAM's records."""


class LastUsed(msgspec.Struct, frozen=True, kw_only=True):
    at: float
    region: str


class Role(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    id: str
    name: str
    path: str
    created_at: float
    trust: str
    """Its AssumeRolePolicyDocument as it was put."""
    description: str = ""
    max_session: int = 3600
    tags: dict[str, str] = {}
    inline: dict[str, str] = {}
    """Name -> document."""
    attached: tuple[str, ...] = ()
    """ARNs of managed policies."""
    boundary: str = ""
    """ARN of the managed policy that bounds its permissions."""
    last_used: LastUsed | None = None


class GoneRole(Record, frozen=True, kw_only=True):
    """That there was such a role: who still names it has no rights, where one that never was has all."""

    arn: str


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    document: str
    created_at: float

    @property
    def id(self) -> str:
        return f"v{self.number}"


class ManagedPolicy(Record, frozen=True, kw_only=True, omit_defaults=True):
    """`account` is `aws` for those that AWS gives everybody."""

    arn: str
    id: str
    name: str
    path: str
    created_at: float
    updated_at: float
    default: int
    """Number of the version that is in force."""
    latest: int
    """The highest number ever given."""
    versions: tuple[PolicyVersion, ...]
    description: str = ""
    tags: dict[str, str] = {}

    @property
    def document(self) -> str:
        """Of the version that is in force."""
        return next(version.document for version in self.versions if version.number == self.default)


class InstanceProfile(Record, frozen=True, kw_only=True, omit_defaults=True):
    arn: str
    id: str
    name: str
    path: str
    created_at: float
    role: str = ""
    """The name of its role."""
    tags: dict[str, str] = {}


def account_wide(account: str) -> Scope:
    return Scope(account, EVERY_REGION)


def name_id(account: str, name: str) -> str:
    """Roles, policies and profiles are told apart by name, in any case, whatever their path."""
    return f"{account}/{name.lower()}"
