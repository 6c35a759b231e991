"""`ecs-deploy` from PyPI, unmodified: it deploys, scales and rolls back."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.fleet import Fleet, fleet_of
from tests.support.real import BIN


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of(tmp_path_factory.mktemp("fleet"), NEARGATE_SERVICE_HEALTHY_SECONDS="5") as fleet:
        fleet.create("web", fleet.definition("1"), 2)
        fleet.stable("web")
        yield fleet


def _ecs(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "ecs"), *arguments],
        env=fleet.daemon.aws_environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )


def _version(fleet: Fleet) -> str:
    arn = fleet.describe("web")["taskDefinition"]
    body = fleet.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
    return str({e["name"]: e["value"] for e in body["containerDefinitions"][0]["environment"]}["VERSION"])


def test_it_deploys(fleet: Fleet) -> None:
    before = set(fleet.tasks("web"))
    done = _ecs(
        fleet, "deploy", "fleet", "web", "-e", "web", "VERSION", "2", "--timeout", "120", "--sleep-time", "1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Deployment successful" in done.stdout
    assert _version(fleet) == "2" and not before & set(fleet.tasks("web"))


def test_it_scales(fleet: Fleet) -> None:
    done = _ecs(fleet, "scale", "fleet", "web", "3", "--timeout", "120", "--sleep-time", "1")
    assert done.returncode == 0 and "Scaling successful" in done.stdout, done.stdout + done.stderr
    assert len(fleet.tasks("web")) == 3 == fleet.describe("web")["runningCount"]


def test_it_rolls_back_what_cannot_start(fleet: Fleet) -> None:
    version = _version(fleet)
    arguments = ["-e", "web", "EXITS", "3", "--rollback", "--timeout", "45", "--sleep-time", "1"]
    done = _ecs(fleet, "deploy", "fleet", "web", *arguments)
    assert done.returncode != 0 and "Rollback successful" in done.stdout, done.stdout + done.stderr
    fleet.stable("web")
    assert _version(fleet) == version
