"""RunTask to RUNNING, image cached, one container, beside `docker run` on the same machine.

The clock starts before the signed call and ends when DescribeTasks says RUNNING (asked every 2 ms). Docker is
Debian's dockerd in a network namespace of its own; `docker run --detach` returns when the container runs.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.measure import Figure, median, percentile
from tests.support.images import busybox_image
from tests.support.real import RealDaemon, eventually

ROUNDS = 60


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        place = Path(work)
        layout = busybox_image(place / "image", entrypoint=["/bin/sleep"], cmd=["600"])
        with RealDaemon(place / "data") as daemon, dockerd(place) as docker:
            definition, network = prepare(daemon, layout)
            subprocess.run(
                ["skopeo", "copy", "-q", "--dest-daemon-host", docker, f"oci:{layout}:latest",
                 "docker-daemon:bench:latest"],
                check=True,
            )  # fmt: skip
            ours, theirs = [], []
            for number in range(ROUNDS):
                ours.append(start_and_stop(daemon, definition, network))
                if number % 3 == 0:
                    theirs.append(_docker_run(docker))
    ratio = median(ours) / median(theirs)
    return [
        Figure("RunTask to RUNNING, median", median(ours), "ms", "<= 60"),
        Figure("RunTask to RUNNING, p99", percentile(ours, 0.99), "ms", "<= 150", f"n={len(ours)}"),
        Figure("docker run --detach, median", median(theirs), "ms", "", f"n={len(theirs)}"),
        Figure("RunTask / docker run", ratio, "", "<= 0.3"),
    ]


def prepare(daemon: RealDaemon, layout: Path) -> tuple[str, dict[str, Any]]:
    """A cluster `bench` and a definition of one sleeping container whose image is built."""
    image = daemon.push(layout, "bench")
    ecs = daemon.client("ecs")
    ecs.create_cluster(clusterName="bench")
    definition = ecs.register_task_definition(
        family="bench",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn="arn:aws:iam::000000000000:role/execution",
        containerDefinitions=[{"name": "main", "image": image, "stopTimeout": 2}],
    )["taskDefinition"]["taskDefinitionArn"]
    subnet = daemon.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    network = {"awsvpcConfiguration": {"subnets": [subnet]}}
    start_and_stop(daemon, definition, network)
    return definition, network


def start_and_stop(
    daemon: RealDaemon, definition: str, network: dict[str, Any], pause: float = 0.002
) -> float:
    """Milliseconds from RunTask to RUNNING. pause -- seconds between two questions."""
    ecs = daemon.client("ecs")
    ecs.describe_clusters()  # the connection is open, as any long-lived client's is
    began = time.perf_counter()
    task = ecs.run_task(
        cluster="bench", taskDefinition=definition, launchType="FARGATE", networkConfiguration=network
    )["tasks"][0]["taskArn"]
    while True:
        state = ecs.describe_tasks(cluster="bench", tasks=[task])["tasks"][0]
        if state["lastStatus"] == "RUNNING":
            break
        assert state["lastStatus"] != "STOPPED", state
        time.sleep(pause)
    took = (time.perf_counter() - began) * 1000
    ecs.stop_task(cluster="bench", task=task)
    eventually(
        lambda: ecs.describe_tasks(cluster="bench", tasks=[task])["tasks"][0]["lastStatus"] == "STOPPED",
        "stopped",
    )
    return took


def _docker_run(docker: str) -> float:
    client = ["docker", "-H", docker]
    began = time.perf_counter()
    done = subprocess.run(
        [*client, "run", "--detach", "bench:latest"], check=True, capture_output=True, text=True
    )
    took = (time.perf_counter() - began) * 1000
    subprocess.run([*client, "rm", "--force", done.stdout.strip()], check=True, capture_output=True)
    return took


@contextlib.contextmanager
def dockerd(place: Path) -> Iterator[str]:
    """Debian's dockerd with its default bridge, in its own network namespace; yields its address."""
    address = f"unix://{place}/docker.sock"
    command = [
        "unshare", "--net", "--mount", "sh", "-c",
        "ip link set lo up && umount /sys/fs/cgroup/unified 2>/dev/null; exec dockerd"
        f" --host {address} --data-root {place}/docker --exec-root {place}/docker-run"
        f" --pidfile {place}/docker.pid",
    ]  # fmt: skip
    with (place / "docker.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        ask = ["docker", "-H", address, "info"]
        eventually(lambda: subprocess.run(ask, capture_output=True).returncode == 0, "dockerd answers", 60)
        yield address
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(30)
