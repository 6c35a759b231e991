"""CreateService and its like, refused: with which error, in which words, and nothing written."""

from typing import Any

import pytest

from tests.support.ecs import SCOPE, Ecs, container, definition, refused
from tests.support.ecs_services import (
    add_group,
    add_namespace,
    add_offer,
    add_registry,
    add_rule,
    create,
    described,
    external,
    update,
)

INVALID, CLIENT, UNSUPPORTED = (
    "InvalidParameterException",
    "ClientException",
    "UnsupportedFeatureException",
)
NO_GROUP = SCOPE.arn("elasticloadbalancing", "targetgroup/none/1")
BALANCER = {"containerName": "web-app", "containerPort": 80}


async def unwritten(ecs: Ecs, error: tuple[str, str], **changes: Any) -> None:
    head = ecs.store.head()
    with refused(*error):
        await create(ecs, **changes)
    assert ecs.store.head() == head


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"serviceName": "a b"}, INVALID,
         "Invalid service name: up to 255 letters (uppercase and lowercase), numbers, hyphens, and"
         " underscores are allowed."),
        ({"cluster": "none"}, "ClusterNotFoundException", "Cluster not found."),
        ({"taskDefinition": None}, INVALID, "TaskDefinition can not be blank."),
        ({"taskDefinition": "none"}, CLIENT, "Unable to describe task definition."),
        ({"desiredCount": None}, INVALID,
         "desiredCount must be specified when the scheduling strategy is REPLICA."),
        ({"desiredCount": -1}, INVALID, "desiredCount must be between 0 and 5000."),
        ({"desiredCount": 2**31 - 1}, INVALID, "desiredCount must be between 0 and 5000."),
        ({"schedulingStrategy": "DAEMON"}, INVALID,
         "The daemon scheduling strategy does not support a desired count for services. Remove the desired"
         " count value and try again"),
        ({"schedulingStrategy": "DAEMON", "desiredCount": None}, INVALID,
         "The DAEMON scheduling strategy is not supported with the FARGATE launch type."),
        ({"schedulingStrategy": "DAEMON", "desiredCount": None, "availabilityZoneRebalancing": "ENABLED"},
         INVALID, "Availability Zone Rebalancing does not support DAEMON services"),
        ({"capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}]}, INVALID,
         "Specifying both a launch type and capacity provider strategy is not supported"),
        ({"launchType": None}, INVALID, "No Container Instances were found in your cluster."),
        ({"launchType": "EC2"}, INVALID, "No Container Instances were found in your cluster."),
        ({"launchType": None, "capacityProviderStrategy": [{"capacityProvider": "mine", "weight": 1}]},
         INVALID,
         "The specified capacity provider strategy cannot contain a capacity provider that is not associated"
         " with the cluster"),
        ({"launchType": None, "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]}, INVALID,
         "There are no capacity providers in the capacity provider strategy with a weight value greater than"
         " zero"),
        ({"networkConfiguration": None}, INVALID,
         "Network Configuration must be provided when networkMode 'awsvpc' is specified."),
        ({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-none"]}}}, INVALID,
         "Error retrieving subnet information for [subnet-none]: The subnet ID 'subnet-none' does not exist"
         " (ErrorCode: InvalidSubnetID.NotFound)"),
        ({"platformVersion": "9"}, "PlatformUnknownException",
         "The platform version 9 is unknown. Specify one of LATEST, 1.4.0, 1.3.0."),
        ({"enableExecuteCommand": True}, INVALID,
         "A valid taskRoleArn is not being used. Specify a valid task role in your task definition and try"
         " again."),
        ({"role": "r"}, INVALID,
         "You cannot specify an IAM role for services that require a service linked role."),
        ({"placementConstraints": [{"type": "distinctInstance"}]}, INVALID,
         "Placement constraints are not supported with FARGATE launch type."),
        ({"placementStrategy": [{"type": "random"}]}, INVALID,
         "Placement strategies are not supported with FARGATE launch type."),
        ({"clientToken": "a b"}, INVALID,
         "clientToken can have 1 to 64 characters in the range of 33-126."),
        ({"healthCheckGracePeriodSeconds": -1}, INVALID,
         "healthCheckGracePeriodSeconds must be between 0 and 2147483647."),
        ({"deploymentConfiguration": {"maximumPercent": 99}}, INVALID, "maximumPercent must be at least 100"),
        ({"deploymentConfiguration": {"maximumPercent": 100, "minimumHealthyPercent": 0},
          "availabilityZoneRebalancing": "ENABLED"}, INVALID,
         "Availability Zone Rebalancing requires a maximumPercent greater than 100."),
        ({"deploymentController": {"type": "CODE_DEPLOY"}}, UNSUPPORTED,
         "The deployment controller CODE_DEPLOY is not available: there is no CodeDeploy here. Use the ECS"
         " deployment controller with the strategy BLUE_GREEN."),
        ({"deploymentController": {"type": "EXTERNAL"}}, INVALID, "TaskDefinition must be blank"),
        ({"deploymentController": {"type": "EXTERNAL"}, "taskDefinition": None}, INVALID,
         "LaunchType must be empty or null"),
        ({"volumeConfigurations": [{"name": "v"}]}, UNSUPPORTED,
         "volumeConfigurations are not available: there are no volumes that are configured at launch here."),
        ({"monitoring": {"metricConfigurations": [
            {"metricNames": ["CPUUtilization"], "resolutionSeconds": 30}]}}, INVALID,
         "The resolution of a metric must be 20 or 60 seconds."),
        ({"monitoring": {"metricConfigurations": [{"metricNames": ["CPU"], "resolutionSeconds": 20}]}},
         INVALID, "The metrics of a service are CPUUtilization and MemoryUtilization."),
        ({"tags": [{"key": "aws:x", "value": ""}]}, INVALID,
         "aws: prefixed tag key names are not allowed for external use."),
        ({"clientToken": "\ud800"}, INVALID, "The request holds text or numbers out of range."),
        ({"loadBalancers": [{**BALANCER, "targetGroupArn": NO_GROUP}]}, INVALID,
         "The container web-app did not have a container port 80 defined."),
    ],
)  # fmt: skip
async def test_refused(ready: Ecs, changes: dict[str, Any], code: str, message: str) -> None:
    await unwritten(ready, (code, message), **changes)


async def test_definitions_that_are_gone_or_not_for_fargate(ready: Ecs) -> None:
    await ready.register_task_definition(
        **definition(container(memory=64), family="ec2", requiresCompatibilities=["EC2"], networkMode="host")
    )
    await unwritten(
        ready, (INVALID, "Task definition does not support launch_type FARGATE."), taskDefinition="ec2"
    )
    await ready.deregister_task_definition(taskDefinition="web:1")
    await unwritten(ready, (CLIENT, "TaskDefinition is inactive"), taskDefinition="web:1")


async def served(ecs: Ecs) -> None:
    port = {"containerPort": 80, "name": "http"}
    await ecs.register_task_definition(**definition(container(portMappings=[port]), family="served"))


async def test_target_groups(ready: Ecs) -> None:
    await served(ready)
    loose, machines = (
        await add_group(ready, "loose", balanced=False),
        await add_group(ready, "i", kind="instance"),
    )
    for arn, message in (
        (NO_GROUP, f"The target group with targetGroupArn {NO_GROUP} does not exist."),
        (loose, f"The target group with targetGroupArn {loose} does not have an associated load balancer."),
        (machines,
         f"The provided target group {machines} has target type instance, which is incompatible with the"
         " awsvpc network mode specified in the task definition."),
    ):  # fmt: skip
        balancers = [{**BALANCER, "targetGroupArn": arn}]
        await unwritten(ready, (INVALID, message), taskDefinition="served", loadBalancers=balancers)


async def test_the_two_groups_and_rules_of_a_shift(ready: Ecs) -> None:
    await served(ready)
    blue, green, rule = await add_group(ready, "blue"), await add_group(ready, "green"), await add_rule(ready)
    shift = {"taskDefinition": "served", "deploymentConfiguration": {"strategy": "CANARY"}}
    advanced = {"alternateTargetGroupArn": green, "productionListenerRule": rule}

    def balancers(**changes: str) -> list[dict[str, Any]]:
        return [
            {**BALANCER, "targetGroupArn": blue, "advancedConfiguration": {**advanced, **changes}},
        ]

    for changes, message in (
        ({"alternateTargetGroupArn": NO_GROUP},
         f"The target group with targetGroupArn {NO_GROUP} does not exist."),
        ({"productionListenerRule": "none"}, "The productionListenerRule none does not exist."),
        ({"testListenerRule": "none"}, "The testListenerRule none does not exist."),
    ):  # fmt: skip
        await unwritten(ready, (INVALID, message), loadBalancers=balancers(**changes), **shift)
    made = await create(ready, loadBalancers=balancers(), **shift)
    assert made["loadBalancers"] == balancers()
    assert made["healthCheckGracePeriodSeconds"] == 0


async def test_registries(ready: Ecs) -> None:
    await served(ready)
    arn = await add_registry(ready, "A")
    other = {"registryArn": SCOPE.arn("servicediscovery", "service/srv-none")}
    asked = {"containerName": "web-app", "containerPort": 80}
    for registry, message in (
        (other, f"The service registry {other['registryArn']} does not exist."),
        ({"registryArn": arn, **asked},
         "The values specified for serviceRegistries do not require a value for 'containerPort'."),
    ):  # fmt: skip
        await unwritten(ready, (INVALID, message), taskDefinition="served", serviceRegistries=[registry])
    await add_registry(ready, "SRV")
    await unwritten(
        ready,
        (INVALID, "Either port, or containerName and containerPort, must be specified for a service registry"
         " with SRV records."),
        taskDefinition="served",
        serviceRegistries=[{"registryArn": arn}],
    )  # fmt: skip
    made = await create(ready, taskDefinition="served", serviceRegistries=[{"registryArn": arn, **asked}])
    assert made["serviceRegistries"] == [{"registryArn": arn, **asked}]


async def test_namespaces(ready: Ecs) -> None:
    await served(ready)
    connect = {"enabled": True, "namespace": "space", "services": [{"portName": "http"}]}
    missing = ("NamespaceNotFoundException", "The specified namespace was not found: space")
    asked = {"taskDefinition": "served", "serviceConnectConfiguration": connect}
    await unwritten(ready, missing, **asked)
    with refused(*missing):
        await ready.list_services_by_namespace(namespace="space")
    arn = await add_namespace(ready)
    assert (await ready.list_services_by_namespace(namespace="space"))["serviceArns"] == []
    made = await create(ready, **asked)
    (deployment,) = made["deployments"]
    assert deployment["serviceConnectConfiguration"] == {
        "enabled": True,
        "namespace": arn,
        "services": [{"portName": "http", "discoveryName": "http"}],
    }
    await add_offer(ready, made["serviceArn"], "http")
    assert (await update(ready, serviceConnectConfiguration=connect))["deployments"] == made["deployments"]
    taken = (INVALID, "The discoveryName http is already used in the namespace space.")
    await unwritten(ready, taken, serviceName="second", **asked)
    port = {
        "portName": "http",
        "discoveryName": "b",
        "clientAliases": [{"port": 80, "dnsName": "http.space"}],
    }
    await unwritten(
        ready,
        (INVALID, "The client alias http.space:80 is already used in the namespace space."),
        serviceName="second",
        taskDefinition="served",
        serviceConnectConfiguration={**connect, "services": [port]},
    )
    for name in ("space", arn):
        listed = (await ready.list_services_by_namespace(namespace=name))["serviceArns"]
        assert listed == [made["serviceArn"]]


async def test_the_clusters_namespace_is_the_default(ready: Ecs) -> None:
    await served(ready)
    asked = {"taskDefinition": "served", "serviceConnectConfiguration": {"enabled": True}}
    missing = "Namespace is missing. Specify one in serviceConnectConfiguration or as the cluster's default."
    await unwritten(ready, (INVALID, missing), **asked)
    updated = await ready.update_cluster(cluster="default", serviceConnectDefaults={"namespace": "space"})
    arn = updated["cluster"]["serviceConnectDefaults"]["namespace"]
    (deployment,) = (await create(ready, **asked))["deployments"]
    assert deployment["serviceConnectConfiguration"]["namespace"] == arn


async def test_updates_that_are_refused(ready: Ecs) -> None:
    await create(ready)
    for changes, error in (
        ({"service": "none"}, ("ServiceNotFoundException", "Service not found.")),
        ({"service": SCOPE.arn("ecs", "service/other/web")},
         (INVALID, "Identifier is for other. Your cluster is default")),
        ({"cluster": "none"}, ("ClusterNotFoundException", "Cluster not found.")),
        ({"desiredCount": 5001}, (INVALID, "desiredCount must be between 0 and 5000.")),
        ({"taskDefinition": "none"}, (CLIENT, "Unable to describe task definition.")),
        ({"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]},
         (INVALID,
          "When switching from launch type to capacity provider strategy on an existing service, or making a"
          " change to a capacity provider strategy on a service that is already using one, you must force a"
          " new deployment.")),
        ({"deploymentController": {"type": "EXTERNAL"}},
         (UNSUPPORTED, "The deployment controller of a service cannot be changed here: it is ECS.")),
        ({"enableExecuteCommand": True},
         (INVALID, "A valid taskRoleArn is not being used. Specify a valid task role in your task definition"
          " and try again.")),
        ({"deploymentConfiguration": {"minimumHealthyPercent": 101}},
         (INVALID, "minimumHealthyPercent must be at most 100")),
    ):  # fmt: skip
        head = ready.store.head()
        with refused(*error):
            await ready.update_service(**{"service": "web", **changes})
        assert ready.store.head() == head


async def test_a_strategy_that_the_balancers_do_not_allow(ready: Ecs) -> None:
    await served(ready)
    balancer = {**BALANCER, "targetGroupArn": await add_group(ready)}
    made = await create(ready, taskDefinition="served", loadBalancers=[balancer])
    with refused(
        INVALID,
        "advancedConfiguration.alternateTargetGroupArn must be specified for a load balancer when the"
        " deployment strategy is CANARY.",
    ):
        await update(ready, deploymentConfiguration={"strategy": "CANARY"})
    assert (await described(ready))["deploymentConfiguration"] == made["deploymentConfiguration"]


async def test_what_an_external_controller_does_not_update(ready: Ecs) -> None:
    await external(ready)
    with refused(
        INVALID,
        "Unable to update task definition on services with a EXTERNAL deployment controller. Use a task set"
        " to trigger a new deployment.",
    ):
        await update(ready, taskDefinition="web")
    with refused(INVALID, "Cannot force a new deployment on services with a EXTERNAL deployment controller."):
        await update(ready, forceNewDeployment=True)
    assert (await update(ready, desiredCount=7))["desiredCount"] == 7


async def test_described_and_deleted_by_what_is_no_name(ready: Ecs) -> None:
    with refused(INVALID, "Services cannot be empty."):
        await ready.describe_services(services=[])
    with refused(INVALID, "Services can have at most 10 items."):
        await ready.describe_services(services=["a"] * 11)
    with refused("ClusterNotFoundException", "Cluster not found."):
        await ready.describe_services(cluster="none", services=["a"])
    with refused("ServiceNotFoundException", "Service not found."):
        await ready.delete_service(service="none")
    elsewhere = "arn:aws:ecs:eu-west-1:123456789012:service/default/web"
    answer = await ready.describe_services(services=["a b", elsewhere])
    assert [f["arn"] for f in answer["failures"]] == [SCOPE.arn("ecs", "service/default/a b"), elsewhere]
