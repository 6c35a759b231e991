"""Services: a killed task replaced, a rolling update of ten tasks, the first answer from zero, 500 at rest.

Root only. The first three run real containers (process tier, cached image) behind a real balancer; the last
runs a daemon with the fake driver, and counts all that the daemon does.
"""

import asyncio
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Figure, median, percentile
from neargate.control.services.loop import Services
from neargate.kit.clock import Clock, SystemClock
from neargate.kit.ids import Ids, SystemIds
from neargate.kit.settings import Settings
from neargate.state.catalog_services import SERVICE
from neargate.state.sqlite import SqliteStore
from neargate.state.store import Store
from tests.support.fleet import Fleet
from tests.support.real import RealDaemon, eventually

KILLS, UPDATES, WAKES = 10, 3, 10
SERVICES, TASKS, REST_SECONDS = 500, 2, 30


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        place = Path(work)
        with RealDaemon(place / "data") as daemon:
            fleet = Fleet(daemon, place)
            killed = _killed(fleet)
            updated = _updated(fleet)
            woken = _woken(fleet)
        share, resync, made = _at_rest(place)
    return [
        Figure("killed task replaced and serving, median", median(killed), "s", "<= 1", f"n={KILLS}"),
        Figure("killed task replaced and serving, longest", max(killed), "s"),
        Figure("rolling update of ten tasks", median(updated), "s", "<= 5", f"n={UPDATES}"),
        Figure("first answer from zero, median", median(woken) * 1000, "ms", "<= 300", f"n={WAKES}"),
        Figure("first answer from zero, p90", percentile(woken, 0.9) * 1000, "ms"),
        Figure("500 services at rest, of one core", share * 100, "%", "<= 2", f"over {REST_SECONDS} s"),
        Figure("500 services, full resync", resync, "s", "<= 1"),
        Figure("500 services of 2 tasks made, to steady", made, "s"),
    ]


def _definition(fleet: Fleet, family: str, version: int = 0) -> str:
    """Of a web server that starts at once: what is measured is not its own start."""
    script = "mkdir /w; echo ok | tee /w/health > /w/index.html; exec httpd -f -p 8080 -h /w"
    container = {
        "entryPoint": ["/bin/sh", "-c"],
        "command": [script],
        "linuxParameters": {"initProcessEnabled": True},
    }
    return fleet.definition(str(version), family, image=fleet.small_image, container=container)


def _behind(fleet: Fleet, name: str, count: int, **more: Any) -> tuple[str, str]:
    """(group, balancer) of a new service, all of which serves."""
    group, balancer = fleet.group(name), fleet.balancer(name)
    fleet.listener(balancer, 80, group)
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "0"}
    fleet.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[delay])
    fleet.create(name, _definition(fleet, name), count, group, **more)
    fleet.serving(group, count)
    fleet.stable(name)
    return group, balancer


def _addresses(fleet: Fleet, group: str) -> set[str]:
    """Of the targets that are healthy."""
    found = fleet.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    return {t["Target"]["Id"] for t in found if t["TargetHealth"]["State"] == "healthy"}


def _killed(fleet: Fleet) -> list[float]:
    """Seconds from the kill of one of three tasks until a new one is healthy behind the balancer."""
    group, _ = _behind(fleet, "killed", 3)
    found = []
    for _ in range(KILLS):
        before = _addresses(fleet, group)
        arn = fleet.tasks("killed")[0]
        began = time.monotonic()
        assert fleet.kill_task(arn)

        def replaced(before: set[str] = before) -> bool:
            now = _addresses(fleet, group)
            return len(now) == 3 and bool(now - before)

        eventually(replaced, "the task is replaced")
        found.append(time.monotonic() - began)
        time.sleep(1)
    fleet.remove("killed")
    return found


def _updated(fleet: Fleet) -> list[float]:
    """Seconds from UpdateService until ten new tasks serve and no old one is left."""
    group, _ = _behind(fleet, "updated", 10)
    found = []
    for version in range(UPDATES):
        definition = _definition(fleet, "updated", version + 1)
        time.sleep(2)
        began = time.monotonic()
        fleet.update("updated", taskDefinition=definition)
        fleet.stable("updated", definition=definition)
        found.append(time.monotonic() - began)
        assert len(_addresses(fleet, group)) == 10
    fleet.remove("updated")
    return found


def _woken(fleet: Fleet) -> list[float]:
    """Seconds until a request to a service of no tasks is answered."""
    group, balancer = _behind(fleet, "zero", 1)
    wish = [{"Key": "neargate.scale_to_zero.enabled", "Value": "true"}]
    fleet.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=wish)
    url = f"http://{fleet.address(balancer)}/"
    found = []
    for _ in range(WAKES):
        fleet.update("zero", desiredCount=0)
        eventually(lambda: not fleet.tasks("zero") and not _addresses(fleet, group), "no task is left")
        time.sleep(1)
        command = [
            "curl",
            "-sS",
            "--noproxy",
            "*",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{time_total}",
            url,
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        status, seconds = told.split()
        assert status == "200", told
        found.append(float(seconds))
        fleet.stable("zero")
    fleet.remove("zero")
    return found


# -- many ----------------------------------------------------------------------------------------------


def _at_rest(place: Path) -> tuple[float, float, float]:
    """(share of a core that the daemon takes, seconds of a full look, seconds to make all of it)."""
    data = place / "many"
    wide = {"NEARGATE_OVERCOMMIT_CPU": "1000", "NEARGATE_OVERCOMMIT_MEMORY": "1000"}
    fake = {"NEARGATE_ISOLATION": "fake", "NEARGATE_SERVICE_HEALTHY_SECONDS": "1"}
    with RealDaemon(data, **wide, **fake) as daemon:
        began = time.monotonic()
        _make_many(daemon)
        eventually(lambda: _running(daemon) == SERVICES * TASKS, "all tasks are running", 300)
        made = time.monotonic() - began
        time.sleep(20)
        before = _processor(daemon.pid)
        time.sleep(REST_SECONDS)
        share = (_processor(daemon.pid) - before) / REST_SECONDS
        daemon.kill()
        copy = place / "copy"
        copy.mkdir()
        for path in data.glob("truth.db*"):
            shutil.copy(path, copy)
        daemon.up()
    return share, asyncio.run(_resync(copy)), made


def _make_many(daemon: RealDaemon) -> None:
    ecs = daemon.client("ecs", max_pool_connections=16)
    subnets = [s["SubnetId"] for s in daemon.client("ec2").describe_subnets()["Subnets"]]
    ecs.create_cluster(clusterName="many")
    ecs.register_task_definition(
        family="many",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "c", "image": "busybox"}],
    )

    def create(number: int) -> None:
        ecs.create_service(
            cluster="many",
            serviceName=f"service-{number}",
            taskDefinition="many",
            desiredCount=TASKS,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(SERVICES)))


def _running(daemon: RealDaemon) -> int:
    cluster = daemon.client("ecs").describe_clusters(clusters=["many"])["clusters"][0]
    return int(cluster["runningTasksCount"])


def _processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@dataclass
class _Parts:
    settings: Settings
    store: Store
    clock: Clock
    ids: Ids


async def _resync(directory: Path) -> float:
    async with SqliteStore(directory / "truth.db") as store:
        loop = Services(_Parts(Settings.load({}), store, SystemClock(), SystemIds()))
        began = time.monotonic()
        everything = await store.scan(lambda tx: tx.ids(SERVICE, "open", "yes"))
        assert len(everything) == SERVICES
        await loop.work(everything)
        return time.monotonic() - began
