"""The `neargate` command: gathers the commands of this floor and turns their errors into one line.

Entry point of the package; each command lives in the module named for what it is about.
"""

import sys
from typing import Annotated

import typer
from rich.markup import escape

from neargate import __version__
from neargate.cli import daemon, doctor, exec, images, output, setup, spot, tasks
from neargate.cli.client import CliError

app = typer.Typer(
    help="AWS Fargate on machines you own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
for command in (
    daemon.up,
    daemon.down,
    daemon.status,
    doctor.doctor,
    setup.env,
    setup.configure,
    tasks.ps,
    tasks.logs,
    images.pull,
    tasks.cost,
    daemon.reset,
):
    app.command()(command)
app.command(context_settings=exec.PASSED_ON)(exec.exec)
app.add_typer(spot.app, name="spot")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def run() -> None:
    try:
        app()
    except BrokenPipeError:
        sys.exit(141)
    except (CliError, OSError) as error:
        _fail(error)
    except Exception as error:
        from botocore.exceptions import BotoCoreError, ClientError  # slow to import, and seldom needed

        if not isinstance(error, BotoCoreError | ClientError):
            raise
        _fail(error)


def _fail(error: Exception) -> None:
    output.errors.print(f"[red]neargate:[/] {escape(str(error))}", soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    run()
