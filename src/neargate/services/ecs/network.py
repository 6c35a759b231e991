"""networkConfiguration of RunTask: subnets and groups exist and belong together.

Called by run.py. Who gets which subnet and address is decided by control/placement.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from neargate.model.record import Scope
from neargate.services.call import Params
from neargate.services.ecs import names
from neargate.state.catalog import SECURITY_GROUP, SUBNET
from neargate.state.store import Tx

_MAX_SUBNETS = 16
_MAX_GROUPS = 5


@dataclass(frozen=True, slots=True)
class Network:
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    """Empty for the VPC's default group: placement fills it in."""
    assign_public_ip: bool


def read_network(params: Params) -> Network:
    """What can be said without the store. Raises InvalidParameterException."""
    configuration = (params.get("networkConfiguration") or {}).get("awsvpcConfiguration")
    if not configuration:
        raise names.invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    subnets = tuple(dict.fromkeys(configuration["subnets"]))
    groups = tuple(dict.fromkeys(configuration.get("securityGroups") or ()))
    if not subnets:
        raise names.invalid("subnets can not be empty.")
    if len(subnets) > _MAX_SUBNETS:
        raise names.invalid(f"subnets can have at most {_MAX_SUBNETS} items.")
    if len(groups) > _MAX_GROUPS:
        raise names.invalid(f"securityGroups can have at most {_MAX_GROUPS} items.")
    return Network(subnets, groups, configuration.get("assignPublicIp") == "ENABLED")


def check_network(tx: Tx, scope: Scope, network: Network) -> None:
    """Raise InvalidParameterException unless all of it exists, in one VPC."""
    vpcs = _vpcs(tx, scope, network.subnets)
    if len(vpcs) > 1:
        raise names.invalid("All subnets must belong to the same VPC.")
    for id in network.security_groups:
        group = tx.get(SECURITY_GROUP, id)
        if group is None or (group.account, group.region) != (scope.account, scope.region):
            raise names.invalid(
                f"Error retrieving security group information for [{', '.join(network.security_groups)}]: The"
                f" security group '{id}' does not exist (ErrorCode: InvalidGroup.NotFound)"
            )
        if group.vpc_id not in vpcs:
            raise names.invalid(
                f"Security Group {id} does not appear to belong to the same VPC as the input subnets."
            )


def _vpcs(tx: Tx, scope: Scope, ids: Sequence[str]) -> set[str]:
    vpcs = set()
    for id in ids:
        subnet = tx.get(SUBNET, id)
        if subnet is None or (subnet.account, subnet.region) != (scope.account, scope.region):
            raise names.invalid(
                f"Error retrieving subnet information for [{', '.join(ids)}]: The subnet ID '{id}' does not"
                " exist (ErrorCode: InvalidSubnetID.NotFound)"
            )
        vpcs.add(subnet.vpc_id)
    return vpcs
