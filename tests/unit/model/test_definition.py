"""RegisterTaskDefinition: what comes back of a right one. The refusals are in test_definition_refusals."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.kit.errors import ApiError
from neargate.model.definition import normalise
from tests.support.ecs import ROLE, container, definition

AWSLOGS = {
    "logDriver": "awslogs",
    "options": {"awslogs-group": "/g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"},
}


def test_a_definition_comes_back_with_its_defaults() -> None:
    given_ = definition(
        container(portMappings=[{"containerPort": 80}], logConfiguration=AWSLOGS),
        cpu=".25 vCPU",
        memory="0.5 GB",
    )
    before = copy.deepcopy(given_)
    body = normalise(given_)
    assert given_ == before
    assert body["containerDefinitions"] == [
        {
            "name": "web-app",
            "image": "busybox:latest",
            "cpu": 0,
            "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}],
            "essential": True,
            "environment": [],
            "mountPoints": [],
            "volumesFrom": [],
            "systemControls": [],
            "logConfiguration": AWSLOGS,
        }
    ]
    assert (body["cpu"], body["memory"], body["networkMode"]) == ("256", "512", "awsvpc")
    assert body["compatibilities"] == ["EC2", "FARGATE"]
    assert body["requiresCompatibilities"] == ["FARGATE"]
    assert (body["volumes"], body["placementConstraints"]) == ([], [])
    assert [a["name"] for a in body["requiresAttributes"]] == [
        "com.amazonaws.ecs.capability.docker-remote-api.1.18",
        "com.amazonaws.ecs.capability.docker-remote-api.1.19",
        "com.amazonaws.ecs.capability.logging-driver.awslogs",
        "ecs.capability.execution-role-awslogs",
        "ecs.capability.task-eni",
    ]


def test_normalising_again_changes_nothing() -> None:
    body = normalise(
        definition(
            container(healthCheck={"command": ["CMD-SHELL", "true"]}, portMappings=[{"containerPort": 80}]),
            volumes=[{"name": "scratch"}],
        )
    )
    assert normalise(body) == body
    assert body["volumes"] == [{"name": "scratch", "host": {}}]
    check = body["containerDefinitions"][0]["healthCheck"]
    assert check == {"command": ["CMD-SHELL", "true"], "interval": 30, "timeout": 5, "retries": 3}


def test_everything_that_fargate_allows() -> None:
    body = normalise(
        definition(
            container(
                "main",
                cpu=128,
                memory=256,
                memoryReservation=128,
                entryPoint=["sh"],
                command=["-c", "true"],
                environment=[{"name": "A", "value": "b"}],
                user="1000:1000",
                workingDirectory="/w",
                readonlyRootFilesystem=True,
                dockerLabels={"a": "b"},
                stopTimeout=120,
                startTimeout=2,
                ulimits=[{"name": "nofile", "softLimit": 1024, "hardLimit": 1048576}],
                linuxParameters={
                    "capabilities": {"add": ["SYS_PTRACE"], "drop": ["ALL"]},
                    "initProcessEnabled": True,
                    "tmpfs": [{"containerPath": "/t", "size": 64, "mountOptions": ["noexec", "mode=1777"]}],
                },
                systemControls=[{"namespace": "net.core.somaxconn", "value": "1024"}],
                mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}],
                dependsOn=[{"containerName": "setup", "condition": "SUCCESS"}],
                restartPolicy={"enabled": True, "restartAttemptPeriod": 60},
                secrets=[{"name": "S", "valueFrom": "arn:aws:secretsmanager:us-east-1:1:secret:s"}],
                interactive=True,
                pseudoTerminal=True,
            ),
            container("setup", essential=False, volumesFrom=[{"sourceContainer": "setup2"}]),
            container("setup2", essential=False),
            volumes=[{"name": "v", "host": {}}],
            pidMode="task",
            ephemeralStorage={"sizeInGiB": 21},
            runtimePlatform={"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
            taskRoleArn=ROLE,
        )
    )
    assert body["ephemeralStorage"] == {"sizeInGiB": 21}
    assert body["taskRoleArn"] == ROLE
    attributes = {a["name"] for a in body["requiresAttributes"]}
    assert {
        "ecs.capability.container-ordering",
        "ecs.capability.secrets.asm.environment-variables",
        "com.amazonaws.ecs.capability.task-iam-role",
        "ecs.capability.pid-ipc-namespace-sharing",
    } <= attributes


def test_port_ranges_and_the_same_port_by_another_protocol() -> None:
    ports = [
        {"containerPortRange": "8000-8010"},
        {"containerPort": 53, "protocol": "tcp", "name": "dns"},
        {"containerPort": 53, "protocol": "udp"},
    ]
    body = normalise(definition(container(portMappings=ports)))
    assert [p.get("hostPort") for p in body["containerDefinitions"][0]["portMappings"]] == [None, 53, 53]


@pytest.mark.parametrize(
    ("changes", "compatibilities"),
    [
        ({"requiresCompatibilities": None}, ["EC2", "FARGATE"]),
        ({"requiresCompatibilities": None, "networkMode": None, "cpu": None}, ["EC2", "EXTERNAL"]),
        ({"requiresCompatibilities": ["EC2"], "memory": "100"}, ["EC2"]),
        ({"requiresCompatibilities": ["EC2"], "ipcMode": "host"}, ["EC2"]),
    ],
)
def test_compatibilities_are_found_out(changes: dict[str, Any], compatibilities: list[str]) -> None:
    assert normalise(definition(**changes))["compatibilities"] == compatibilities


def test_an_ec2_definition_keeps_what_fargate_refuses() -> None:
    body = normalise(
        definition(
            container(privileged=True, memory=64, links=["other"], portMappings=[{"containerPort": 80}]),
            container("other", memory=64),
            requiresCompatibilities=["EC2"],
            networkMode=None,
            cpu=None,
            memory=None,
        )
    )
    assert body["networkMode"] == "bridge"
    assert body["containerDefinitions"][0]["portMappings"][0]["hostPort"] == 0
    assert "cpu" not in body


def test_large_sizes_are_a_setting() -> None:
    big = definition(cpu="32 vCPU", memory="120 GB")
    assert normalise(big, large=True)["cpu"] == "32768"
    with pytest.raises(ApiError):
        normalise(big)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "cpu": st.integers(-5, 5000),
            "memory": st.integers(-5, 5000),
            "memoryReservation": st.integers(-5, 5000),
            "essential": st.booleans(),
            "stopTimeout": st.integers(-1, 130),
            "command": st.lists(st.text(max_size=5), max_size=3),
            "healthCheck": st.fixed_dictionaries(
                {"command": st.lists(st.sampled_from(["CMD", "x"]), max_size=3)},
                optional={"interval": st.integers(0, 400)},
            ),
            "portMappings": st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "containerPort": st.integers(-1, 70000),
                        "hostPort": st.integers(-1, 70000),
                        "containerPortRange": st.sampled_from(["1-2", "2-1", "a", "0-5", "1-70000"]),
                        "name": st.text(max_size=4),
                    },
                ),
                max_size=3,
            ),
            "mountPoints": st.lists(
                st.fixed_dictionaries({}, optional={"containerPath": st.text()}), max_size=2
            ),
        },
    )
)
def test_whatever_is_sent_is_a_definition_or_a_client_error(members: dict[str, Any]) -> None:
    try:
        body = normalise(definition(container(**members)))
    except ApiError as error:
        assert error.code == "ClientException"
    else:
        assert normalise(body) == body
