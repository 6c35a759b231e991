"""FireLens: the router's configuration file, and what it makes of the containers of a task."""

from typing import Any

import pytest

from neargate.model.assembly_firelens import BUFFER_LIMIT, VOLUME
from neargate.model.firelens import Kind, Router, configuration
from neargate.model.sandbox import ContainerSpec, Dependency, LogSink, Mount
from tests.support.ecs import container, definition
from tests.unit.model.test_assembly import ID, assemble

RECORD = {
    "ecs_task_definition": "web:3",
    "ecs_cluster": "prod",
    "ecs_task_arn": "arn:aws:ecs:x:1:task/prod/0",
}

FLUENT_BIT = """
[INPUT]
    Name forward
    Mem_Buf_Limit 25MB
    unix_path /var/run/fluent.sock

[INPUT]
    Name forward
    Listen 127.0.0.1
    Port 24224

[INPUT]
    Name tcp
    Tag firelens-healthcheck
    Listen 127.0.0.1
    Port 8877

[FILTER]
    Name   grep
    Match app-firelens*
    Regex  log ^keep

[FILTER]
    Name   grep
    Match app-firelens*
    Exclude log debug

[FILTER]
    Name record_modifier
    Match *
    Record ecs_cluster prod
    Record ecs_task_arn arn:aws:ecs:x:1:task/prod/0
    Record ecs_task_definition web:3

@INCLUDE /extra.conf

[OUTPUT]
    Name null
    Match firelens-healthcheck

[OUTPUT]
    Name cloudwatch
    Match app-firelens*
    log_group_name /g
    region eu-west-1

[OUTPUT]
    Name stdout
    Match side-firelens*
"""

FLUENTD = """
<source>
    @type unix
    path /var/run/fluent.sock
</source>

<source>
    @type forward
    bind 127.0.0.1
    port 24224
</source>

<filter app-firelens**>
    @type  grep
    <regexp>
        key log
        pattern ^keep
    </regexp>
</filter>

<filter app-firelens**>
    @type  grep
    <exclude>
        key log
        pattern debug
    </exclude>
</filter>

<filter **>
    @type record_transformer
    <record>
        ecs_cluster prod
        ecs_task_arn arn:aws:ecs:x:1:task/prod/0
        ecs_task_definition web:3
    </record>
</filter>

@include /extra.conf

<match app-firelens**>
    @type cloudwatch
    log_group_name /g
    region eu-west-1
</match>

<match side-firelens**>
    @type stdout
</match>
"""


@pytest.mark.parametrize(
    ("kind", "key", "text"), [("fluentbit", "Name", FLUENT_BIT), ("fluentd", "@type", FLUENTD)]
)
def test_the_whole_file(kind: Kind, key: str, text: str) -> None:
    router = Router(kind, {"config-file-type": "file", "config-file-value": "/extra.conf"}, None, RECORD)
    app = {
        "region": "eu-west-1", key: "cloudwatch", "log_group_name": "/g", "log-driver-buffer-limit": "1000",
        "include-pattern": "^keep", "exclude-pattern": "debug",
    }  # fmt: skip
    assert configuration(router, {"app": app, "side": {key: "stdout"}}) == text


@pytest.mark.parametrize(("memory", "limit"), [(None, "25MB"), (100, "50MB"), (51, "25MB"), (2048, "1024MB")])
def test_half_of_the_routers_memory_is_its_buffer(memory: int | None, limit: str) -> None:
    assert f"    Mem_Buf_Limit {limit}\n" in configuration(Router("fluentbit", {}, memory, {}), {})


@pytest.mark.parametrize(
    ("value", "told"), [(None, True), ("true", True), ("1", True), ("false", False), ("maybe", False)]
)
def test_the_tasks_facts_are_added_unless_told_otherwise(value: str | None, told: bool) -> None:
    options = {} if value is None else {"enable-ecs-log-metadata": value}
    for kind in ("fluentbit", "fluentd"):
        text = configuration(Router(kind, options, None, RECORD), {})
        assert ("ecs_cluster prod" in text, "record_" in text) == (told, told)


@pytest.mark.parametrize(("kind", "key"), [("fluentbit", "Name"), ("fluentd", "@type")])
def test_options_without_an_output_are_refused_and_none_at_all_are_the_files_affair(
    kind: Kind, key: str
) -> None:
    router = Router(kind, {}, None, {})
    assert "app" not in configuration(router, {"app": {"log-driver-buffer-limit": "1"}})
    with pytest.raises(ValueError, match=f"container app to firelens config: missing output key {key} which"):
        configuration(router, {"app": {"region": "x"}})


