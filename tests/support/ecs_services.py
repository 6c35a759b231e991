"""Service `web` on the ECS room without a door (tests/support/ecs.py), and things that it may name.

Used by tests/api/test_ecs_services*.py.
"""

from typing import Any

from msgspec.structs import replace

from neargate.model.balancer import ListenerRule, TargetGroup
from neargate.model.discovery import DiscoveryService, Namespace
from neargate.model.service import Service, ServiceDeployment
from neargate.model.service_connect import ConnectEndpoint
from neargate.model.task import Task
from neargate.state.catalog import TASK
from neargate.state.catalog_balancers import LISTENER_RULE, TARGET_GROUP
from neargate.state.catalog_discovery import CONNECT_ENDPOINT, DISCOVERY_SERVICE, NAMESPACE
from neargate.state.catalog_services import SERVICE, SERVICE_DEPLOYMENT
from neargate.state.store import Tx
from tests.support.ecs import SCOPE, Ecs

ARN = SCOPE.arn("ecs", "service/default/web")
BALANCER = SCOPE.arn("elasticloadbalancing", "loadbalancer/app/b/1")
OWNED = {"account": SCOPE.account, "region": SCOPE.region}


async def create(ecs: Ecs, **changes: Any) -> dict[str, Any]:
    """Service `web` of definition `web` on cluster `default`, with changes; without what is None."""
    params = {
        "serviceName": "web",
        "taskDefinition": "web",
        "desiredCount": 2,
        "launchType": "FARGATE",
        "networkConfiguration": ecs.network,
        **changes,
    }
    answer = await ecs.create_service(**{k: v for k, v in params.items() if v is not None})
    return dict(answer["service"])


async def external(ecs: Ecs, **changes: Any) -> dict[str, Any]:
    """Service `web` whose deployments somebody else controls."""
    none = {"taskDefinition": None, "launchType": None, "networkConfiguration": None}
    return await create(ecs, deploymentController={"type": "EXTERNAL"}, **none, **changes)


async def update(ecs: Ecs, **changes: Any) -> dict[str, Any]:
    return dict((await ecs.update_service(service="web", **changes))["service"])


async def described(ecs: Ecs, **params: Any) -> dict[str, Any]:
    answer = await ecs.describe_services(services=["web"], **params)
    assert answer["failures"] == []
    (service,) = answer["services"]
    return dict(service)


async def record(ecs: Ecs) -> Service:
    found = await ecs.store.read(lambda tx: tx.get(SERVICE, ARN))
    assert found is not None
    return found


async def change(ecs: Ecs, arn: str, **fields: Any) -> None:
    """What control/services would write of a ServiceDeployment."""

    def body(tx: Tx) -> None:
        process = tx.get(SERVICE_DEPLOYMENT, arn)
        assert process is not None
        tx.put(SERVICE_DEPLOYMENT, replace(process, **fields))

    await ecs.store.write(body)


async def process_of(ecs: Ecs, arn: str) -> ServiceDeployment:
    found = await ecs.store.read(lambda tx: tx.get(SERVICE_DEPLOYMENT, arn))
    assert found is not None
    return found


async def end(ecs: Ecs, name: str = "web") -> None:
    """Delete the service and have it INACTIVE, as control/services makes it once its tasks have stopped."""
    await ecs.delete_service(service=name, force=True)
    now = ecs.clock.now()

    def body(tx: Tx) -> None:
        service = tx.get(SERVICE, SCOPE.arn("ecs", f"service/default/{name}"))
        assert service is not None
        tx.put(SERVICE, replace(service, status="INACTIVE", deployments=(), inactive_at=now))

    await ecs.store.write(body)


async def settle(ecs: Ecs) -> None:
    """The PRIMARY deployment is all that is left of the service's deployments."""
    service = await record(ecs)
    alone = replace(service, deployments=service.deployments[:1])
    await ecs.store.write(lambda tx: tx.put(SERVICE, alone))


async def adopt(ecs: Ecs, task: str, **fields: Any) -> None:
    """Make a task one of service `web`, as control/services would have made it."""
    service = await record(ecs)

    def body(tx: Tx) -> None:
        found = tx.get(TASK, task)
        assert found is not None
        by = fields.pop("started_by", None) or service.deployments[0].id
        tx.put(TASK, replace(found, service_arn=ARN, group="service:web", started_by=by, **fields))

    await ecs.store.write(body)


async def task_record(ecs: Ecs, arn: str) -> Task:
    found = await ecs.store.read(lambda tx: tx.get(TASK, arn))
    assert found is not None
    return found


async def add_group(ecs: Ecs, name: str = "g", *, balanced: bool = True, kind: str = "ip") -> str:
    group = TargetGroup(
        **OWNED,
        arn=SCOPE.arn("elasticloadbalancing", f"targetgroup/{name}/1"),
        name=name,
        protocol="HTTP",
        port=80,
        vpc_id="vpc-1",
        target_type=kind,
        balancer_arns=(BALANCER,) if balanced else (),
    )
    await ecs.store.write(lambda tx: tx.put(TARGET_GROUP, group))
    return group.arn


async def add_rule(ecs: Ecs, name: str = "r") -> str:
    rule = ListenerRule(
        **OWNED,
        arn=SCOPE.arn("elasticloadbalancing", f"listener-rule/app/b/1/2/{name}"),
        listener_arn="listener",
        priority=1,
        conditions=(),
        actions=(),
    )
    await ecs.store.write(lambda tx: tx.put(LISTENER_RULE, rule))
    return rule.arn


async def add_namespace(ecs: Ecs, name: str = "space") -> str:
    space = Namespace(
        **OWNED,
        id=f"ns-{name}",
        arn=SCOPE.arn("servicediscovery", f"namespace/ns-{name}"),
        name=name,
        type="HTTP",
        http_name=name,
    )
    await ecs.store.write(lambda tx: tx.put(NAMESPACE, space))
    return space.arn


async def add_offer(ecs: Ecs, service: str, name: str) -> None:
    """What a service offers by Service Connect in namespace `space`, as control/service_connect writes it."""
    endpoint = ConnectEndpoint(
        **OWNED,
        namespace_id="ns-space",
        discovery_name=name,
        service_arn=service,
        port_name=name,
        dns_name=f"{name}.space",
        port=80,
    )
    await ecs.store.write(lambda tx: tx.put(CONNECT_ENDPOINT, endpoint))


async def add_registry(ecs: Ecs, *records: str) -> str:
    registry = DiscoveryService(
        **OWNED,
        id="srv-1",
        arn=SCOPE.arn("servicediscovery", "service/srv-1"),
        name="web",
        namespace_id="ns-space",
        type="DNS_HTTP",
        records=tuple((kind, 60) for kind in records),
    )
    await ecs.store.write(lambda tx: tx.put(DISCOVERY_SERVICE, registry))
    return registry.arn
