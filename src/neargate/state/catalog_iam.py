"""Kinds of IAM; see catalog.py.

Imported by state/{roles,rights} and services/iam.
"""

from neargate.model.record import Record
from neargate.model.role import GoneRole, InstanceProfile, ManagedPolicy, Role, name_id
from neargate.state.store import Kind


def _account(record: Record) -> str:
    """Index value by which an account's quotas are counted."""
    return record.account


IAM_ROLE = Kind("iam-role", Role, lambda r: name_id(r.account, r.name), {"account": _account})
IAM_ROLE_GONE = Kind("iam-role-gone", GoneRole, lambda r: r.arn)
IAM_POLICY = Kind("iam-policy", ManagedPolicy, lambda r: name_id(r.account, r.name), {"account": _account})
IAM_INSTANCE_PROFILE = Kind(
    "iam-instance-profile",
    InstanceProfile,
    lambda r: name_id(r.account, r.name),
    {"account": _account, "role": lambda r: name_id(r.account, r.role) if r.role else None},
)
