"""exec: a command in a container of a running task, at this terminal."""

import shlex
import sys
from typing import Annotated

import typer

from neargate.cli import client, output
from neargate.cli.client import CliError
from neargate.cli.daemon import DataDir
from neargate.cli.tasks import find_task

PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""Options after the task are the command's own, but for --container right after it."""


def exec(
    task: Annotated[str, typer.Argument(help="Task id, its first letters, or its ARN.")],
    command: Annotated[list[str], typer.Argument(help="The command, and its arguments.")],
    directory: DataDir = None,
    container: Annotated[str | None, typer.Option(help="In this container.")] = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Accepted for habit: it always is.")
    ] = False,
    tty: Annotated[bool, typer.Option("--tty", "-t", help="Accepted for habit: it always has one.")] = False,
) -> None:
    """Run a command in a container of a running task, at this terminal (ECS Exec).

    Its exit status is the command's. The task must have been run with enableExecuteCommand.
    """
    from neargate.cli.session import Session  # slow to import, and seldom needed

    container, command = _container(container, command)
    caller = client.Client(client.data_dir(directory))
    ecs = caller.aws("ecs")
    found = find_task(ecs, task)
    arguments = {"container": container} if container else {}
    answer = ecs.execute_command(
        cluster=found["clusterArn"],
        task=found["taskArn"],
        command=command[0] if len(command) == 1 else shlex.join(command),
        interactive=True,
        **arguments,
    )
    session = Session(answer["session"], caller.tls())
    session.run()
    closed = session.closed or {}
    if closed.get("Output"):
        output.errors.print(closed["Output"], markup=False, soft_wrap=True)
    sys.exit(closed.get("ExitCode", 1))


def _container(given: str | None, command: list[str]) -> tuple[str | None, list[str]]:
    first, *rest = command
    if first.startswith("--container="):
        given, command = first.partition("=")[2], rest
    elif first == "--container" and rest:
        given, command = rest[0], rest[1:]
    if not command:
        raise CliError("which command? `neargate exec -it TASK [--container NAME] COMMAND`")
    return given, command
