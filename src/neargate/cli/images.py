"""The command about images: pull has one here before a task needs it, with a progress bar.

The daemon pulls; this command asks it and, beside that, how far it is.
"""

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from neargate.cli import client, output
from neargate.cli.daemon import DataDir, Json

_EVERY = 0.2


def pull(
    image: Annotated[str, typer.Argument(help="As a task definition names it.")],
    directory: DataDir = None,
    as_json: Json = False,
) -> None:
    """Pull an image, so that the first task finds it here."""
    caller = client.Client(client.data_dir(directory))
    path = f"pull?image={quote(image, safe='')}"
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        ThreadPoolExecutor(1) as pool,
        Progress(*columns, console=output.errors, transient=True) as progress,
    ):
        asked = pool.submit(lambda: caller.internal("POST", path, timeout=None))
        bar = progress.add_task("pulling", total=None)
        while not wait_for([asked], _EVERY).done:
            for row in caller.internal("GET", "pulls"):
                if row["image"] == image:
                    progress.update(bar, description=_step(row), completed=row["done"], total=row["total"])
    document = asked.result()
    output.emit(as_json, document, f"{document['digest']}  {document['size'] / 2**20:.1f} MiB")


def _step(row: dict[str, Any]) -> str:
    return "unpacking" if row["done"] >= row["total"] else "pulling"
