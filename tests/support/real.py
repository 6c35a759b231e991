"""A real daemon of its own process, data directory, port and address range, with real containers.

Used by tests/e2e, tests/faults and bench/. `leftovers` looks for everything that a daemon could forget.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import SystemRandom
from typing import Any

import boto3
from botocore.config import Config

from neargate.main import instance_of

CHANCE = SystemRandom()
"""Nobody's seed makes two tests side by side choose the same addresses."""
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_range() -> str:
    """A /16 that nothing on this machine has a route into: suites may run side by side. Those from 10.200 on
    are for the driver suite's rigs, which would claim one between this look and the daemon's own."""
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    candidates = [f"10.{number}." for number in range(100 + worker % 8, 200, 8)]
    return CHANCE.choice([c for c in candidates if f" {c}" not in f" {routes}".replace("\n", " ")]) + "0.0/16"


class RealDaemon:
    """`neargate up` on a directory of its own. Use `with RealDaemon(tmp_path) as daemon`.

    vpc_cidr -- a free one is taken if none is given.
    """

    def __init__(self, data_dir: Path, vpc_cidr: str = "", **environment: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "NEARGATE_"))},
            "NEARGATE_DATA_DIR": str(data_dir),
            "NEARGATE_PORT": str(self.port),
            "NEARGATE_VPC_CIDR": vpc_cidr or free_range(),
            "NEARGATE_ISOLATION": "process",  # said, as `auto` is whatever this machine can do
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **environment,
        }
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "RealDaemon":
        self.up()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cli("down")

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(BIN / "neargate"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"neargate {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def up(self) -> None:
        self.cli("up")

    @property
    def info(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.data_dir / "daemon.json").read_text())
        return document

    @property
    def pid(self) -> int:
        return int(self.info["pid"])

    def kill(self) -> None:
        """kill -9 of the daemon, and wait until it is gone."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not _alive(pid), "the killed daemon is gone")

    def aws_environment(self) -> dict[str, str]:
        keys = json.loads((self.data_dir / "credentials.json").read_text())
        return {
            **self.environment,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": keys["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"],
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_PAGER": "",
        }

    def client(self, service: str, **config: Any) -> Any:
        keys = self.aws_environment()
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            config=Config(**{"retries": {"total_max_attempts": 1}, **config}),
        )

    def aws(self, *arguments: str) -> str:
        """Run the stock aws CLI; its output."""
        done = subprocess.run(
            [str(BIN / "aws"), *arguments],
            env=self.aws_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"aws {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def push(self, layout: Path, repository: str, tag: str = "latest") -> str:
        """Push an OCI layout with skopeo into a repository (made if missing); the image name for tasks."""
        ecr = self.client("ecr")
        with contextlib.suppress(ecr.exceptions.RepositoryAlreadyExistsException):
            ecr.create_repository(repositoryName=repository)
        password = self.aws("ecr", "get-login-password").strip()
        target = f"docker://127.0.0.1:{self.port}/{repository}:{tag}"
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", f"AWS:{password}",
             f"oci:{layout}:latest", target],
            check=True,
            timeout=120,
        )  # fmt: skip
        return f"000000000000.dkr.ecr.us-east-1.amazonaws.com/{repository}:{tag}"


def eventually(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Poll until the condition is true; its value. AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def leftovers(data_dir: Path) -> list[str]:
    """Whatever a daemon on `data_dir` still has here: processes, mounts, links, rules, names, cgroups."""
    instance = instance_of(data_dir)
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (process / "environ").read_bytes().decode(errors="replace")
            if int(process.name) != os.getpid() and _is_ours(command, environment, data_dir, instance):
                found.append(f"process {process.name}: {command}")
            if str(data_dir) in (process / "mountinfo").read_text():
                found.append(f"mount in the namespace of process {process.name}: {command}")
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    found += [f"link {line}" for line in links.splitlines() if instance in line]
    rules = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    found += [f"nft {line}" for line in rules.splitlines() if instance in line]
    found += [
        f"/etc/hosts {line}" for line in Path("/etc/hosts").read_text().splitlines() if instance in line
    ]
    found += [f"directory {path}" for path in Path("/run/neargate").glob(f"*{instance}*")]
    found += [f"directory {path}" for path in Path("/run/neargate").glob(f"*{instance}*")]
    for root, directories, _ in os.walk("/sys/fs/cgroup"):
        found += [f"cgroup {root}/{name}" for name in directories if instance in name]
    return found


def _is_ours(command: str, environment: str, data_dir: Path, instance: str) -> bool:
    return (
        str(data_dir) in command
        or f"neargate-{instance}" in command
        or (f"NEARGATE_DATA_DIR={data_dir}\0" in environment and "pytest" not in command)
    )


@contextlib.contextmanager
def nothing_left(data_dir: Path) -> Iterator[None]:
    """Assert, after the block, that nothing of the daemon is left on the machine."""
    yield
    assert_nothing_left(data_dir)


def assert_nothing_left(data_dir: Path) -> None:
    """Processes die, and what they held goes, a little after the command that ended them."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: not leftovers(data_dir), "nothing left", 20)
    assert leftovers(data_dir) == []
