"""Pull of a 200 MB image from the built-in registry to ready, beside podman and skopeo + umoci.

Ours is the whole way of a task whose image is not there: the clock starts before RunTask and ends when
DescribeTasks says RUNNING (process tier). Theirs: `podman pull` into a fresh --root; `skopeo copy` into a
layout and `umoci unpack` of it. All pull from the same registry over loopback, in turn, each time an image of
its own.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import big_image
from bench.measure import Figure, median
from tests.support.real import RealDaemon, eventually

ROUNDS = 5
SIZE = 200 * big_image.MB
FORMATS = ("gzip", "zstd")
_NO_ZSTD = "umoci of Debian 12 reads no zstd: its gzip figure"


def run() -> list[Figure]:
    times: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        place = Path(work)
        tars = big_image.layers(SIZE)
        with RealDaemon(place / "data") as daemon:
            for compress in FORMATS:
                _push(daemon, place, tars, compress)
            puller = _Puller(daemon, place)
            for number in range(ROUNDS):
                for compress in FORMATS:
                    for name, pull in puller.ways(compress).items():
                        times.setdefault((name, compress), []).append(pull(f"{compress}:v{number}"))
    return [figure for compress in FORMATS for figure in _figures(times, compress)]


def _figures(times: dict[tuple[str, str], list[float]], compress: str) -> list[Figure]:
    ours = median(times["neargate", compress])
    podman = median(times["podman", compress])
    note = "" if ("umoci", compress) in times else _NO_ZSTD
    umoci = median(times.get(("umoci", compress)) or times["umoci", "gzip"])
    title = f"{SIZE // big_image.MB} MB, {compress}"
    return [
        Figure(f"{title}: RunTask to RUNNING, pull included", ours, "ms", "", f"n={ROUNDS}"),
        Figure(f"{title}: podman pull", podman, "ms"),
        Figure(f"{title}: skopeo copy + umoci unpack", umoci, "ms", "", note),
        Figure(f"{title}: ours / podman", ours / podman, "", "<= 0.5"),
        Figure(f"{title}: ours / skopeo + umoci", ours / umoci, "", "<= 0.5"),
    ]


def _push(daemon: RealDaemon, place: Path, tars: list[bytes], compress: str) -> None:
    layout = big_image.write(place / compress, tars, compress)
    daemon.push(layout, compress)
    password = daemon.aws("ecr", "get-login-password").strip()
    for number in range(ROUNDS):
        big_image.variant(layout, f"v{number}")
        _run(
            "skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", f"AWS:{password}",
            f"oci:{layout}:v{number}", f"docker://127.0.0.1:{daemon.port}/{compress}:v{number}",
        )  # fmt: skip


class _Puller:
    """Each way of getting an image of the daemon's registry, as a function of its name to milliseconds."""

    def __init__(self, daemon: RealDaemon, place: Path) -> None:
        self._registry = f"docker://127.0.0.1:{daemon.port}"
        self._credentials = f"AWS:{daemon.aws('ecr', 'get-login-password').strip()}"
        self._place = place
        self._ecs = daemon.client("ecs")
        self._ecs.create_cluster(clusterName="bench")
        subnet = daemon.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
        self._network: dict[str, Any] = {"awsvpcConfiguration": {"subnets": [subnet]}}

    def ways(self, compress: str) -> dict[str, Callable[[str], float]]:
        both: dict[str, Callable[[str], float]] = {"neargate": self.ours, "podman": self.podman}
        return both if compress == "zstd" else {**both, "umoci": self.umoci}

    def ours(self, image: str) -> float:
        definition = self._ecs.register_task_definition(
            family="pull",
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            executionRoleArn="arn:aws:iam::000000000000:role/pull",
            containerDefinitions=[
                {
                    "name": "main",
                    "image": f"000000000000.dkr.ecr.us-east-1.amazonaws.com/{image}",
                    "stopTimeout": 2,
                }
            ],
        )["taskDefinition"]["taskDefinitionArn"]
        began = time.perf_counter()
        task = self._ecs.run_task(
            cluster="bench",
            taskDefinition=definition,
            launchType="FARGATE",
            networkConfiguration=self._network,
        )["tasks"][0]["taskArn"]
        while (status := self._status(task)) != "RUNNING":
            assert status != "STOPPED", self._ecs.describe_tasks(cluster="bench", tasks=[task])
            time.sleep(0.005)
        took = time.perf_counter() - began
        self._ecs.stop_task(cluster="bench", task=task)
        eventually(lambda: self._status(task) == "STOPPED", "the task has stopped")
        return took * 1000

    def _status(self, task: str) -> str:
        return str(self._ecs.describe_tasks(cluster="bench", tasks=[task])["tasks"][0]["lastStatus"])

    def podman(self, image: str) -> float:
        root = self._place / "podman"
        command = [
            "podman", "--root", str(root / "root"), "--runroot", str(root / "run"),
            "--storage-driver", "overlay",
        ]  # fmt: skip
        began = time.perf_counter()
        _run(
            *command, "pull", "--quiet", "--tls-verify=false", "--creds", self._credentials,
            f"{self._registry}/{image}",
        )  # fmt: skip
        took = time.perf_counter() - began
        _run(*command, "rmi", "--all", "--force")  # and its mounts
        shutil.rmtree(root)
        return took * 1000

    def umoci(self, image: str) -> float:
        root = self._place / "umoci"
        root.mkdir()
        began = time.perf_counter()
        _run(
            "skopeo", "copy", "--quiet", "--src-tls-verify=false", "--src-creds", self._credentials,
            f"{self._registry}/{image}", f"oci:{root}/layout:it",
        )  # fmt: skip
        _run("umoci", "unpack", "--image", f"{root}/layout:it", str(root / "bundle"))
        took = time.perf_counter() - began
        shutil.rmtree(root)
        return took * 1000


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(command[:3])}: {done.stdout}{done.stderr}"
