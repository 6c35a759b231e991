"""The command line in this process, on a data directory as a living daemon would leave it."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from neargate.cli import client, main, output


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Done]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """`cli("ps", "--json")`: what it printed, and its exit status. No daemon runs on its directory."""
    for name in [n for n in os.environ if n.startswith(("AWS_", "NEARGATE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NEARGATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "500")
    # the module's own took the width of whatever ran this process
    monkeypatch.setattr(output, "console", Console(highlight=False, width=500))

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["neargate", *arguments])
        capsys.readouterr()
        try:
            main.run()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture
def daemon(tmp_path: Path, cli: Cli) -> Path:
    """The data directory of a daemon that is this very process; its door is shut."""
    directory = tmp_path / "data"
    directory.mkdir()
    document = {
        "pid": os.getpid(),
        "started_ticks": client.process_start(os.getpid()),
        "endpoint": "http://127.0.0.1:1",
        "region": "eu-west-1",
        "account": "123456789012",
        "version": "0",
        "isolation": "fake",
        "ephemeral": False,
        "settings": {"vpc_cidr": "10.0.0.0/16"},
    }
    (directory / "daemon.json").write_text(json.dumps(document))
    keys = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "s3cr'et $(x) \"/+="}
    (directory / "credentials.json").write_text(json.dumps(keys))
    return directory
