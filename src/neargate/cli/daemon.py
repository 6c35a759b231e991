"""Commands that start and stop the daemon: up, down, status, reset.

The daemon itself is `python -m neargate.main`; these commands pass it settings by environment and watch it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from neargate.cli import client, output
from neargate.cli.client import CliError
from neargate.kit.instance import instance_of
from neargate.kit.settings import Settings, SettingsError

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the daemon keeps everything.", show_default="/var/lib/neargate"),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


def up(
    directory: DataDir = None,
    port: Annotated[int | None, typer.Option(help="Port of the door.", show_default="4566")] = None,
    host: Annotated[str | None, typer.Option(help="Address of the door.", show_default="127.0.0.1")] = None,
    isolation: Annotated[str | None, typer.Option(help="Tier: auto, process, gvisor or microvm.")] = None,
    vpc_cidr: Annotated[str | None, typer.Option(help="Address range of this daemon's tasks.")] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Allow `neargate reset`.")] = False,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in this terminal.")] = False,
    tls_cert: Annotated[str | None, typer.Option(help="PEM certificate, or `generate`.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="PEM key.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without TLS.")] = False,
    as_json: Json = False,
) -> None:
    """Start the daemon (nothing happens if it runs already)."""
    place = client.data_dir(directory)
    running = client.find(place)
    if running is not None:
        _report_up(running, place, as_json, "already running")
        return
    options: dict[str, Any] = {
        "data_dir": place,
        "port": port,
        "host": host,
        "isolation": isolation,
        "vpc_cidr": vpc_cidr,
        "ephemeral": ephemeral or None,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "insecure": insecure or None,
    }
    try:
        Settings.load(**options)
    except SettingsError as error:
        raise CliError(str(error)) from None
    environment = dict(os.environ)
    environment.update({f"NEARGATE_{k.upper()}": str(v) for k, v in options.items() if v is not None})
    command = [sys.executable, "-m", "neargate.main"]
    if foreground:
        os.execve(sys.executable, command, environment)
    _report_up(_start(command, environment, place), place, as_json, "started")


def _start(command: list[str], environment: dict[str, str], place: Path) -> client.DaemonInfo:
    place.mkdir(parents=True, exist_ok=True)
    log_path = place / "daemon.log"
    with log_path.open("ab") as log:
        start_of_log = log.tell()
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    shown = output.errors.is_terminal
    with Progress(*columns, console=output.errors, transient=True, disable=not shown) as progress:
        step = progress.add_task("starting the daemon")
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise CliError(_why(log_path, start_of_log, process.returncode))
            info = client.find(place)
            if info is not None and info.pid == process.pid and _healthy(info):
                return info
            progress.update(step, description=_last_step(log_path, start_of_log))
            time.sleep(0.05)
    process.terminate()
    raise CliError(f"the daemon was not ready after {_START_SECONDS:.0f} s: see {log_path}")


def _healthy(info: client.DaemonInfo) -> bool:
    try:
        return httpx.get(f"{info.endpoint}/_neargate/health", timeout=5, verify=False).status_code == 200
    except httpx.TransportError:
        return False


def _last_step(log_path: Path, start: int) -> str:
    lines = _log_lines(log_path, start)
    steps = [line.get("message", "") for line in lines if line.get("logger") == "neargate.main"]
    return str(steps[-1]) if steps else "starting the daemon"


def _why(log_path: Path, start: int, code: int) -> str:
    fatal = [
        line["message"] for line in _log_lines(log_path, start) if line.get("level") in ("critical", "error")
    ]
    return str(fatal[-1]) if fatal else f"the daemon ended with status {code}: see {log_path}"


def _log_lines(log_path: Path, start: int) -> list[dict[str, Any]]:
    import json

    found = []
    with log_path.open("rb") as log:
        log.seek(start)
        for line in log:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def _report_up(info: client.DaemonInfo, place: Path, as_json: bool, verb: str) -> None:
    document = {"state": verb, "endpoint": info.endpoint, "pid": info.pid, "data_dir": str(place)}
    text = f"neargate {verb}: {info.endpoint} (pid {info.pid}, data in {place})\nNext: eval $(neargate env)"
    output.emit(as_json, document, text)


def down(
    directory: DataDir = None,
    keep_tasks: Annotated[
        bool, typer.Option("--keep-tasks", help="Stop only the daemon; tasks run on.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Stop the tasks and the daemon, and remove every process, mount, namespace, cgroup and rule."""
    place = client.data_dir(directory)
    info, before = client.find(place), client.last(place)
    if info is not None:
        _end(info)
    if not keep_tasks and _used(place):
        command = [sys.executable, "-m", "neargate.main", "--teardown"]
        environment = {**os.environ, "NEARGATE_DATA_DIR": str(place), **_settings_of(before)}
        with output.errors.status("stopping the tasks"):
            done = subprocess.run(command, env=environment, capture_output=True, cwd="/")
        if done.returncode != 0:
            raise CliError(f"the clean-up failed: {done.stderr.decode(errors='replace')[-2000:]}")
    state = "stopped" if info is not None else "was not running; cleaned up"
    output.emit(as_json, {"state": state, "data_dir": str(place)}, f"neargate {state}")


def _used(place: Path) -> bool:
    """Whether there may be anything of a daemon; where its directory was deleted, control groups say so."""
    name, groups = f"neargate_{instance_of(place)}", Path("/sys/fs/cgroup")
    found = (*groups.glob(name), *groups.glob(f"*/{name}"))  # version 2, and 1
    return bool(found) or (place / "truth.db").exists()


def _settings_of(before: client.DaemonInfo | None) -> dict[str, str]:
    """What the daemon was started with: its clean-up must find the same things, whatever is set now."""
    return {} if before is None else {f"NEARGATE_{k.upper()}": v for k, v in before.settings.items()}


def _end(info: client.DaemonInfo) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
        os.kill(info.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while info.alive():
        if time.monotonic() > deadline:
            raise CliError(f"the daemon (pid {info.pid}) did not stop within {_STOP_SECONDS:.0f} s")
        time.sleep(0.02)


def status(directory: DataDir = None, as_json: Json = False) -> None:
    """Show the daemon and what it runs. Exit status 3 when it does not run."""
    place = client.data_dir(directory)
    info = client.find(place)
    if info is None:
        output.emit(
            as_json, {"state": "stopped", "data_dir": str(place)}, f"neargate is not running on {place}"
        )
        raise typer.Exit(3)
    document = client.Client(place).internal("GET", "status")
    document.update(state="running", pid=info.pid, endpoint=info.endpoint, data_dir=str(place))
    rows = [
        (name.replace("_", " "), value)
        for name, value in document.items()
        if not isinstance(value, list | dict)
    ]
    output.emit(as_json, document, output.table(None, ("", ""), rows))


def reset(directory: DataDir = None, as_json: Json = False) -> None:
    """Stop every task and forget everything (only of a daemon started with --ephemeral)."""
    document = client.Client(client.data_dir(directory)).internal("POST", "reset", {})
    output.emit(as_json, document, "everything forgotten")
