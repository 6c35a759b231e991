"""What all commands have alike: help, --json, errors in one line, completion, the version."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from neargate import __version__
from neargate.cli import client, doctor, output
from neargate.cli.main import app
from tests.unit.cli.conftest import Cli

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
NEED_A_DAEMON = (("env",), ("configure",), ("ps",), ("logs", "x"), ("cost",), ("reset",))


def test_the_commands_are_those_of_the_documentation() -> None:
    daemon = {"up", "down", "status", "doctor", "reset"}
    assert set(COMMANDS) == daemon | {"env", "configure", "ps", "logs", "exec", "pull", "cost", "spot"}


def _leaves() -> dict[tuple[str, ...], Any]:
    """Commands that do something: those of groups have two words."""
    groups = {name: command.commands for name, command in COMMANDS.items() if hasattr(command, "commands")}
    found = {(name,): command for name, command in COMMANDS.items() if name not in groups}
    return found | {(name, own): command for name in groups for own, command in groups[name].items()}


@pytest.mark.parametrize("command", sorted(_leaves()), ids=" ".join)
def test_help(cli: Cli, command: tuple[str, ...]) -> None:
    done = cli(*command, "--help")
    assert (done.code, done.err) == (0, "")
    parameters = _leaves()[command].params
    options = {name for parameter in parameters for name in parameter.opts if "-" in name}
    own = command == ("exec",)  # what it prints is the container's
    assert options >= {"--data-dir"} | (set() if own else {"--json"})
    for option in options:
        assert option in done.out
    for parameter in parameters:
        assert parameter.help, f"{command} {parameter.name} does not say what it is"


def test_help_without_a_command_lists_them_all(cli: Cli) -> None:
    done = cli("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert f" {command} " in done.out


def test_the_version(cli: Cli) -> None:
    done = cli("--version")
    assert (done.code, done.out) == (0, f"{__version__}\n")


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize("command", NEED_A_DAEMON, ids=lambda c: c[0])
def test_without_a_daemon(cli: Cli, command: tuple[str, ...], as_json: tuple[str, ...]) -> None:
    done = cli(*command, *as_json)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("neargate: no daemon runs on ") and done.err.count("\n") == 1
    assert "neargate up --data-dir" in done.err


def test_status_without_a_daemon(cli: Cli, tmp_path: Path) -> None:
    done = cli("status", "--json")
    assert (done.code, done.json()) == (3, {"state": "stopped", "data_dir": str(tmp_path / "data")})
    assert "not running" in cli("status").out


def test_down_without_a_daemon(cli: Cli, tmp_path: Path) -> None:
    assert cli("down", "--json").json()["state"].startswith("was not running")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", [c for c in NEED_A_DAEMON if c[0] not in ("env", "configure")])
def test_a_daemon_whose_door_is_shut(cli: Cli, daemon: Path, command: tuple[str, ...]) -> None:
    done = cli(*command)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("neargate: ") and "127.0.0.1:1" in done.err


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("credentials.json", None, "start the daemon once"),
        ("credentials.json", "{", "damaged"),
        ("credentials.json", "{}", "damaged"),
        ("credentials.json", "[]", "damaged"),
        ("daemon.json", "{", "no daemon runs"),
        ("daemon.json", "[1]", "no daemon runs"),
        ("daemon.json", '{"pid": 1}', "no daemon runs"),
    ],
)
def test_damaged_files(cli: Cli, daemon: Path, file: str, content: str | None, message: str) -> None:
    if content is None:
        (daemon / file).unlink()
    else:
        (daemon / file).write_text(content)
    done = cli("env")
    assert done.code == 1 and message in done.err and done.err.count("\n") == 1


def test_a_reused_pid_is_not_taken_for_the_daemon(cli: Cli, daemon: Path) -> None:
    document = json.loads((daemon / "daemon.json").read_text())
    assert cli("env").code == 0
    (daemon / "daemon.json").write_text(
        json.dumps({**document, "started_ticks": document["started_ticks"] - 1})
    )
    assert "no daemon runs" in cli("env").err


@pytest.mark.parametrize("command", ["up", "ps", "down", "status"])
def test_a_data_directory_that_is_none(cli: Cli, tmp_path: Path, command: str) -> None:
    file = tmp_path / "a-file"
    file.touch()
    done = cli(command, "--data-dir", str(file))
    assert done.code == 1 and str(file) in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("up", "--isolation", "docker"), "NEARGATE_ISOLATION is 'docker'"),
        (("up", "--vpc-cidr", "10.0.0.0/8"), "NEARGATE_VPC_CIDR is '10.0.0.0/8'"),
        (("up", "--port", "70000"), "NEARGATE_PORT is 70000"),
        (("cost", "--by", "[red]colour[/]"), "--by is '[red]colour[/]': it must be cluster, family or task"),
        (("configure", "--profile", "a]b"), "--profile is 'a]b'"),
        (("ps", "--data-dir", "/nowhere/[/x]"), "no daemon runs on /nowhere/[/x]"),
    ],
)
def test_mistakes_are_told_in_one_line(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (1, "")
    assert message in done.err and done.err.count("\n") == 1


def test_what_is_no_option_is_told_with_the_usage(cli: Cli) -> None:
    done = cli("ps", "--colour")
    assert done.code == 2 and "--colour" in done.err and "Usage: neargate ps" in done.err


def test_a_table_shows_what_its_cells_say(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit(False, [], output.table(None, ("A", "B"), [("[red]x[/]", None), ("[/]", 3)]))
    output.emit(False, [], "a [b] c")
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["A", "B"],
        ["[red]x[/]"],
        ["[/]", "3"],
        ["a", "[b]", "c"],
    ]


def test_doctor_says_what_mends_what_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        doctor.Finding("nft", False, "not installed", "apt-get install -y nftables"),
        doctor.Finding("skopeo", False, "not installed", "apt-get install -y skopeo", needed=False),
    ]
    monkeypatch.setattr(doctor, "findings", lambda place: found)
    done = cli("doctor")
    assert done.code == 1 and "missing  nft" in done.out and "apt-get install -y nftables" in done.out
    monkeypatch.setattr(doctor, "findings", lambda place: found[1:])
    done = cli("doctor", "--json")
    assert (done.code, [f["name"] for f in done.json()]) == (0, ["skopeo"])


def test_a_secret_is_in_no_representation(daemon: Path) -> None:
    assert "s3cr" not in repr(client.credential(daemon))


def test_the_shell_completes_commands_and_options() -> None:
    """As bash asks for it, after `neargate --install-completion`."""

    def complete(*words: str) -> list[str]:
        asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        environment = {**os.environ, "_NEARGATE_COMPLETE": "complete_bash", **asked}
        command = [str(Path(sys.executable).parent / "neargate")]
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split()

    assert complete("neargate", "st") == ["status"]
    assert set(complete("neargate", "cost", "--")) >= {"--by", "--data-dir", "--json"}
    assert complete("neargate", "cost", "--by", "f") == ["family"]
