"""Every refusal of RunTask, by its message; nothing is made by a refused one."""

from typing import Any

import pytest

from neargate.model.network import Subnet
from neargate.state.catalog import SUBNET, TASK, TOKEN_USE
from tests.support.ecs import ROLE, SCOPE, Ecs, container, definition, refused

CLIENT, INVALID = "ClientException", "InvalidParameterException"
BOTH = ["FARGATE", "FARGATE_SPOT"]


async def nothing_was_made(ecs: Ecs) -> bool:
    return await ecs.store.read(lambda tx: not tx.all(TASK) and not tx.all(TOKEN_USE))


STRATEGY = "capacityProviderStrategy"
FARGATE_ITEM = [{"capacityProvider": "FARGATE", "weight": 1}]
GUIDE = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."


def override(**members: Any) -> dict[str, Any]:
    return {"overrides": {"containerOverrides": [{"name": "web-app", **members}]}}


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        (
            {"networkConfiguration": None},
            INVALID,
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ),
        (
            {"networkConfiguration": {}},
            INVALID,
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ),
        (
            {"networkConfiguration": {"awsvpcConfiguration": {"subnets": []}}},
            INVALID,
            "subnets can not be empty.",
        ),
        (
            {"networkConfiguration": {"awsvpcConfiguration": {"subnets": [f"s{i}" for i in range(17)]}}},
            INVALID,
            "subnets can have at most 16 items.",
        ),
        (
            {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
            INVALID,
            "Error retrieving subnet information for [subnet-1]: The subnet ID 'subnet-1' does not exist"
            " (ErrorCode:"
            " InvalidSubnetID.NotFound)",
        ),
        ({"count": 0}, INVALID, "count must be between 1 and 10."),
        ({"count": -1}, INVALID, "count must be between 1 and 10."),
        ({"count": 11}, INVALID, "count must be between 1 and 10."),
        ({"cluster": "nosuch"}, "ClusterNotFoundException", "Cluster not found."),
        ({"taskDefinition": "nosuch"}, CLIENT, "Unable to describe task definition."),
        ({"taskDefinition": "web:2"}, CLIENT, "Unable to describe task definition."),
        ({"taskDefinition": "web:x"}, CLIENT, "Invalid revision number. Number: x"),
        ({"taskDefinition": "old:1"}, CLIENT, "TaskDefinition is inactive"),
        ({"taskDefinition": "ec2"}, INVALID, "Task definition does not support launch_type FARGATE."),
        ({"launchType": "EC2"}, INVALID, "No Container Instances were found in your cluster."),
        ({"launchType": None}, INVALID, "No Container Instances were found in your cluster."),
        (
            {STRATEGY: FARGATE_ITEM},
            INVALID,
            "Specifying both a launch type and capacity provider strategy is not supported",
        ),
        (
            {"launchType": None, STRATEGY: FARGATE_ITEM, "cluster": "bare"},
            INVALID,
            "The specified capacity provider strategy cannot contain a capacity provider that is not"
            " associated with"
            " the cluster",
        ),
        (
            {"launchType": None, STRATEGY: [{"capacityProvider": "FARGATE"}]},
            INVALID,
            "There are no capacity providers in the capacity provider strategy with a weight value greater"
            " than zero",
        ),
        (
            {"launchType": None, STRATEGY: [{"capacityProvider": p, "base": 1, "weight": 1} for p in BOTH]},
            INVALID,
            "There are multiple capacity providers in the specified capacity provider strategy with a base"
            " value"
            " defined",
        ),
        (
            {"platformVersion": "2.0"},
            "PlatformUnknownException",
            "The platform version 2.0 is unknown. Specify one of LATEST, 1.4.0, 1.3.0.",
        ),
        (
            {"startedBy": "a b"},
            INVALID,
            "startedBy can have up to 128 letters, numbers, hyphens, underscores, slashes, dots and colons.",
        ),
        (
            {"startedBy": "x" * 129},
            INVALID,
            "startedBy can have up to 128 letters, numbers, hyphens, underscores, slashes, dots and colons.",
        ),
        (
            {"clientToken": "x" * 65},
            INVALID,
            "clientToken can have 1 to 64 characters in the range of 33-126.",
        ),
        ({"clientToken": "ä"}, INVALID, "clientToken can have 1 to 64 characters in the range of 33-126."),
        ({"group": "x" * 256}, INVALID, "group can have at most 255 characters."),
        ({"group": "\ud800"}, INVALID, "The request holds text or numbers out of range."),
        (
            {"tags": [{"key": "aws:x"}]},
            INVALID,
            "aws: prefixed tag key names are not allowed for external use.",
        ),
        (
            {"propagateTags": "SERVICE"},
            INVALID,
            "propagateTags SERVICE is only supported for tasks of a service.",
        ),
        (
            {"placementStrategy": [{"type": "random"}]},
            INVALID,
            "Placement strategies are not supported with FARGATE launch type.",
        ),
        (
            {"placementConstraints": [{"type": "distinctInstance"}]},
            INVALID,
            "Placement constraints are not supported with FARGATE launch type.",
        ),
        (
            {"enableExecuteCommand": True},
            INVALID,
            "A valid taskRoleArn is not being used. Specify a valid task role in your task definition and"
            " try again.",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "x"}]}},
            INVALID,
            "Override for container named x is not a container in the TaskDefinition.",
        ),
        (
            {"overrides": {"containerOverrides": [{"command": ["x"]}]}},
            INVALID,
            "Override for container named  is not a container in the TaskDefinition.",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "side"}] * 2}},
            INVALID,
            "There is more than one override for container named side.",
        ),
        (
            {"overrides": {"cpu": "512"}},
            CLIENT,
            "No Fargate configuration exists for given values.: 512 CPU, 512 memory",
        ),
        (
            {"overrides": {"memory": "4096"}},
            CLIENT,
            "No Fargate configuration exists for given values.: 256 CPU, 4096 memory",
        ),
        ({"overrides": {"cpu": "fast"}}, CLIENT, f"Invalid 'cpu' setting for task. {GUIDE}"),
        (
            {"overrides": {"ephemeralStorage": {"sizeInGiB": 20}}},
            CLIENT,
            "EphemeralStorage size should be at least 21",
        ),
        (
            {"overrides": {"ephemeralStorage": {"sizeInGiB": 201}}},
            CLIENT,
            "EphemeralStorage size should be at most 200",
        ),
        ({"overrides": {"taskRoleArn": "no role"}}, CLIENT, "Role is not valid"),
        (
            {"overrides": {"inferenceAcceleratorOverrides": [{"deviceName": "d"}]}},
            INVALID,
            "Tasks using the Fargate launch type do not support inferenceAcceleratorOverrides.",
        ),
        (override(command=["x" * 8192]), INVALID, "Overrides must be at most 8192 characters long."),
        (
            override(cpu=257),
            CLIENT,
            "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
        ),
        (
            override(memory=513),
            CLIENT,
            "The 'memory' setting for container 'web-app' is greater than for the task",
        ),
        (
            override(memory=3),
            INVALID,
            "Invalid 'memory' override for container 'web-app'. It must be at least 4.",
        ),
        (override(cpu=-1), INVALID, "Invalid 'cpu' override for container 'web-app'."),
        (
            override(memory=64, memoryReservation=65),
            INVALID,
            "'memory' must be greater than or equal to 'memoryReservation'",
        ),
        (
            override(resourceRequirements=[{"type": "GPU", "value": "1"}]),
            INVALID,
            "Tasks using the Fargate launch type do not support GPU resource requirements",
        ),
        (
            override(environment=[{"name": "a=b", "value": ""}]),
            CLIENT,
            "Invalid environment variable name 'a=b' of container 'web-app'.",
        ),
    ],
)
async def test_refused(ready: Ecs, params: dict[str, Any], code: str, message: str) -> None:
    await ready.create_cluster(clusterName="bare")
    await ready.register_task_definition(**definition(family="old"))
    await ready.deregister_task_definition(taskDefinition="old:1")
    ec2 = definition(
        container(memory=64), family="ec2", requiresCompatibilities=["EC2"], networkMode="bridge"
    )
    await ready.register_task_definition(**{k: v for k, v in ec2.items() if k not in ("cpu", "memory")})
    with refused(code, message):
        await ready.run(**{"clientToken": "t", **params})
    assert await nothing_was_made(ready)


