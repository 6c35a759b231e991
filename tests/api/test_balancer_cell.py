"""What the node's data plane asks of the control plane: the view and its news, states, wake-ups, logs."""

import asyncio
import gzip

import pytest

from neargate.kit.errors import CellError
from neargate.model.balancer import Target
from neargate.model.target_health import Verdict
from neargate.node.balancer.base import Judged
from neargate.services.cell.balancers import Balancers
from neargate.state.catalog_balancers import TARGET_GROUP
from tests.support.door import Door


class Made:
    """A balancer with a group and a target, through the door."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.elb = door.client("elbv2")
        subnets = door.client("ec2").describe_subnets()["Subnets"]
        balancer = self.elb.create_load_balancer(Name="web", Subnets=[s["SubnetId"] for s in subnets[:2]])
        self.balancer = balancer["LoadBalancers"][0]["LoadBalancerArn"]
        group = self.elb.create_target_group(
            Name="api", Protocol="HTTP", Port=80, VpcId=subnets[0]["VpcId"], TargetType="ip"
        )
        self.group = group["TargetGroups"][0]["TargetGroupArn"]
        forward = [{"Type": "forward", "TargetGroupArn": self.group}]
        self.elb.create_listener(
            LoadBalancerArn=self.balancer, Protocol="HTTP", Port=80, DefaultActions=forward
        )
        network = subnets[0]["CidrBlock"].rpartition(".")[0]
        self.address = f"{network}.9"


@pytest.fixture
def made(door: Door) -> Made:
    return Made(door)


@pytest.fixture
def cell(door: Door) -> Balancers:
    """One of its own, beside the daemon's."""

    async def make() -> Balancers:
        return Balancers(door.daemon.house)

    return door.call(make())


def register(made: Made) -> Target:
    made.elb.register_targets(TargetGroupArn=made.group, Targets=[{"Id": made.address, "Port": 80}])
    return Target(account="", region="", group_arn=made.group, address=made.address, port=80)


def test_the_view_and_its_news(made: Made, cell: Balancers, door: Door) -> None:
    cursor, view = door.call(cell.balancing(0))
    assert view.balancers.keys() == {made.balancer}
    assert view.groups[made.group].balancer_arns == (made.balancer,)
    assert view.targets == {}
    register(made)
    _, later = door.call(cell.balancing(cursor))
    assert [target.address for target in later.targets.values()] == [made.address]
    assert later.balancers[made.balancer] is view.balancers[made.balancer]


def test_a_target_is_healthy_at_once_where_nothing_is_real(made: Made, door: Door) -> None:
    register(made)

    async def healthy() -> None:
        cell, cursor = Balancers(door.daemon.house), 0
        while True:
            cursor, view = await asyncio.wait_for(cell.balancing(cursor), 20)
            if [target.state for target in view.targets.values()] == ["healthy"]:
                return

    door.call(healthy())
    told = made.elb.describe_target_health(TargetGroupArn=made.group)["TargetHealthDescriptions"]
    assert told[0]["TargetHealth"]["State"] == "healthy"


def test_a_verdict_on_what_was_seen_otherwise_is_passed_over(made: Made, cell: Balancers, door: Door) -> None:
    register(made)
    _, view = door.call(cell.balancing(0))
    (seen,) = view.targets.values()
    made.elb.deregister_targets(TargetGroupArn=made.group, Targets=[{"Id": made.address, "Port": 80}])
    door.call(cell.report_targets([Judged(seen, Verdict("unhealthy", "Target.Timeout", "late"))]))
    _, view = door.call(cell.balancing(0))
    assert "unhealthy" not in [target.state for target in view.targets.values()]


def test_only_draining_targets_are_forgotten(made: Made, cell: Balancers, door: Door) -> None:
    register(made)
    _, view = door.call(cell.balancing(0))
    door.call(cell.forget_targets(list(view.targets.values())))
    assert made.elb.describe_target_health(TargetGroupArn=made.group)["TargetHealthDescriptions"] != []


def test_a_request_that_waits_is_told(made: Made, cell: Balancers, door: Door) -> None:
    before = door.daemon.house.clock.now()
    door.call(cell.wake(made.group))
    door.call(cell.wake("arn:of:nobody"))
    door.call(cell.put_traffic([], [made.group]))
    group = door.call(door.daemon.house.store.read(lambda tx: tx.get(TARGET_GROUP, made.group)))
    assert group is not None
    assert (group.woken_at or 0) >= before
    assert (group.last_request_at or 0) >= before


@pytest.mark.parametrize("kind", ["access_logs", "connection_logs"])
def test_logs_are_objects_of_their_bucket(made: Made, cell: Balancers, door: Door, kind: str) -> None:
    with pytest.raises(CellError, match="bucket does not exist"):
        door.call(cell.put_access_log(made.balancer, "a/b.log.gz", b"", kind))
    s3 = door.client("s3")
    s3.create_bucket(Bucket="logs")
    attributes = {f"{kind}.s3.enabled": "true", f"{kind}.s3.bucket": "logs"}
    made.elb.modify_load_balancer_attributes(
        LoadBalancerArn=made.balancer, Attributes=[{"Key": k, "Value": v} for k, v in attributes.items()]
    )
    data = gzip.compress(b"an entry\n")
    door.call(cell.put_access_log(made.balancer, "a/b.log.gz", data, kind))
    found = s3.get_object(Bucket="logs", Key="a/b.log.gz")
    assert gzip.decompress(found["Body"].read()) == b"an entry\n"
    assert found["ContentType"] == "application/x-gzip"
    with pytest.raises(CellError, match="no load balancer"):
        door.call(cell.put_access_log("arn:of:nobody", "a/b.log.gz", data, kind))


def test_a_balancer_that_cannot_listen_is_impaired_and_says_why(
    made: Made, cell: Balancers, door: Door
) -> None:
    def state() -> dict[str, str]:
        told = made.elb.describe_load_balancers(LoadBalancerArns=[made.balancer])["LoadBalancers"][0]
        found: dict[str, str] = told["State"]
        return found

    assert state() == {"Code": "active"}
    reason = "Listener 80/HTTP: cannot bind '172.31.0.4:80': Address already in use"
    door.call(cell.report_balancers({made.balancer: reason, f"{made.balancer}0": reason}))
    assert state() == {"Code": "active_impaired", "Reason": reason}
    door.call(cell.report_balancers({made.balancer: ""}))
    assert state() == {"Code": "active"}
