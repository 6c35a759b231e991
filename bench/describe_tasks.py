"""DescribeTasks of three running tasks, requests per second at 16 connections.

neargate (signatures verified), ministack and moto_server, one after the other in several rounds of one run:

    .venv/bin/python -m bench.describe_tasks [--seconds 5] [--rounds 3]

Each server is a process of its own, as its users start it; the others' programs live in virtual
environments under ~/.cache/neargate-bench. The load is wrk (Debian), which repeats one signed request.
"""

import argparse
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from bench.measure import Figure, median, show

CACHE = Path.home() / ".cache" / "neargate-bench"
CONNECTIONS = 16
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"


@dataclass(frozen=True)
class Target:
    name: str
    package: str
    """PyPI requirement; empty for our own."""
    command: tuple[str, ...]
    """`{bin}` is its virtual environment's bin, `{port}` its port."""
    environment: dict[str, str]
    least: float = 0.0
    """How many times as fast ours must be."""


TARGETS = (
    Target(
        "neargate",
        "",
        (sys.executable, "-m", "neargate.main"),
        {
            "NEARGATE_PORT": "{port}",
            "NEARGATE_DATA_DIR": "{directory}",
            "NEARGATE_RUN_DIR": "{directory}/run",
            "NEARGATE_ISOLATION": "fake",
            "NEARGATE_ROOT_ACCESS_KEY_ID": KEY_ID,
            "NEARGATE_ROOT_SECRET_ACCESS_KEY": SECRET,
            "NEARGATE_LOG_LEVEL": "warning",
        },
    ),
    Target(
        "ministack", "ministack", ("{bin}/ministack",), {"GATEWAY_PORT": "{port}", "LOG_LEVEL": "ERROR"}, 3.0
    ),
    Target("moto_server", "moto[server,ecs]", ("{bin}/moto_server", "-p", "{port}"), {}, 12.0),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def binaries(target: Target) -> Path:
    """The bin directory of the target's virtual environment, made when missing."""
    directory = CACHE / target.name
    if target.package and not (directory / ".done").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        subprocess.run([str(directory / "bin" / "pip"), "install", "-q", target.package], check=True)
        (directory / ".done").touch()
    return directory / "bin"


@contextmanager
def started(target: Target) -> Iterator[int]:
    """The server, listening; the block is given its port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="neargate-bench-") as directory:
        words = {"port": str(port), "directory": directory, "bin": str(binaries(target))}
        environment = {name: value.format(**words) for name, value in target.environment.items()}
        with (Path(directory) / "output").open("w+") as output:
            process = subprocess.Popen(
                [part.format(**words) for part in target.command],
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                _wait_until_it_listens(process, port, Path(output.name))
                yield port
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()
                process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"{process.args} does not listen:\n{output.read_text()[-4000:]}")


def client(port: int, service: str = "ecs") -> Any:
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        config=Config(retries={"total_max_attempts": 1}),
    )


def three_tasks(port: int) -> list[str]:
    """ARNs of three tasks, running (where the server lets tasks run)."""
    ecs, ec2 = client(port), client(port, "ec2")
    ecs.create_cluster(clusterName="default")
    ecs.register_task_definition(
        family="bench",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "web", "image": "busybox", "cpu": 256, "memory": 512}],
    )
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
    groups = [group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]]
    network = {"awsvpcConfiguration": {"subnets": subnets[:1], "securityGroups": groups[:1]}}
    answer = ecs.run_task(taskDefinition="bench", launchType="FARGATE", count=3, networkConfiguration=network)
    assert not answer["failures"], answer["failures"]
    arns = [task["taskArn"] for task in answer["tasks"]]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        tasks = ecs.describe_tasks(cluster="default", tasks=arns)["tasks"]
        assert len(tasks) == 3, tasks
        if all(task["lastStatus"] == "RUNNING" for task in tasks):
            break
        time.sleep(0.1)
    return arns


def signed_request(port: int, arns: list[str]) -> tuple[dict[str, str], str]:
    """Headers and body of DescribeTasks as boto3 signs them, and sends them once."""
    ecs = client(port)
    kept: list[Any] = []
    ecs.meta.events.register("before-send.ecs.DescribeTasks", lambda request, **_: kept.append(request))
    assert len(ecs.describe_tasks(cluster="default", tasks=arns)["tasks"]) == 3
    sent = kept[0]
    text = {k: v.decode() if isinstance(v, bytes) else str(v) for k, v in sent.headers.items()}
    return {k: v for k, v in text.items() if k.lower() != "content-length"}, sent.body.decode()


def load(port: int, arns: list[str], seconds: float) -> float:
    """Requests per second that are answered, all with 200."""
    headers, body = signed_request(port, arns)
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{body}]==]"]
    lines += [f"wrk.headers[ [==[{name}]==] ] = [==[{value}]==]" for name, value in headers.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join(lines))
        script.flush()
        output = subprocess.run(
            [
                "wrk",
                "-t1",
                f"-c{CONNECTIONS}",
                f"-d{seconds:g}s",
                "-s",
                script.name,
                f"http://127.0.0.1:{port}/",
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    assert "Non-2xx" not in output and "Socket errors" not in output, output
    found = re.search(r"Requests/sec:\s*([\d.]+)", output)
    assert found, output
    return float(found[1])


def check_signatures_are_verified(port: int, arns: list[str]) -> None:
    headers, body = signed_request(port, arns)
    headers["Authorization"] = headers["Authorization"][:-4] + "0000"
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body.encode(), headers)
    try:
        urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        assert error.code in (400, 403), error
        return
    raise SystemExit("neargate took a wrong signature")


def measure(names: Collection[str], seconds: float, rounds: int) -> dict[str, float]:
    """Median requests per second of each server."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        ready = []
        for target in (t for t in TARGETS if t.name in names):
            port = stack.enter_context(started(target))
            ready.append((target.name, port, three_tasks(port)))
            if target.name == "neargate":
                check_signatures_are_verified(port, ready[-1][2])
        for _ in range(rounds):
            for name, port, arns in ready:
                load(port, arns, 1.0)
                rates.setdefault(name, []).append(load(port, arns, seconds))
    return {name: median(values) for name, values in rates.items()}


def run(names: Collection[str] = (), seconds: float = 5.0, rounds: int = 3) -> list[Figure]:
    medians = measure(names or [target.name for target in TARGETS], seconds, rounds)
    figures = [Figure(f"DescribeTasks, {name}", rate, "1/s") for name, rate in medians.items()]
    ours = medians.get("neargate")
    for target in TARGETS:
        if ours and target.package and target.name in medians:
            ratio = ours / medians[target.name]
            figures.append(Figure(f"DescribeTasks, times {target.name}", ratio, "x", f">= {target.least:g}"))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], help="a server's name; may be repeated")
    arguments = parser.parse_args()
    show("describe_tasks", run(arguments.only, arguments.seconds, arguments.rounds))


if __name__ == "__main__":
    main()
