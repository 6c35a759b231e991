"""Records of the network: VPC, subnet, security group, interface. For services/ec2 and control/placement."""

from neargate.model.record import Record


class Vpc(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    cidr: str
    default: bool = True
    tags: dict[str, str] = {}


class Subnet(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    vpc_id: str
    cidr: str
    zone: str
    zone_id: str
    default: bool = True
    tags: dict[str, str] = {}


class SecurityGroup(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    arn: str
    vpc_id: str
    name: str
    description: str
    tags: dict[str, str] = {}


class Interface(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An elastic network interface: one address of a subnet, held by one task."""

    id: str
    subnet_id: str
    vpc_id: str
    zone: str
    address: str
    mac: str
    security_groups: tuple[str, ...]
    attachment_id: str = ""
    task_arn: str = ""
    description: str = ""
    status: str = "in-use"
    """in-use, or released: its task has stopped and the address may be given anew."""
    created_at: float = 0.0
    tags: dict[str, str] = {}