# -- in a task ---------------------------------------------------------------------------------------------


def router(**members: Any) -> dict[str, Any]:
    return container("router", firelensConfiguration={"type": "fluentbit"}, **members)


def app(name: str = "app", options: dict[str, str] | None = None, **members: Any) -> dict[str, Any]:
    log = {"logDriver": "awsfirelens", "options": options or {"Name": "stdout"}}
    return container(name, **{"logConfiguration": log, **members})


def assembled(*containers: dict[str, Any]) -> dict[str, ContainerSpec]:
    return {c.name: c for c in assemble(definition(*containers)).containers}


def test_the_router_gets_its_file_and_socket_and_the_others_a_way_to_it() -> None:
    found = assembled(app(), router(memory=64), container("quiet"))
    assert found["router"].mounts == (Mount(volume=VOLUME, target="/var/run", owned=True),)
    ((path, text),) = found["router"].files
    assert path == "/fluent-bit/etc/fluent-bit.conf"
    assert "Mem_Buf_Limit 32MB" in text and "Match app-firelens*" in text and "quiet" not in text
    assert (
        "    Record ecs_cluster arn:c\n    Record ecs_task_arn arn:t\n    Record ecs_task_definition web:3"
        in text
    )
    assert found["app"].log == LogSink(
        group="",
        stream=f"app-firelens-{ID}",
        router="router",
        socket=(VOLUME, "fluent.sock"),
        acknowledged=True,
        max_buffer_bytes=BUFFER_LIMIT,
        options=(("Name", "stdout"),),
    )
    assert dict(found["app"].environment) == {"FLUENT_HOST": "127.0.0.1", "FLUENT_PORT": "24224"}
    assert found["app"].depends_on == (Dependency(container="router", condition="START"),)
    assert found["quiet"] == ContainerSpec(name="quiet", image="busybox:latest", runtime_id=f"{ID}-2")


def test_dependencies_of_ones_own_stay() -> None:
    healthy = {"command": ["CMD", "true"]}
    asked = app(dependsOn=[{"containerName": "router", "condition": "HEALTHY"}])
    found = assembled(asked, router(healthCheck=healthy))
    assert found["app"].depends_on == (Dependency(container="router", condition="HEALTHY"),)
    # a router that waits is not waited for
    found = assembled(app(), router(dependsOn=[{"containerName": "app", "condition": "START"}]))
    assert found["app"].depends_on == ()


def test_fluentd_reads_its_file_elsewhere_and_acknowledges_nothing() -> None:
    fluentd = container("router", firelensConfiguration={"type": "fluentd"})
    found = assembled(app(options={"@type": "stdout"}), fluentd)
    assert found["router"].files[0][0] == "/fluentd/etc/fluent.conf"
    assert found["app"].log and not found["app"].log.acknowledged


def test_secret_options_are_variables_of_the_router() -> None:
    log = {
        "logDriver": "awsfirelens",
        "options": {"Name": "http"},
        "secretOptions": [{"name": "http_passwd", "valueFrom": "/p"}],
    }
    found = assembled(container("first"), app(logConfiguration=log), router())
    assert found["router"].secrets == (("http_passwd_1", "/p"),)
    assert "    http_passwd ${http_passwd_1}\n" in found["router"].files[0][1]
    assert found["app"].secrets == ()
    fluentd = container("router", firelensConfiguration={"type": "fluentd"})
    log["options"] = {"@type": "http"}
    found = assembled(app(logConfiguration=log), fluentd)
    assert "    http_passwd \"#{ENV['http_passwd_0']}\"\n" in found["router"].files[0][1]


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", BUFFER_LIMIT), ("4096", 4096), ("536870912", 512 * 1024**2), ("2m", 2 * 1024**2), ("lots", None)],
)
def test_the_drivers_buffer(text: str, size: int | None) -> None:
    params = (app(options={"Name": "stdout", "log-driver-buffer-limit": text}), router())
    if size is None:
        with pytest.raises(ValueError, match="log-driver-buffer-limit of container 'app' is 'lots'"):
            assembled(*params)
    else:
        log = assembled(*params)["app"].log
        assert log and log.max_buffer_bytes == size


def test_a_router_cannot_log_to_itself() -> None:
    log = {"logDriver": "awsfirelens", "options": {"Name": "stdout"}}
    with pytest.raises(ValueError, match="'router' is the FireLens router; it cannot log to itself"):
        assembled(router(logConfiguration=log))
