"""From a task and its definition to what the node runs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model import sandbox
from neargate.model.assembly import sandbox_spec
from neargate.model.assembly_containers import parse_size
from neargate.model.definition import normalise
from neargate.model.overrides import apply_overrides
from neargate.model.sandbox import SandboxSpec, as_json, spec_from_json
from neargate.model.task import Container, Task, TaskDefinition
from tests.support.ecs import container, definition

MIB = 1024**2
ID = "0" * 32
LOGS = {"awslogs-group": "/g", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "ecs"}


def assemble(params: dict[str, Any], overrides: dict[str, Any] | None = None, **task: Any) -> SandboxSpec:
    """What RunTask and placement would make of a definition."""
    body = normalise(params)
    found = apply_overrides(body, overrides or {})
    record = TaskDefinition(account="1", region="us-east-1", arn="arn:d", family="web", revision=3, body=body)
    values: dict[str, Any] = {
        "cpu": str(found.cpu),
        "memory": str(found.memory),
        "ephemeral_gib": found.storage,
        "overrides": found.overrides,
        **task,
    }
    made = Task(
        account="1",
        region="us-east-1",
        arn="arn:t",
        id=ID,
        cluster_arn="arn:c",
        definition_arn="arn:d",
        family="web",
        revision=3,
        last_status="PROVISIONING",
        desired_status="RUNNING",
        containers=tuple(
            Container(name=c["name"], arn="arn", image=c["image"], runtime_id=f"{ID}-{i}")
            for i, c in enumerate(found.containers)
        ),
        **values,
    )
    return sandbox_spec(made, record, None, log_driver_mode="blocking")


def one(params: dict[str, Any] | None = None, /, **members: Any) -> sandbox.ContainerSpec:
    (found,) = assemble(params or definition(container(**members))).containers
    return found


def test_the_sandbox_has_the_tasks_size_and_names() -> None:
    spec = assemble(
        definition(pidMode="task", volumes=[{"name": "v"}, {"name": "w", "host": {}}]),
        {"cpu": "1024", "memory": "2048", "ephemeralStorage": {"sizeInGiB": 30}},
    )
    assert (spec.id, spec.cpu, spec.memory, spec.ephemeral_bytes) == (ID, 1024, 2048 * MIB, 30 * 1024**3)
    assert (spec.volumes, spec.shared_pid) == (("v", "w"), True)
    assert dict(spec.labels) == {
        "com.amazonaws.ecs.cluster": "arn:c",
        "com.amazonaws.ecs.task-arn": "arn:t",
        "com.amazonaws.ecs.task-definition-family": "web",
        "com.amazonaws.ecs.task-definition-version": "3",
    }
    assert spec_from_json(as_json(spec)) == spec


def test_a_bare_container_has_awss_defaults() -> None:
    found = one()
    assert found == sandbox.ContainerSpec(name="web-app", image="busybox:latest", runtime_id=f"{ID}-0")
    assert (found.start_timeout, found.stop_timeout, found.restart) == (120.0, 30.0, None)


def test_everything_a_container_may_say() -> None:
    found = assemble(
        definition(
            container(
                "main",
                entryPoint=["sh"],
                command=["-c", "true"],
                workingDirectory="/w",
                user="1:2",
                cpu=64,
                memory=128,
                memoryReservation=64,
                dependsOn=[{"containerName": "other", "condition": "HEALTHY"}],
                healthCheck={"command": ["CMD", "true"], "startPeriod": 7},
                startTimeout=5,
                stopTimeout=6,
                restartPolicy={"enabled": True, "ignoredExitCodes": [3], "restartAttemptPeriod": 60},
                mountPoints=[{"sourceVolume": "v", "containerPath": "/v", "readOnly": True}],
                volumesFrom=[{"sourceContainer": "other", "readOnly": True}],
                linuxParameters={
                    "tmpfs": [{"containerPath": "/t", "size": 2, "mountOptions": ["noexec"]}],
                    "capabilities": {"add": ["SYS_PTRACE"], "drop": ["ALL"]},
                    "initProcessEnabled": True,
                },
                readonlyRootFilesystem=True,
                ulimits=[{"name": "nofile", "softLimit": 1, "hardLimit": 2}],
                systemControls=[{"namespace": "net.core.somaxconn", "value": "9"}],
                pseudoTerminal=True,
                interactive=True,
                repositoryCredentials={"credentialsParameter": "arn:secret"},
            ),
            container("other", healthCheck={"command": ["CMD", "true"]}),
            volumes=[{"name": "v"}],
        )
    ).containers[0]
    assert found == sandbox.ContainerSpec(
        name="main",
        image="busybox:latest",
        runtime_id=f"{ID}-0",
        entrypoint=("sh",),
        command=("-c", "true"),
        working_directory="/w",
        user="1:2",
        cpu=64,
        memory=128 * MIB,
        memory_reservation=64 * MIB,
        depends_on=(sandbox.Dependency(container="other", condition="HEALTHY"),),
        health_check=sandbox.HealthCheck(command=("CMD", "true"), start_period=7.0),
        start_timeout=5.0,
        stop_timeout=6.0,
        restart=sandbox.RestartPolicy(ignored_exit_codes=(3,), attempt_period=60.0),
        mounts=(sandbox.Mount(volume="v", target="/v", readonly=True),),
        volumes_from=(("other", True),),
        tmpfs=(sandbox.Tmpfs(target="/t", size=2 * MIB, options=("noexec",)),),
        readonly_rootfs=True,
        ulimits=(sandbox.Ulimit(name="nofile", soft=1, hard=2),),
        capabilities_add=("SYS_PTRACE",),
        capabilities_drop=("ALL",),
        init=True,
        sysctls=(("net.core.somaxconn", "9"),),
        tty=True,
        interactive=True,
        registry_secret="arn:secret",
    )


def test_a_restart_policy_that_is_off() -> None:
    assert one(restartPolicy={"enabled": False}).restart is None
    assert one(restartPolicy={"enabled": True}).restart == sandbox.RestartPolicy()


def test_overrides_win() -> None:
    params = definition(container(command=["own"], memory=100, environment=[{"name": "A", "value": "1"}]))
    changed = {
        "name": "web-app",
        "command": ["other"],
        "memory": 200,
        "environment": [{"name": "A", "value": "2"}, {"name": "B", "value": ""}],
    }
    (found,) = assemble(params, {"containerOverrides": [changed]}).containers
    assert (found.command, found.memory) == (("other",), 200 * MIB)
    assert dict(found.environment) == {"A": "2", "B": ""}
    (kept,) = assemble(params, {"containerOverrides": [{"name": "web-app", "command": []}]}).containers
    assert kept.command == ("own",)


names = st.text("ABC", min_size=1, max_size=1)
variables = st.lists(st.tuples(names, st.text("xyz", max_size=2)), max_size=5)


def pairs(given_: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in given_]


@given(variables, variables)
def test_a_variable_is_the_last_one_said_of_it(
    own: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    params = definition(container(environment=pairs(own)))
    overrides = {"containerOverrides": [{"name": "web-app", "environment": pairs(other)}]}
    (found,) = assemble(params, overrides).containers
    assert dict(found.environment) == {**dict(own), **dict(other)}
    assert len(found.environment) == len(dict(found.environment))


def logged(**options: str) -> sandbox.LogSink:
    merged = {**LOGS, **{k.replace("_", "-"): v for k, v in options.items()}}
    found = one(logConfiguration={"logDriver": "awslogs", "options": merged}).log
    assert found is not None
    return found


def test_awslogs() -> None:
    assert logged() == sandbox.LogSink(
        group="/g", stream=f"ecs/web-app/{ID}", region="eu-west-1", mode="blocking"
    )
    assert logged(mode="non-blocking", max_buffer_size="25m", awslogs_create_group="true") == sandbox.LogSink(
        group="/g",
        stream=f"ecs/web-app/{ID}",
        region="eu-west-1",
        create_group=True,
        mode="non-blocking",
        max_buffer_bytes=25 * MIB,
    )
    assert logged(awslogs_datetime_format="%Y").datetime_format == "%Y"
    assert logged(awslogs_multiline_pattern="^x").multiline_pattern == "^x"
    assert one().log is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("10m", 10 * MIB),
        ("10 MB", 10 * MIB),
        ("2MiB", 2 * MIB),
        ("1k", 1024),
        ("1G", 1024**3),
        ("0", None),
        ("", None),
        ("m", None),
        ("-1m", None),
        ("1.5m", None),
        ("9" * 16, None),
    ],
)
def test_sizes_as_docker_writes_them(text: str, size: int | None) -> None:
    assert parse_size(text) == size


PROXY = {
    "containerName": "web-app",
    "properties": [
        {"name": name, "value": "1"} for name in ("ProxyIngressPort", "ProxyEgressPort", "AppPorts")
    ],
}
S3_FILES = {"name": "v", "s3filesVolumeConfiguration": {"fileSystemArn": "arn:aws:s3files:x"}}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            definition(container(logConfiguration={"logDriver": "splunk"})),
            "failed to initialize logging driver: container 'web-app' has log driver splunk",
        ),
        (definition(container(credentialSpecs=["x:y"])), "container 'web-app' has credentialSpecs"),
        (definition(volumes=[S3_FILES]), "volume 'v': s3filesVolumeConfiguration is not available"),
        (definition(proxyConfiguration=PROXY), "proxyConfiguration"),
    ],
)
def test_what_this_version_cannot_make_real_says_so(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assemble(params)


def test_secrets_and_environment_files_are_names_not_values() -> None:
    files = [{"type": "s3", "value": "arn:aws:s3:::b/x.env"}]
    task = definition(
        container(secrets=[{"name": "S", "valueFrom": "/p"}], environmentFiles=files),
        executionRoleArn="arn:aws:iam::123456789012:role/execution",
    )
    (found,) = assemble(task).containers
    assert (found.secrets, found.environment_files) == ((("S", "/p"),), ("arn:aws:s3:::b/x.env",))
    instead = [{"type": "s3", "value": "arn:aws:s3:::b/y.env"}]
    overrides = {"containerOverrides": [{"name": "web-app", "environmentFiles": instead}]}
    (found,) = assemble(task, overrides).containers
    assert found.environment_files == ("arn:aws:s3:::b/y.env",)
