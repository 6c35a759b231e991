"""Roles that belong to a service, which alone changes them. Called by gateway/dispatch.

Services here work without them: tools make them because AWS's services do not.
"""

import json
import re
from dataclasses import dataclass

from neargate.model.role import EVERY_REGION, Role, name_id
from neargate.services.call import Call, Params, Result
from neargate.services.iam import names, views
from neargate.services.iam.roles import insert
from neargate.state import roles
from neargate.state.catalog_iam import IAM_ROLE
from neargate.state.store import Tx

_AWS = "arn:aws:iam::aws:policy/aws-service-role/"
_DELETION = re.compile(r"task/aws-service-role/([a-z0-9.-]+)/([\w+=,.@-]+)/[0-9a-f-]{36}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Linked:
    role: str
    policy: str


_SERVICES = {
    "ecs.amazonaws.com": _Linked("AWSServiceRoleForECS", "AmazonECSServiceRolePolicy"),
    "ecs.application-autoscaling.amazonaws.com": _Linked(
        "AWSServiceRoleForApplicationAutoScaling_ECSService", "AWSApplicationAutoscalingECSServicePolicy"
    ),
    "elasticloadbalancing.amazonaws.com": _Linked(
        "AWSServiceRoleForElasticLoadBalancing", "AWSElasticLoadBalancingServiceRolePolicy"
    ),
}


async def create_service_linked_role(call: Call, params: Params) -> Result:
    service, account = params["AWSServiceName"], call.scope.account
    linked = _SERVICES.get(service)
    if linked is None:
        raise names.invalid(f"{service} has no service-linked role. Those that do: {', '.join(_SERVICES)}.")
    if params.get("CustomSuffix"):
        raise names.invalid(f"Custom suffix is not allowed for {service}")
    path = f"{names.SERVICE_LINKED}{service}/"
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    role = Role(
        account=account,
        region=EVERY_REGION,
        arn=f"arn:aws:iam::{account}:role{path}{linked.role}",
        id=names.unique_id("AROA", call),
        name=linked.role,
        path=path,
        created_at=call.now(),
        trust=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        description=params.get("Description") or "",
        attached=(f"{_AWS}{linked.policy}",),
    )

    def body(tx: Tx) -> Role:
        if tx.get(IAM_ROLE, name_id(account, role.name)) is not None:
            raise names.invalid(
                f"Service role name {role.name} has been taken in this account, please try a different"
                " suffix."
            )
        return insert(tx, role)

    return {"Role": views.created_role(await call.store.write(body))}


async def delete_service_linked_role(call: Call, params: Params) -> Result:
    """At once: nothing here stops working without one."""

    def body(tx: Tx) -> Role:
        role = names.need_role(tx, call, params["RoleName"])
        if not role.path.startswith(names.SERVICE_LINKED):
            raise names.no_such(f"The role with name {role.name} cannot be found.")
        roles.delete_role(tx, role)
        return role

    role = await call.store.write(body)
    return {"DeletionTaskId": f"task{role.path}{role.name}/{call.ids.uuid()}"}


async def get_service_linked_role_deletion_status(call: Call, params: Params) -> Result:
    task = params["DeletionTaskId"]
    found = _DELETION.fullmatch(task)
    if found is None or found[1] not in _SERVICES or _SERVICES[found[1]].role != found[2]:
        raise names.no_such(f"Deletion task {task} cannot be found.")
    return {"Status": "SUCCEEDED"}
