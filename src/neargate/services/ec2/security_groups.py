"""Security groups and their rules. Called by gateway/dispatch.

Every group has the rules that a default group is born with; they are neither changed nor enforced yet, and
`rules` is the one place that says which there are.
"""

from dataclasses import dataclass
from typing import Any, Final

from neargate.model.network import SecurityGroup
from neargate.services.call import Call, Params, Result
from neargate.services.ec2.derived import derived_id
from neargate.services.ec2.listing import Json, Listing, Named, Path, check_dry_run, select, tag_list
from neargate.state.catalog import SECURITY_GROUP, VPC
from neargate.state.store import Tx

ALL_PROTOCOLS: Final = "-1"
NO_GROUP: Final = Named("GroupId", "InvalidGroup.NotFound", "The security group '{}' does not exist")
_NO_RULE: Final = Named(
    "SecurityGroupRuleId",
    "InvalidSecurityGroupRuleId.NotFound",
    "The security group rule ID '{}' does not exist",
)


def _permission_filters(prefix: str, member: str) -> dict[str, Path]:
    names = {
        "cidr": "IpRanges.CidrIp",
        "from-port": "FromPort",
        "group-id": "UserIdGroupPairs.GroupId",
        "group-name": "UserIdGroupPairs.GroupName",
        "ipv6-cidr": "Ipv6Ranges.CidrIpv6",
        "prefix-list-id": "PrefixListIds.PrefixListId",
        "protocol": "IpProtocol",
        "to-port": "ToPort",
        "user-id": "UserIdGroupPairs.UserId",
    }
    return {f"{prefix}ip-permission.{name}": f"{member}.{path}" for name, path in names.items()}


_GROUP_FILTERS: Final[dict[str, Path]] = {
    "description": "Description",
    "group-id": "GroupId",
    "group-name": "GroupName",
    "owner-id": "OwnerId",
    "vpc-id": "VpcId",
    **_permission_filters("", "IpPermissions"),
    **_permission_filters("egress.", "IpPermissionsEgress"),
}
_RULES: Final = Listing(
    "SecurityGroupRules",
    "SecurityGroupRuleId",
    {"SecurityGroupRuleIds": _NO_RULE},
    {"group-id": "GroupId", "security-group-rule-id": "SecurityGroupRuleId"},
)


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    egress: bool
    protocol: str = ALL_PROTOCOLS
    cidr: str = ""
    group: str = ""
    """The group that a rule of a group names, instead of a CIDR."""


def rules(group: SecurityGroup) -> list[Rule]:
    """All traffic from members of the group itself comes in, and all traffic goes out."""
    return [
        Rule(derived_id("sgr", group.id, "ingress"), egress=False, group=group.id),
        Rule(derived_id("sgr", group.id, "egress"), egress=True, cidr="0.0.0.0/0"),
    ]


async def describe_security_groups(call: Call, params: Params) -> Result:
    check_dry_run(params)

    def body(tx: Tx) -> tuple[list[SecurityGroup], str]:
        default = [vpc.id for vpc in tx.all(VPC, call.scope) if vpc.default]
        return tx.all(SECURITY_GROUP, call.scope), default[0] if default else ""

    groups, default_vpc = await call.store.read(body)
    no_name = Named(
        "GroupName", NO_GROUP.code, f"The security group '{{}}' does not exist in default VPC '{default_vpc}'"
    )
    if params.get("GroupNames"):
        # EC2 knows groups by name only in the default VPC: elsewhere names are a filter.
        groups = [group for group in groups if group.vpc_id == default_vpc]
    named = {"GroupIds": NO_GROUP, "GroupNames": no_name}
    listing = Listing("SecurityGroups", "GroupId", named, _GROUP_FILTERS)
    return select(listing, params, map(_shown, groups))


def _shown(group: SecurityGroup) -> Json:
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "OwnerId": group.account,
        "SecurityGroupArn": group.arn,
        "VpcId": group.vpc_id,
        "IpPermissions": [_permission(rule, group) for rule in rules(group) if not rule.egress],
        "IpPermissionsEgress": [_permission(rule, group) for rule in rules(group) if rule.egress],
        "Tags": tag_list(group.tags),
    }


def _permission(rule: Rule, owner: SecurityGroup) -> Json:
    pairs = [{"GroupId": rule.group, "UserId": owner.account}] if rule.group else []
    return {
        "IpProtocol": rule.protocol,
        "IpRanges": [{"CidrIp": rule.cidr}] if rule.cidr else [],
        "Ipv6Ranges": [],
        "PrefixListIds": [],
        "UserIdGroupPairs": pairs,
    }


async def describe_security_group_rules(call: Call, params: Params) -> Result:
    check_dry_run(params)
    groups = await call.store.read(lambda tx: tx.all(SECURITY_GROUP, call.scope))
    return select(_RULES, params, [_rule(rule, group) for group in groups for rule in rules(group)])


def _rule(rule: Rule, owner: SecurityGroup) -> Json:
    shown: dict[str, Any] = {
        "SecurityGroupRuleId": rule.id,
        "SecurityGroupRuleArn": (f"arn:aws:ec2:{owner.region}:{owner.account}:security-group-rule/{rule.id}"),
        "GroupId": owner.id,
        "GroupOwnerId": owner.account,
        "IsEgress": rule.egress,
        "IpProtocol": rule.protocol,
        "FromPort": -1,
        "ToPort": -1,
        "Tags": [],
    }
    if rule.cidr:
        shown["CidrIpv4"] = rule.cidr
    if rule.group:
        shown["ReferencedGroupInfo"] = {"GroupId": rule.group, "UserId": owner.account}
    return shown
