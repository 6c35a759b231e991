"""Commands about FARGATE_SPOT: interrupt its tasks, as Fargate does when it wants their capacity back."""

from typing import Annotated
from urllib.parse import urlencode

import typer

from neargate.cli import client, output
from neargate.cli.client import CliError
from neargate.cli.daemon import DataDir, Json

app = typer.Typer(help="Spot tasks.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Spot tasks."""


@app.command()
def interrupt(
    directory: DataDir = None,
    cluster: Annotated[str | None, typer.Option(help="Only this cluster.")] = None,
    count: Annotated[int | None, typer.Option(help="So many, the youngest first.", min=1)] = None,
    task: Annotated[str | None, typer.Option(help="This one: id, its first letters, or its ARN.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    as_json: Json = False,
) -> None:
    """Interrupt Spot tasks: the event and SIGTERM at once, SIGKILL after the container's stopTimeout."""
    if sum((count is not None, task is not None, everything)) != 1:
        raise CliError("name exactly one of --task, --count and --all")
    asked = {"cluster": cluster, "count": count, "task": task, "all": "yes" if everything else None}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    document = client.Client(client.data_dir(directory)).internal("POST", f"spot-interrupt?{query}")
    rows = [(arn.rsplit("/", 1)[1], arn.rsplit("/", 2)[1]) for arn in document["interrupted"]]
    output.emit(as_json, document, output.table(None, ("TASK", "CLUSTER"), rows))
