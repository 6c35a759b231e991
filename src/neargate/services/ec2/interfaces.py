"""Network interfaces: of tasks, load balancers, mount targets. Called by gateway/dispatch.

Made by control/placement, services/elbv2 and services/efs; those whose task has stopped are not shown.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from neargate.model import addresses
from neargate.model.network import Interface, Subnet
from neargate.services.call import Call, Params, Result
from neargate.services.ec2.derived import derived_id
from neargate.services.ec2.listing import Json, Listing, Named, check_dry_run, select, tag_list
from neargate.state.catalog import INTERFACE, SECURITY_GROUP, SUBNET
from neargate.state.store import Tx

_TASKS: Final = "amazon-ecs"
_BALANCERS: Final = "amazon-elb"
_NO_INTERFACE: Final = Named(
    "NetworkInterfaceId", "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '{}' does not exist"
)


def _attach_time(item: Json) -> str:
    moment = datetime.fromtimestamp(item["Attachment"]["AttachTime"], UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


_INTERFACES: Final = Listing(
    "NetworkInterfaces",
    "NetworkInterfaceId",
    {"NetworkInterfaceIds": _NO_INTERFACE},
    {
        "addresses.association.owner-id": "PrivateIpAddresses.Association.IpOwnerId",
        "addresses.association.public-ip": "PrivateIpAddresses.Association.PublicIp",
        "addresses.primary": "PrivateIpAddresses.Primary",
        "addresses.private-ip-address": "PrivateIpAddresses.PrivateIpAddress",
        "association.allocation-id": "Association.AllocationId",
        "association.association-id": "Association.AssociationId",
        "association.ip-owner-id": "Association.IpOwnerId",
        "association.public-dns-name": "Association.PublicDnsName",
        "association.public-ip": "Association.PublicIp",
        "attachment.attach-time": _attach_time,
        "attachment.attachment-id": "Attachment.AttachmentId",
        "attachment.delete-on-termination": "Attachment.DeleteOnTermination",
        "attachment.device-index": "Attachment.DeviceIndex",
        "attachment.instance-id": "Attachment.InstanceId",
        "attachment.instance-owner-id": "Attachment.InstanceOwnerId",
        "attachment.status": "Attachment.Status",
        "availability-zone": "AvailabilityZone",
        "availability-zone-id": "AvailabilityZoneId",
        "description": "Description",
        "group-id": "Groups.GroupId",
        "group-name": "Groups.GroupName",
        "interface-type": "InterfaceType",
        "ipv6-addresses.ipv6-address": "Ipv6Addresses.Ipv6Address",
        "mac-address": "MacAddress",
        "network-interface-id": "NetworkInterfaceId",
        "operator.managed": "Operator.Managed",
        "operator.principal": "Operator.Principal",
        "owner-id": "OwnerId",
        "private-dns-name": "PrivateDnsName",
        "private-ip-address": "PrivateIpAddress",
        "requester-id": "RequesterId",
        "requester-managed": "RequesterManaged",
        "source-dest-check": "SourceDestCheck",
        "status": "Status",
        "subnet-id": "SubnetId",
        "vpc-id": "VpcId",
    },
    tags=lambda item: item["TagSet"],
)


async def describe_network_interfaces(call: Call, params: Params) -> Result:
    check_dry_run(params)

    def body(tx: Tx) -> list[Json]:
        groups = {group.id: group.name for group in tx.all(SECURITY_GROUP, call.scope)}
        # By subnet: that index leaves out the released ones, of which there may be many.
        return [
            _shown(interface, subnet, groups)
            for subnet in tx.all(SUBNET, call.scope)
            for interface in tx.find(INTERFACE, "subnet", subnet.id)
        ]

    return select(_INTERFACES, params, await call.store.scan(body))


def _shown(interface: Interface, subnet: Subnet, groups: Mapping[str, str]) -> Json:
    dns_name = addresses.dns_name(interface.address, interface.region)
    address = {"Primary": True, "PrivateIpAddress": interface.address, "PrivateDnsName": dns_name}
    return {
        "NetworkInterfaceId": interface.id,
        "InterfaceType": "interface",
        "Status": interface.status,
        "Attachment": _attachment(interface),
        "AvailabilityZone": interface.zone,
        "AvailabilityZoneId": subnet.zone_id,
        "Description": interface.description,
        "Groups": [{"GroupId": id, "GroupName": groups.get(id, "")} for id in interface.security_groups],
        "Ipv6Addresses": [],
        "MacAddress": interface.mac,
        "Operator": {"Managed": False},
        "OwnerId": interface.account,
        "PrivateDnsName": dns_name,
        "PrivateIpAddress": interface.address,
        "PrivateIpAddresses": [address],
        "RequesterId": _BALANCERS if _is_a_balancers(interface) else _TASKS,
        "RequesterManaged": True,
        "SourceDestCheck": True,
        "SubnetId": interface.subnet_id,
        "TagSet": tag_list(interface.tags),
        "VpcId": interface.vpc_id,
    }


def _is_a_balancers(interface: Interface) -> bool:
    return interface.description.startswith("ELB ")


def _attachment(interface: Interface) -> Json:
    """On Fargate the other end is no instance of the account, so no instance id is shown."""
    return {
        "AttachmentId": derived_id("eni-attach", interface.id),
        "AttachTime": interface.created_at,
        "DeleteOnTermination": False,
        "DeviceIndex": 1,
        "InstanceOwnerId": _BALANCERS if _is_a_balancers(interface) else interface.account,
        "NetworkCardIndex": 0,
        "Status": "attached",
    }
