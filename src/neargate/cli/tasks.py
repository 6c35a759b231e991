"""Commands about tasks: ps lists them, logs shows what they print, cost what they cost."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from neargate.cli import client, output
from neargate.cli.client import CliError
from neargate.cli.daemon import DataDir, Json

_COST_BY = ("cluster", "family", "task")


def ps(
    directory: DataDir = None,
    cluster: Annotated[str | None, typer.Option(help="Only this cluster.")] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Stopped tasks too.")] = False,
    as_json: Json = False,
) -> None:
    """List tasks."""
    ecs = client.Client(client.data_dir(directory)).aws("ecs")
    clusters = [cluster] if cluster else _pages(ecs, "list_clusters", "clusterArns")
    tasks: list[dict[str, Any]] = []
    for name in clusters:
        for desired in ("RUNNING", "STOPPED") if everything else ("RUNNING",):
            arns = _pages(ecs, "list_tasks", "taskArns", cluster=name, desiredStatus=desired)
            for start in range(0, len(arns), 100):
                tasks += ecs.describe_tasks(cluster=name, tasks=arns[start : start + 100])["tasks"]
    tasks.sort(key=lambda task: task["createdAt"])
    rows = [_row(task) for task in tasks]
    columns = ("TASK", "CLUSTER", "DEFINITION", "STATUS", "ADDRESS", "AGE", "WHY STOPPED")
    output.emit(as_json, tasks, output.table(None, columns, rows))


def _row(task: dict[str, Any]) -> tuple[Any, ...]:
    details = {d["name"]: d["value"] for a in task["attachments"] for d in a["details"]}
    return (
        task["taskArn"].rsplit("/", 1)[1],
        task["clusterArn"].rsplit("/", 1)[1],
        task["taskDefinitionArn"].rsplit("/", 1)[1],
        task["lastStatus"],
        details.get("privateIPv4Address"),
        _age(task["createdAt"]),
        task.get("stoppedReason"),
    )


def _age(since: datetime) -> str:
    seconds = int((datetime.now(UTC) - since).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"


def _pages(api: Any, operation: str, member: str, **arguments: Any) -> list[str]:
    pages = api.get_paginator(operation).paginate(**arguments)
    return [item for page in pages for item in page[member]]


def logs(
    task: Annotated[str, typer.Argument(help="Task id, its first letters, or its ARN.")],
    directory: DataDir = None,
    container: Annotated[str | None, typer.Option(help="Only this container.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a task's containers print."""
    caller = client.Client(client.data_dir(directory))
    streams = _streams(caller, task, container)
    api = caller.aws("logs")
    many = len(streams) > 1
    tokens: dict[tuple[str, str], str] = {}
    try:
        while True:
            for group, stream in streams:
                for event in _events(api, group, stream, tokens):
                    _print_event(event, stream if many else "", as_json)
            if not follow:
                return
            time.sleep(0.5)
    except KeyboardInterrupt:
        return


def _events(api: Any, group: str, stream: str, tokens: dict[tuple[str, str], str]) -> list[dict[str, Any]]:
    """New events of a stream since the last call."""
    found: list[dict[str, Any]] = []
    while True:
        arguments: dict[str, Any] = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
        token = tokens.get((group, stream))
        if token is not None:
            arguments["nextToken"] = token
        try:
            page = api.get_log_events(**arguments)
        except api.exceptions.ResourceNotFoundException:
            return found
        found += page["events"]
        if page["nextForwardToken"] == token or not page["events"]:
            tokens[(group, stream)] = page["nextForwardToken"]
            return found
        tokens[(group, stream)] = page["nextForwardToken"]


def _print_event(event: dict[str, Any], stream: str, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps({"stream": stream, **event}))
        return
    moment = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    prefix = f"[dim]{moment}[/] " + (f"[cyan]{stream.rsplit('/', 2)[-2]}[/] " if stream else "")
    output.console.print(prefix, end="")
    print(event["message"], flush=True)


def _streams(caller: client.Client, task: str, container: str | None) -> list[tuple[str, str]]:
    """(log group, log stream) of each awslogs container of a task, found by the start of its id."""
    ecs = caller.aws("ecs")
    return _sinks(ecs, find_task(ecs, task), container)


def find_task(ecs: Any, task: str) -> dict[str, Any]:
    """A task by its id, the start of that, or its ARN. Raise CliError."""
    wanted = task.rsplit("/", 1)[-1]
    for cluster in _pages(ecs, "list_clusters", "clusterArns"):
        for desired in ("RUNNING", "STOPPED"):
            for arn in _pages(ecs, "list_tasks", "taskArns", cluster=cluster, desiredStatus=desired):
                if arn.rsplit("/", 1)[1].startswith(wanted):
                    found: dict[str, Any] = ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"][0]
                    return found
    raise CliError(f"no task begins with {wanted!r}: `neargate ps --all` lists them")


def _sinks(ecs: Any, task: dict[str, Any], container: str | None) -> list[tuple[str, str]]:
    definition = ecs.describe_task_definition(taskDefinition=task["taskDefinitionArn"])["taskDefinition"]
    task_id = task["taskArn"].rsplit("/", 1)[1]
    sinks = []
    for spec in definition["containerDefinitions"]:
        configuration = spec.get("logConfiguration", {})
        if configuration.get("logDriver") != "awslogs" or (container and spec["name"] != container):
            continue
        options = configuration["options"]
        stream = f"{options['awslogs-stream-prefix']}/{spec['name']}/{task_id}"
        sinks.append((options["awslogs-group"], stream))
    if not sinks:
        raise CliError(f"task {task_id} has no container that logs with awslogs")
    return sinks


def cost(
    directory: DataDir = None,
    by: Annotated[
        str, typer.Option(help="cluster, family or task.", autocompletion=lambda: list(_COST_BY))
    ] = "task",
    as_json: Json = False,
) -> None:
    """Show what tasks cost, by Fargate's prices: per second, one minute at least, from the image pull on."""
    if by not in _COST_BY:
        raise CliError(f"--by is {by!r}: it must be cluster, family or task")
    document = client.Client(client.data_dir(directory)).internal("GET", f"cost?by={by}")
    rows = [
        (
            r["name"],
            r["tasks"],
            r["seconds"],
            r["vcpu_seconds"],
            r["gib_seconds"],
            r["storage_gib_seconds"],
            r["usd"],
        )
        for r in document["rows"]
    ]
    columns = (by.upper(), "TASKS#", "SECONDS#", "VCPU-s", "GIB-s", "STORAGE GIB-s", "US$")
    rows.append(("total", "", "", "", "", "", document["total_usd"]))
    output.emit(as_json, document, output.table(None, columns, rows))
