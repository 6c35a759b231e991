"""ECS Exec, keystroke to echo: `neargate exec -it` at a terminal, beside `docker exec -it` on this machine.

The clock starts when a key is written to the terminal that the client has, and ends when its echo is there:
through the client, the door, the node, the container's terminal and back. The next key comes 10 ms later.
"""

import os
import pty
import select
import subprocess
import tempfile
import time
import tty
from pathlib import Path

from bench.measure import Figure, median, percentile
from bench.run_task import dockerd
from tests.support.images import busybox_image
from tests.support.real import BIN, RealDaemon, eventually

KEYS = 300
_KEY = b"k"
_ROLE = "arn:aws:iam::000000000000:role/task"


def run() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        place = Path(work)
        layout = busybox_image(place / "image", entrypoint=["/bin/sleep"], cmd=["600"])
        for tier in ("process", "gvisor"):
            with RealDaemon(place / tier, NEARGATE_ISOLATION=tier) as daemon:
                samples = _ours(daemon, layout)
            figures += [
                Figure(f"keystroke to echo, {tier}, median", median(samples), "ms", "<= 20"),
                Figure(f"keystroke to echo, {tier}, p99", percentile(samples, 0.99), "ms", "", f"n={KEYS}"),
            ]
        with dockerd(place) as docker:
            samples = _theirs(docker, layout)
    return [*figures, Figure("docker exec -it, median", median(samples), "ms", "", f"n={KEYS}")]


def _ours(daemon: RealDaemon, layout: Path) -> list[float]:
    ecs = daemon.client("ecs")
    ecs.create_cluster(clusterName="bench")
    definition = ecs.register_task_definition(
        family="bench", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
        executionRoleArn=_ROLE, taskRoleArn=_ROLE,
        containerDefinitions=[{"name": "main", "image": daemon.push(layout, "bench"), "stopTimeout": 2}],
    )["taskDefinition"]["taskDefinitionArn"]  # fmt: skip
    subnet = daemon.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    task = ecs.run_task(
        cluster="bench", taskDefinition=definition, launchType="FARGATE", enableExecuteCommand=True,
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet]}},
    )["tasks"][0]["taskArn"]  # fmt: skip

    def running() -> bool:
        status: str = ecs.describe_tasks(cluster="bench", tasks=[task])["tasks"][0]["lastStatus"]
        return status == "RUNNING"

    eventually(running, "the task runs")
    command = [str(BIN / "neargate"), "exec", "-it", task, "/bin/cat"]
    return _type(command, daemon.environment)


def _theirs(docker: str, layout: Path) -> list[float]:
    target = ["--dest-daemon-host", docker, f"oci:{layout}:latest", "docker-daemon:bench:latest"]
    subprocess.run(["skopeo", "copy", "-q", *target], check=True)
    client = ["docker", "-H", docker]
    subprocess.run([*client, "run", "--detach", "--name", "bench", "bench"], check=True, capture_output=True)
    samples = _type([*client, "exec", "-it", "bench", "/bin/cat"], dict(os.environ))
    subprocess.run([*client, "rm", "--force", "bench"], check=True, capture_output=True)
    return samples


def _type(command: list[str], environment: dict[str, str]) -> list[float]:
    """Milliseconds from each key to its echo."""
    pid, terminal = pty.fork()
    if not pid:
        os.execvpe(command[0], command, environment)
    try:
        # Raw from the first moment: what comes back is the container's echo, not that of this terminal.
        tty.setraw(terminal)
        while not _echoes(terminal, 0.5):  # until the client is there
            continue
        time.sleep(1)
        os.read(terminal, 65536) if select.select([terminal], [], [], 0)[0] else b""
        samples = []
        for _ in range(KEYS):
            time.sleep(0.01)
            began = time.perf_counter()
            assert _echoes(terminal, 10), "a key was lost"
            samples.append((time.perf_counter() - began) * 1000)
        return samples
    finally:
        os.write(terminal, b"\r\x04")
        os.waitpid(pid, 0)
        os.close(terminal)


def _echoes(terminal: int, seconds: float) -> bool:
    """Press a key; whether its echo came in time."""
    os.write(terminal, _KEY)
    while select.select([terminal], [], [], seconds)[0]:
        if _KEY in os.read(terminal, 65536):
            return True
    return False
