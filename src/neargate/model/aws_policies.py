"""The managed policies that AWS gives every account, of those that containers and their services are given.

Read once, when first asked for, from aws_policies.jsonl, a policy a line: AWS's documents of October 2026 as
moto 5.2.5 (Apache License 2.0) lists them, the elements put into AWS's usual order. Newer versions are not
known, older ones not kept, and ids are our own. Called by state/roles and services/iam.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from neargate.model.role import EVERY_REGION, ManagedPolicy, PolicyVersion

AWS = "aws"
_PREFIX = "arn:aws:iam::aws:policy/"
_FILE = Path(__file__).with_name("aws_policies.jsonl")


def aws_policy(arn: str) -> ManagedPolicy | None:
    return aws_policies().get(arn) if arn.startswith(_PREFIX) else None


@functools.cache
def aws_policies() -> Mapping[str, ManagedPolicy]:
    """By ARN, in its order."""
    policies = sorted(map(_policy, _FILE.read_text().splitlines()), key=lambda policy: policy.arn)
    return MappingProxyType(
        {policy.arn: policy for policy in sorted(policies, key=lambda policy: policy.arn)}
    )


def _policy(line: str) -> ManagedPolicy:
    given = json.loads(line)
    arn = f"{_PREFIX.removesuffix('/')}{given['path']}{given['name']}"
    updated = datetime.fromisoformat(given["updated"]).timestamp()
    version = PolicyVersion(
        number=given["version"], document=json.dumps(given["document"], indent=2), created_at=updated
    )
    return ManagedPolicy(
        account=AWS,
        region=EVERY_REGION,
        arn=arn,
        id=policy_id(arn),
        name=given["name"],
        path=given["path"],
        created_at=datetime.fromisoformat(given["created"]).timestamp(),
        updated_at=updated,
        default=version.number,
        latest=version.number,
        versions=(version,),
    )


def policy_id(arn: str) -> str:
    """Not AWS's, but the same in every house."""
    return "ANPA" + base64.b32encode(hashlib.sha256(arn.encode()).digest()).decode()[:17]
