"""The network that every account is born with: a default VPC, a subnet in each of three zones, a group.

Called by main at each start, before anything else; services/ec2 shows what it made.
"""

from neargate.kit.ids import Ids
from neargate.kit.settings import Settings, SettingsError
from neargate.model import addresses
from neargate.model.network import SecurityGroup, Subnet, Vpc
from neargate.model.record import Scope
from neargate.state.catalog import SECURITY_GROUP, SUBNET, VPC
from neargate.state.store import Store, Tx

GROUP_DESCRIPTION = "default VPC security group"


async def ensure_default_network(store: Store, scope: Scope, settings: Settings, ids: Ids) -> None:
    """Make what is missing; ids stay across restarts. Raise SettingsError if another range is asked for."""

    def body(tx: Tx) -> None:
        existing = [vpc for vpc in tx.all(VPC, scope) if vpc.default]
        if not existing:
            _make(tx, scope, settings.vpc_cidr, ids)
        elif existing[0].cidr != settings.vpc_cidr:
            raise SettingsError(
                f"NEARGATE_VPC_CIDR is {settings.vpc_cidr}, but the default VPC {existing[0].id} of"
                f" {settings.data_dir} was made with {existing[0].cidr}: set NEARGATE_VPC_CIDR to"
                f" {existing[0].cidr}, or choose another data directory"
            )

    await store.write(body)


def _make(tx: Tx, scope: Scope, cidr: str, ids: Ids) -> None:
    account, region = scope.account, scope.region
    vpc = tx.insert(VPC, Vpc(account=account, region=region, id=f"vpc-{ids.hex(17)}", cidr=cidr))
    blocks = addresses.default_subnets(cidr)
    for block, (zone, zone_id) in zip(blocks, addresses.zones(region), strict=True):
        subnet = Subnet(
            account=account,
            region=region,
            id=f"subnet-{ids.hex(17)}",
            vpc_id=vpc.id,
            cidr=block,
            zone=zone,
            zone_id=zone_id,
        )
        tx.insert(SUBNET, subnet)
    group = f"sg-{ids.hex(17)}"
    tx.insert(
        SECURITY_GROUP,
        SecurityGroup(
            account=account,
            region=region,
            id=group,
            arn=scope.arn("ec2", f"security-group/{group}"),
            vpc_id=vpc.id,
            name="default",
            description=GROUP_DESCRIPTION,
        ),
    )
