"""Ids of things that have no record of their own, because each follows from one that has.

A default group's two rules, a VPC's main route table: the id is made of the owner's, so it never changes.
"""

import hashlib


def derived_id(prefix: str, owner: str, role: str = "") -> str:
    return f"{prefix}-{hashlib.sha256(f'{prefix}/{owner}/{role}'.encode()).hexdigest()[:17]}"
