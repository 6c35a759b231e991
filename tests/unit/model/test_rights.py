"""Who may and who may not, in AWS's words."""

import json
from typing import Any

import pytest

from neargate.model.actions import Need
from neargate.model.policy import Policy, Purpose
from neargate.model.policy_document import parse_kept, parse_resource
from neargate.model.rights import EVERYTHING, Rights, refused

WHO = "arn:aws:sts::123456789012:assumed-role/web/me"
ROLE = "arn:aws:iam::123456789012:role/web"
ARN = "arn:aws:s3:::b/k"
NEED = Need("s3:GetObject", ARN)
CONTEXT = {"aws:PrincipalArn": ROLE, "aws:PrincipalAccount": "123456789012"}


def policy(effect: str = "Allow", action: str = "s3:*", purpose: Purpose = Purpose.GRANT) -> Policy:
    statement = {"Effect": effect, "Action": action, "Resource": "*"}
    return parse_kept(json.dumps({"Version": "2012-10-17", "Statement": [statement]}), purpose=purpose)


def on_resource(effect: str, principal: Any) -> Policy:
    statement = {"Effect": effect, "Action": "s3:*", "Resource": "*", "Principal": principal}
    return parse_resource(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


BOUNDARY, SESSION = Purpose.BOUNDARY, Purpose.SESSION
NOBODY = "because no identity-based policy allows the s3:GetObject action"


@pytest.mark.parametrize(
    ("own", "resource", "why"),
    [
        ([], [], NOBODY),
        ([policy()], [], None),
        ([policy(action="ec2:*")], [], NOBODY),
        ([policy(), policy("Deny")], [], "with an explicit deny in an identity-based policy"),
        ([policy(), policy(action="ec2:*", purpose=SESSION)], [],
         "because no session policy allows the s3:GetObject action"),
        ([policy(), policy("Deny", purpose=SESSION)], [], "with an explicit deny in a session policy"),
        ([policy(), policy(action="ec2:*", purpose=BOUNDARY)], [],
         "because no permissions boundary allows the s3:GetObject action"),
        ([EVERYTHING, policy(action="s3:GetObject", purpose=SESSION)], [], None),
        ([policy()], [on_resource("Deny", "*")], "with an explicit deny in a resource-based policy"),
        ([], [on_resource("Allow", {"AWS": ROLE})], None),
        ([policy(action="ec2:*", purpose=SESSION)], [on_resource("Allow", {"AWS": ROLE})], NOBODY),
        ([], [on_resource("Allow", {"AWS": "123456789012"})], NOBODY),
        ([policy()], [on_resource("Deny", {"AWS": "123456789012"})],
         "with an explicit deny in a resource-based policy"),
        ([policy()], [on_resource("Allow", {"AWS": "123456789012"})], None),
    ],
)  # fmt: skip
def test_who_may(own: list[Policy], resource: list[Policy], why: str | None) -> None:
    assert Rights(WHO, tuple(own), CONTEXT).refusal(NEED, resource) == why


def test_the_words() -> None:
    assert refused(WHO, NEED, NOBODY) == (
        f"User: {WHO} is not authorized to perform: s3:GetObject on resource: {ARN} because no identity-based"
        " policy allows the s3:GetObject action"
    )
    assert f'on resource: "{ARN}" because' in refused(WHO, NEED, NOBODY, quoted=True)
    listed = Need("ec2:DescribeVpcs", "*")
    assert "perform: ec2:DescribeVpcs on resource: * because" in refused(WHO, listed, NOBODY)
    assert "perform: ec2:DescribeVpcs because" in refused(WHO, listed, NOBODY, bare=True)
