"""The roles that task definitions and requests name: whether they are there, and trust ECS's tasks.

Called by task_definitions.py and run.py. What they may do is asked when it is done (services/cell, the door).
"""

from collections.abc import Mapping
from typing import Any

from neargate.model import actions
from neargate.model.rights import UNABLE_TO_ASSUME
from neargate.services.call import Call
from neargate.services.ecs import names
from neargate.state import rights
from neargate.state.rights import NoRole
from neargate.state.store import Tx


def check_named(tx: Tx, call: Call, *given: Mapping[str, Any]) -> None:
    """Raise ClientException on a role that does not exist; see NEARGATE_IAM."""
    for role in actions.task_roles(*given):
        try:
            rights.find(tx, call.settings.iam, call.scope.account, role)
        except NoRole:
            raise names.client_error("Role is not valid") from None


def check_assumed(tx: Tx, call: Call, *given: Mapping[str, Any]) -> None:
    """Raise ClientException on a role that tasks cannot have."""
    scope = call.scope
    for role in actions.task_roles(*given):
        if not rights.trusts_service(tx, call.settings.iam, scope.account, scope.region, role, actions.TASKS):
            raise names.client_error(UNABLE_TO_ASSUME.format(role))
