"""How the CLI prints: tables and colours for people, one JSON document with --json.

Used by every command module.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def emit(as_json: bool, document: Any, table: Table | str) -> None:
    """Print the document with --json, else the table or text made from it."""
    if as_json:
        print(json.dumps(document, indent=2, default=_plain))
    else:
        console.print(table, soft_wrap=True, markup=False)


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table of what the cells say: a stop reason in [brackets] is text, not mark-up."""
    made = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left")
    for column in columns:
        right = column.endswith(("$", "s", "#"))
        made.add_column(column.rstrip("#"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
    return made


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
