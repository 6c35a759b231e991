"""Every refusal of RegisterTaskDefinition, by its message."""

from typing import Any

import pytest

from neargate.kit.errors import ApiError
from neargate.model.definition import normalise
from tests.support.ecs import container, definition

LOGS = {"awslogs-group": "/g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}


def logs(driver: str = "awslogs", **options: str | None) -> dict[str, Any]:
    merged = {**LOGS, **{k.replace("_", "-"): v for k, v in options.items()}}
    return {"logDriver": driver, "options": {k: v for k, v in merged.items() if v is not None}}


def one(**members: Any) -> dict[str, Any]:
    return definition(container(**members))


def two(first: dict[str, Any], second: dict[str, Any], **members: Any) -> dict[str, Any]:
    return definition(container("a", **first), container("b", **second), **members)


def ports(*mappings: dict[str, Any]) -> dict[str, Any]:
    return one(portMappings=list(mappings))


def linux(**members: Any) -> dict[str, Any]:
    return one(linuxParameters=members)


def efs(**members: Any) -> dict[str, Any]:
    return definition(volumes=[{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1", **members}}])


def check(**members: Any) -> dict[str, Any]:
    return one(healthCheck={"command": ["CMD", "true"], **members})


UNSUPPORTED = "Fargate compatible task definitions do not support "
TABLE: list[tuple[dict[str, Any], str]] = [
    (definition(networkMode="bridge"), "Fargate only supports network mode ‘awsvpc’."),
    (definition(networkMode=None), "Fargate only supports network mode ‘awsvpc’."),
    (definition(containerDefinitions=[]), "Container list cannot be empty"),
    (definition({"image": "i"}), "Container.name should not be null or empty."),
    (definition({"name": "n"}), "Container.image should not be null or empty."),
    (one(essential=False), "Task definition doesn't have any essential container"),
    (definition(container(), container()), "Container names must be unique within a task definition"),
    (two({"cpu": 200}, {"cpu": 57}),
     "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'."),
    (one(memory=513), "The 'memory' setting for container 'web-app' is greater than for the task"),
    (one(memory=64, memoryReservation=65), "'memory' must be greater than or equal to 'memoryReservation'"),
    (ports({"containerPort": 80, "hostPort": 8080}),
     "When networkMode=awsvpc, the host ports and container ports in port mappings must match."),
    (one(links=["x"]), "Links are not supported when networkMode=awsvpc."),
    (one(hostname="x"), "hostname is not supported on container when networkMode=awsvpc."),
    (one(extraHosts=[{"hostname": "x", "ipAddress": "1.1.1.1"}]),
     "Extra hosts are not supported on container when networkMode=awsvpc"),
    (one(dnsServers=["1.1.1.1"]), "DNS servers are not supported on container when networkMode=awsvpc"),
    (one(disableNetworking=True), "Disable Networking is not supported on container when networkMode=awsvpc"),
    (one(privileged=True), "Fargate requires that the 'privileged' setting be 'false'"),
    (linux(devices=[{"hostPath": "/dev/x"}]), UNSUPPORTED + "devices"),
    (linux(sharedMemorySize=64), UNSUPPORTED + "sharedMemorySize"),
    (linux(maxSwap=64), UNSUPPORTED + "maxSwap"),
    (linux(swappiness=60), UNSUPPORTED + "swappiness"),
    (one(dockerSecurityOptions=["label:x"]), UNSUPPORTED + "dockerSecurityOptions"),
    (definition(volumes=[{"name": "v", "dockerVolumeConfiguration": {"scope": "task"}}]),
     UNSUPPORTED + "dockerVolumeConfiguration"),
    (definition(volumes=[{"name": "v", "host": {"sourcePath": "/etc"}}]), UNSUPPORTED + "sourcePath"),
    (definition(placementConstraints=[{"type": "memberOf", "expression": "x"}]), UNSUPPORTED + "constraints"),
    (definition(ipcMode="task"), UNSUPPORTED + "ipcMode"),
    (definition(pidMode="host"),
     "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is"
     " 'task'."),
    (one(resourceRequirements=[{"type": "GPU", "value": "1"}]),
     "Tasks using the Fargate launch type do not support GPU resource requirements"),
    (linux(capabilities={"add": ["NET_ADMIN"]}), "NET_ADMIN is not allowed on Fargate."),
    (one(logConfiguration={"logDriver": "json-file"}),
     "json-file is not a valid log driver. Must be one of [awslogs, splunk, awsfirelens]"),
    (one(logConfiguration={"logDriver": "awslogs"}),
     "Log driver awslogs requires options: awslogs-region, awslogs-group"),
    (one(logConfiguration=logs(awslogs_group=None)), "Log driver awslogs requires options: awslogs-group"),
    (one(logConfiguration=logs(awslogs_stream_prefix=None)),
     "Fargate requires log configuration options to include awslogs-stream-prefix"),
    (definition(container(logConfiguration=logs()), executionRoleArn=None),
     "Fargate requires task definition to have execution role ARN to support log driver awslogs."),
    (one(logConfiguration=logs(nosuch="1")), "Log driver awslogs disallows options: nosuch"),
    (one(logConfiguration=logs(mode="fast")),
     "Invalid log option mode 'fast': it must be blocking or non-blocking"),
    (one(logConfiguration=logs(max_buffer_size="much")), "Invalid log option max-buffer-size 'much'"),
    (one(logConfiguration=logs(awslogs_create_group="maybe")),
     "Invalid log option awslogs-create-group: it must be true or false"),
    (one(logConfiguration=logs(awslogs_datetime_format="%Y", awslogs_multiline_pattern="x")),
     "you cannot configure log opt 'awslogs-datetime-format' and 'awslogs-multiline-pattern' at the same"
     " time"),
    (one(logConfiguration=logs(awslogs_multiline_pattern="(")),
     "awslogs could not parse multiline pattern key '('"),
    (definition(container(secrets=[{"name": "S", "valueFrom": "p"}]), executionRoleArn=None),
     "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'"),
    (one(secrets=[{"name": "", "valueFrom": "p"}]),
     "The secrets of container 'web-app' must have a name and a valueFrom."),
    (one(secrets=[{"name": "S", "valueFrom": "p"}], environment=[{"name": "S", "value": "x"}]),
     "The secret name must be unique and not shared with any new or existing environment variables set on the"
     " container, such as 'S'."),
    (one(secrets=[{"name": "S", "valueFrom": "p"}, {"name": "S", "valueFrom": "q"}]),
     "The secret name must be unique and not shared with any new or existing environment variables set on the"
     " container, such as 'S'."),
    (one(secrets=[{"name": "S", "valueFrom": "a b"}]),
     "The Systems Manager parameter name specified for secret S is invalid. The parameter name can be up"
     " to 2048"
     " characters and include the following letters and symbols: a-zA-Z0-9_.-,"),
    (one(secrets=[{"name": "S", "valueFrom": "arn:aws:s3:::b"}]), "Invalid arn syntax"),
    (one(repositoryCredentials={"credentialsParameter": "x"}) | {"executionRoleArn": ""},
     "When you are specifying repositoryCredentials, you must also specify a value for 'executionRoleArn'"),
    (one(logConfiguration={"logDriver": "awsfirelens"}),
     "When awsfirelens log driver is specified in log configuration, a firelens configuration object must be"
     " specified"),
    (one(dependsOn=[{"containerName": "x", "condition": "START"}]),
     "Cannot depend on container x because it does not exist"),
    (two({"dependsOn": [{"containerName": "b", "condition": "COMPLETE"}]}, {}),
     "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container"),
    (two({"dependsOn": [{"containerName": "b", "condition": "HEALTHY"}]}, {}),
     "A dependency container with HEALTHY condition must have health check configured"),
    (two({"dependsOn": [{"containerName": "b", "condition": "START"}]},
         {"dependsOn": [{"containerName": "a", "condition": "START"}]}),
     "Circular dependency among containers a, b"),
    (two({"dependsOn": [{"containerName": "b", "condition": "START"}]},
         {"volumesFrom": [{"sourceContainer": "a"}]}),
     "Circular dependency among containers a, b"),
    (one(dependsOn=[{"containerName": "web-app", "condition": "START"}]),
     "Circular dependency among containers web-app"),
    (one(restartPolicy={"enabled": True, "restartAttemptPeriod": 59}),
     "the 'restartAttemptPeriod' setting for container 'web-app' must be between 60 and 1800"),
    (one(restartPolicy={"enabled": True, "ignoredExitCodes": list(range(51))}),
     "the 'ignoredExitCodes' setting for container 'web-app' must have at most 50 codes"),
    (one(environmentFiles=[{"value": "arn:aws:s3:::b/x.env", "type": "s3"}] * 11),
     "The maximum number of environment files was exceeded. Specify ten or less and try again"),
    (one(environmentFiles=[{"value": "s3://b/x.env", "type": "s3"}]), "Invalid arn syntax"),
    (one(mountPoints=[{"sourceVolume": "v", "containerPath": "/x"}]), "Unknown volume 'v'"),
    (one(volumesFrom=[{"sourceContainer": "c"}]), "Invalid 'volumesFrom' setting. Unknown container: 'c'"),
    (definition(volumes=[{"name": "v", "configuredAtLaunch": True}]),
     "Volumes [v] are not referenced by any of the containers"),
    (definition(container(mountPoints=[{"sourceVolume": v, "containerPath": f"/{v}"} for v in "vw"]),
                volumes=[{"name": v, "configuredAtLaunch": True} for v in "vw"]),
     "Only one volume can be configured at launch per task definition revision"),
    (definition(container(mountPoints=[{"sourceVolume": "v", "containerPath": p} for p in ("/x", "/x/")]),
                volumes=[{"name": "v"}]),
     "Duplicate mount point '/x/' in container 'web-app'"),
    (definition(volumes=[{"name": "v", "configuredAtLaunch": True,
                          "efsVolumeConfiguration": {"fileSystemId": "f"}}]),
     "Volume 'v' must have only one volume configuration"),
    (definition(volumes=[{"name": "v", "fsxWindowsFileServerVolumeConfiguration": {"fileSystemId": "f"}}]),
     UNSUPPORTED + "fsxWindowsFileServerVolumeConfiguration"),
    (one(ulimits=[{"name": "nofile", "softLimit": 2, "hardLimit": 1}]),
     "Soft limit exceeds hard limit for ulimit nofile"),
    (one(ulimits=[{"name": "core", "softLimit": -1, "hardLimit": 1}]),
     "Soft limit exceeds hard limit for ulimit core"),
    (one(ulimits=[{"name": "core", "softLimit": 1, "hardLimit": 1}] * 2), "Duplicate ulimit core"),
    (one(ulimits=[{"name": "core", "softLimit": -2, "hardLimit": 1}]),
     "Invalid value of ulimit core: it must be -1 (unlimited) or more"),
    (ports({"hostPort": 80}), "Container port is not specified in a port mapping of container 'web-app'."),
    (ports({"containerPort": 80, "hostPort": 65536}),
     "When networkMode=awsvpc, the host ports and container ports in port mappings must match."),
    (ports({"containerPort": 80, "name": "Upper"}),
     "Invalid port mapping name 'Upper': up to 64 lower-case letters, numbers, underscores and hyphens are"
     " allowed, not starting with a hyphen."),
    (ports({"containerPort": 80, "protocol": "udp", "appProtocol": "http"}),
     "appProtocol is only supported with protocol tcp"),
    (ports({"containerPortRange": "80-90", "hostPort": 80}),
     "cannot specify both single port and port range"),
    (one(dnsSearchDomains=["x"]),
     "DNS search domains are not supported on container when networkMode=awsvpc"),
    (one(memoryReservation=513),
     "The 'memoryReservation' setting for container 'web-app' is greater than for the task"),
    (one(memory=3), "Invalid 'memory' setting for container 'web-app'. It must be at least 4."),
    (one(memoryReservation=3),
     "Invalid 'memoryReservation' setting for container 'web-app'. It must be at least 4."),
    (one(cpu=-1), "Invalid 'cpu' setting for container 'web-app'."),
    (definition(inferenceAccelerators=[{"deviceName": "d",
     "deviceType": "t"}]), "Unsupported field 'inferenceAccelerators'"),
    (linux(capabilities={"drop": ["no such"]}), "Invalid capability 'no such' of container 'web-app'."),
    (efs(transitEncryption="DISABLED", authorizationConfig={"accessPointId": "fsap-1"}),
     "EFS access points require TransitEncryption to be enabled"),
    (definition(container("a", firelensConfiguration={"type": "fluentbit"}),
                container("b", firelensConfiguration={"type": "fluentd"})),
     "Only one container with a firelens configuration is allowed per task definition"),
    (one(firelensConfiguration={"type": "fluentbit", "options": {"config-file-type": "s3"}}),
     "Fargate only supports the firelens option config-file-type 'file'."),
    (one(firelensConfiguration={"type": "fluentbit", "options": {"config-file-type": "web"}}),
     "Invalid firelens option config-file-type 'web' of container 'web-app'"),
    (one(firelensConfiguration={"type": "fluentbit", "options": {"config-file-type": "file"}}),
     "The firelens option config-file-type of container 'web-app' is specified but config-file-value is not"
     " specified"),
    (definition(memory="lots"),
     "Invalid 'memory' setting for task. For more information, see the Troubleshooting section of the"
     " Amazon ECS"
     " Developer Guide."),
    (ports({"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}),
     "port mapping name is already used"),
    (two({"portMappings": [{"containerPort": 80}]}, {"portMappings": [{"containerPort": 80}]}),
     "container port is used multiple times in task"),
    (ports({"containerPortRange": "80-90"}, {"containerPort": 85}),
     "container port is used multiple times in task"),
    (ports({"containerPort": 80, "containerPortRange": "80-90"}),
     "cannot specify both single port and port range"),
    (ports({"containerPortRange": "90-80"}), "Invalid 'containerPortRange' setting for container 'web-app'."),
    (ports({"containerPort": 0}), "Invalid container port 0: it must be between 1 and 65535."),
    (ports(*({"containerPortRange": f"{i}-{i + 1}"} for i in range(1, 203, 2))),
     "The maximum number of port ranges per container is 100"),
    (efs(authorizationConfig={"iam": "ENABLED"}),
     "EFS IAM authorization requires TransitEncryption to be enabled"),
    (efs(rootDirectory="/x", transitEncryption="ENABLED", authorizationConfig={"accessPointId": "fsap-1"}),
     'When using an EFS access point, the root directory must either be set to "/" or be omitted'),
    (efs(transitEncryptionPort=2049), "TransitEncryptionPort requires that TransitEncryption is enabled"),
    (definition(proxyConfiguration={"containerName": "envoy"}), "Proxy container [envoy] does not exist"),
    (definition(proxyConfiguration={"containerName": "web-app"}), "Ingress port not found"),
    (definition(requiresCompatibilities=["EC2"], networkMode="bridge",
                proxyConfiguration={"containerName": "web-app"}),
     "APPMESH proxy configuration is only supported in networkMode=awsvpc"),
    (definition(requiresCompatibilities=["EC2"], ephemeralStorage={"sizeInGiB": 30}),
     "Tasks using the EC2 launch type do not support EphemeralStorage"),
    (definition(cpu="256", memory="4096"),
     "No Fargate configuration exists for given values.: 256 CPU, 4096 memory"),
    (definition(cpu=None), "Fargate requires that 'cpu' be defined at the task level."),
    (definition(memory=None), "Fargate requires that 'memory' be defined at the task level."),
    (definition(cpu="fast"),
     "Invalid 'cpu' setting for task. For more information, see the Troubleshooting section of the Amazon ECS"
     " Developer Guide."),
    (definition(ephemeralStorage={"sizeInGiB": 20}), "EphemeralStorage size should be at least 21"),
    (definition(ephemeralStorage={"sizeInGiB": 201}), "EphemeralStorage size should be at most 200"),
    (definition(runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE",
                                 "cpuArchitecture": "ARM64"}),
     "Windows tasks do not support the cpuArchitecture ARM64"),
    (definition(runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}),
     "No Fargate configuration exists for given values.: 256 CPU, 512 memory"),
    (definition(*(container(f"c{i}") for i in range(11))),
     "Too many containers"),
    (definition(family=""), "Family should not be null or empty."),
    (definition(family="a" * 256), "Family name must be at most 255 characters long."),
    (definition(family="a b"),
     "Family contains invalid characters. Valid ones are letters, numbers, hyphens and underscores."),
    (definition(container(image="111122223333.dkr.ecr.us-east-1.amazonaws.com/x"), executionRoleArn=None),
     "Fargate requires task definition to have execution role ARN to support ECR images."),
    (one(stopTimeout=121), "The 'stopTimeout' setting for container 'web-app' must be between 2 and 120"),
    (one(startTimeout=1), "The 'startTimeout' setting for container 'web-app' must be between 2 and 120"),
    (check(interval=4),
     "The 'interval' setting of the health check of container 'web-app' must be between 5 and 300"),
    (check(timeout=61),
     "The 'timeout' setting of the health check of container 'web-app' must be between 2 and 60"),
    (check(retries=0),
     "The 'retries' setting of the health check of container 'web-app' must be between 1 and 10"),
    (check(startPeriod=301),
     "The 'startPeriod' setting of the health check of container 'web-app' must be between 0 and 300"),
    (one(healthCheck={"command": ["true"]}),
     "The health check command of container 'web-app' must start with CMD or CMD-SHELL."),
    (one(systemControls=[{"namespace": "kernel.panic", "value": "1"}]),
     "Invalid systemControls 'kernel.panic' of container 'web-app'."),
    (one(systemControls=[{"namespace": "net./../../kernel.panic", "value": "1"}]),
     "Invalid systemControls 'net./../../kernel.panic' of container 'web-app'."),
    (linux(tmpfs=[{"containerPath": "relative", "size": 1}]),
     "Invalid container path 'relative' in container 'web-app': it must be absolute."),
    (linux(tmpfs=[{"containerPath": "/t", "size": 0}]),
     "Invalid size of tmpfs '/t': it must be at least 1 MiB."),
    (linux(tmpfs=[{"containerPath": "/t", "size": 1, "mountOptions": ["suid,dev"]}]),
     "Invalid mount option 'suid,dev' of tmpfs '/t'."),
    (definition(container(mountPoints=[{"sourceVolume": "v", "containerPath": "/a/../../b"}]),
                volumes=[{"name": "v"}]),
     "Invalid container path '/a/../../b' in container 'web-app': it must be absolute."),
    (definition(volumes=[{"name": "v"}, {"name": "v"}]),
     "Volume names must be unique within a task definition"),
    (definition(volumes=[{"name": "../x"}]),
     "Invalid volume name '../x': up to 255 letters, numbers, hyphens and underscores are allowed."),
    (one(environment=[{"name": "A=B", "value": "x"}]),
     "Invalid environment variable name 'A=B' of container 'web-app'."),
    (one(environment=[{"value": "x"}]), "Invalid environment variable name '' of container 'web-app'."),
    (one(name="a/b"),
     "Invalid container name 'a/b': up to 255 letters, numbers, hyphens and underscores are allowed."),
    (one(image="two words"), "Invalid image 'two words' of container 'web-app'."),
    (definition(requiresCompatibilities=["EC2"], memory=None),
     "Invalid setting for container 'web-app'. At least one of 'memory' or 'memoryReservation' must be"
     " specified."),
    (one(environment=[{"name": "A", "value": "\ud800"}]),
     "The task definition holds text or numbers out of range."),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), TABLE, ids=[message[:60] for _, message in TABLE])
def test_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        normalise(given)
    assert caught.value.message == message
    assert caught.value.code == "ClientException"


def test_a_definition_of_more_than_64_kib() -> None:
    with pytest.raises(ApiError, match=r"Actual length: '\d+'. Max allowed length is '65536' bytes."):
        normalise(one(environment=[{"name": "A", "value": "x" * 65536}]))


@pytest.mark.parametrize(
    "source",
    [
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf:password:AWSCURRENT:",
        "arn:aws:ssm:us-east-1:123456789012:parameter/prod/db",
        "/prod/db",
        "plain.name-1",
    ],
)
def test_sources_of_secrets(source: str) -> None:
    secrets = [{"name": "S", "valueFrom": source}]
    assert normalise(one(secrets=secrets))["containerDefinitions"][0]["secrets"] == secrets


@pytest.mark.parametrize("member", ["capabilities", "initProcessEnabled", "tmpfs"])
def test_what_fargate_has_of_linux_parameters(member: str) -> None:
    value = {
        "capabilities": {"add": ["SYS_PTRACE"], "drop": ["ALL", "NET_RAW"]},
        "initProcessEnabled": True,
        "tmpfs": [{"containerPath": "/t", "size": 1}],
    }[member]
    body = normalise(linux(**{member: value}))
    assert body["containerDefinitions"][0]["linuxParameters"] == {member: value}