async def test_without_a_cluster_there_must_be_one_called_default(ecs: Ecs) -> None:
    await ecs.register_task_definition(**definition())
    with refused("ClusterNotFoundException", "Cluster not found."):
        await ecs.run()


async def test_groups_and_subnets_must_belong_together(ready: Ecs) -> None:
    for account, number in ((SCOPE.account, 2), ("999999999999", 3)):
        other = Subnet(
            account=account,
            region=SCOPE.region,
            id=f"subnet-{number}",
            vpc_id=f"vpc-{number}",
            cidr="10.0.0.0/24",
            zone="a",
            zone_id="z",
        )
        await ready.store.write(lambda tx, other=other: tx.put(SUBNET, other))

    def network(subnets: list[str], groups: list[str]) -> dict[str, Any]:
        return {
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": subnets, "securityGroups": groups}}
        }

    with refused(INVALID, "All subnets must belong to the same VPC."):
        await ready.run(**network([ready.subnets[0], "subnet-2"], []))
    message = f"Security Group {ready.group} does not appear to belong to the same VPC as the input subnets."
    with refused(INVALID, message):
        await ready.run(**network(["subnet-2"], [ready.group]))
    with refused(
        INVALID,
        "Error retrieving subnet information for [subnet-3]: The subnet ID 'subnet-3' does not exist"
        " (ErrorCode:"
        " InvalidSubnetID.NotFound)",
    ):
        await ready.run(**network(["subnet-3"], []))
    with refused(
        INVALID,
        "Error retrieving security group information for [sg-1]: The security group 'sg-1' does not exist"
        " (ErrorCode: InvalidGroup.NotFound)",
    ):
        await ready.run(**network(ready.subnets, ["sg-1"]))
    with refused(INVALID, "securityGroups can have at most 5 items."):
        await ready.run(**network(ready.subnets, [f"sg-{i}" for i in range(6)]))
    assert await nothing_was_made(ready)
    assert (await ready.run(**network(ready.subnets, [ready.group])))["tasks"]


NEEDS_NEWEST = [
    definition(ephemeralStorage={"sizeInGiB": 21}),
    definition(pidMode="task"),
    definition(cpu="8 vCPU", memory="16 GB"),
    definition(container(systemControls=[{"namespace": "net.core.somaxconn", "value": "1"}])),
    definition(container(linuxParameters={"capabilities": {"add": ["SYS_PTRACE"]}})),
    definition(container(environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::b/x.env"}])),
    definition(volumes=[{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]),
]
INCOMPATIBLE = (
    "PlatformTaskDefinitionIncompatibilityException",
    "One or more of the requested capabilities are not supported.",
)


@pytest.mark.parametrize("given", NEEDS_NEWEST)
async def test_platform_1_3_lacks(ready: Ecs, given: dict[str, Any]) -> None:
    await ready.register_task_definition(**{**given, "family": "new"})
    with refused(*INCOMPATIBLE):
        await ready.run(taskDefinition="new", platformVersion="1.3.0")
    await ready.run(taskDefinition="new", platformVersion="LATEST")


async def test_platform_1_3_lacks_in_overrides_and_on_spot(ready: Ecs) -> None:
    assert (await ready.run(platformVersion="1.3.0"))["tasks"][0]["platformVersion"] == "1.3.0"
    files = [{"type": "s3", "value": "arn:aws:s3:::b/x.env"}]
    for changes in (
        override(environmentFiles=files),
        {"overrides": {"ephemeralStorage": {"sizeInGiB": 21}}},
        {"overrides": {"cpu": "8 vCPU", "memory": "16 GB"}},
        {"enableExecuteCommand": True, "overrides": {"taskRoleArn": ROLE}},
    ):
        with refused(*INCOMPATIBLE):
            await ready.run(platformVersion="1.3.0", **changes)
    arm = {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}
    await ready.register_task_definition(**definition(family="arm", runtimePlatform=arm))
    spot = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    with refused(*INCOMPATIBLE):
        await ready.run(
            taskDefinition="arm", platformVersion="1.3.0", launchType=None, capacityProviderStrategy=spot
        )


async def test_what_no_node_can_run_is_said_at_once(ready: Ecs) -> None:
    windows = {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE", "cpuArchitecture": "X86_64"}
    await ready.register_task_definition(
        **definition(family="windows", cpu="1024", memory="2048", runtimePlatform=windows)
    )
    with refused("UnsupportedFeatureException", "Windows tasks cannot be run here: the nodes run Linux."):
        await ready.run(taskDefinition="windows")
    arm = {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}
    await ready.register_task_definition(**definition(family="arm", runtimePlatform=arm))
    answer = await ready.run(taskDefinition="arm", count=2)
    assert (answer["tasks"], [f["reason"] for f in answer["failures"]]) == ([], ["RESOURCE:FARGATE"] * 2)
    mounted = container(mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}])
    await ready.register_task_definition(
        **definition(mounted, family="ebs", volumes=[{"name": "v", "configuredAtLaunch": True}])
    )
    with refused(
        INVALID, "volumeConfigurations must be specified for volumes that are configured at launch."
    ):
        await ready.run(taskDefinition="ebs")
    with refused("UnsupportedFeatureException", "volumeConfigurations are not available in this version."):
        await ready.run(volumeConfigurations=[{"name": "v"}])
