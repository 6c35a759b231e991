"""The command line against a real daemon: what a user types, and what it prints."""

import configparser
import json
from pathlib import Path

import pytest

from tests.support.images import busybox_image
from tests.support.real import RealDaemon, assert_nothing_left, leftovers, nothing_left


def test_the_life_of_a_daemon(tmp_path: Path) -> None:
    daemon = RealDaemon(tmp_path / "data")
    with nothing_left(daemon.data_dir):
        assert daemon.cli("status", check=False).returncode == 3
        first = json.loads(daemon.cli("up", "--json").stdout)
        assert first["state"] == "started"
        again = json.loads(daemon.cli("up", "--json").stdout)
        assert (again["state"], again["pid"]) == ("already running", first["pid"])
        status = json.loads(daemon.cli("status", "--json").stdout)
        assert (status["state"], status["running_tasks"]) == ("running", 0)
        assert f"export AWS_ENDPOINT_URL={daemon.endpoint}" in daemon.cli("env").stdout
        assert json.loads(daemon.aws("sts", "get-caller-identity"))["Account"] == "000000000000"
        assert json.loads(daemon.cli("ps", "--json").stdout) == []
        refused = daemon.cli("reset", check=False)
        assert refused.returncode == 1 and "--ephemeral" in refused.stderr
        assert json.loads(daemon.cli("down", "--json").stdout)["state"] == "stopped"
        assert daemon.cli("down").returncode == 0


def test_credentials_are_private_and_a_profile_is_written(tmp_path: Path) -> None:
    config, secrets = tmp_path / "config", tmp_path / "credentials"
    secrets.write_text("[other]\naws_access_key_id = KEEP\n")
    files = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(secrets)}
    with RealDaemon(tmp_path / "data") as daemon:
        daemon.environment.update(files)
        assert (daemon.data_dir / "credentials.json").stat().st_mode & 0o777 == 0o600
        daemon.cli("configure", "--profile", "near")
        keys = configparser.ConfigParser()
        keys.read(secrets)
        assert keys["other"]["aws_access_key_id"] == "KEEP"
        assert keys["near"]["aws_access_key_id"] == daemon.aws_environment()["AWS_ACCESS_KEY_ID"]
        assert secrets.stat().st_mode & 0o777 == 0o600
        settings = configparser.ConfigParser()
        settings.read(config)
        assert settings["profile near"]["endpoint_url"] == daemon.endpoint


def test_two_daemons_side_by_side_and_a_clash(tmp_path: Path) -> None:
    with (
        RealDaemon(tmp_path / "one") as one,
        RealDaemon(tmp_path / "two") as two,
    ):
        one.client("ecs").create_cluster(clusterName="only-in-one")
        assert two.client("ecs").list_clusters()["clusterArns"] == []
        taken = one.environment["NEARGATE_VPC_CIDR"]
        refused = RealDaemon(tmp_path / "three", taken).cli("up", check=False)
        assert refused.returncode == 1 and taken in refused.stderr, refused.stderr
        assert one.cli("status").returncode == two.cli("status").returncode == 0
    for name in ("one", "two", "three"):
        assert_nothing_left(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("up", "--host", "0.0.0.0"), "--tls-cert"),
        (("up", "--isolation", "docker"), "NEARGATE_ISOLATION"),
        (("up", "--vpc-cidr", "1.2.3.4"), "NEARGATE_VPC_CIDR"),
        (("cost", "--by", "colour"), "cluster, family or task"),
        (("ps",), "neargate up"),
    ],
)
def test_mistakes_are_answered_in_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = RealDaemon(tmp_path / "data").cli(*arguments, check=False)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert leftovers(tmp_path / "data") == []


def test_doctor_finds_the_machine_fit(tmp_path: Path) -> None:
    found = json.loads(RealDaemon(tmp_path / "data").cli("doctor", "--json").stdout)
    assert all(finding["ok"] for finding in found if finding["needed"])
    broken = RealDaemon(tmp_path / "data", PATH="/nonexistent").cli("doctor", "--json", check=False)
    assert broken.returncode == 1
    assert "apt-get install -y nftables" in {f["mend"] for f in json.loads(broken.stdout)}


def test_an_image_is_pulled_before_a_task_needs_it(tmp_path: Path) -> None:
    with RealDaemon(tmp_path / "data") as daemon:
        image = daemon.push(busybox_image(tmp_path / "image"), "early")
        pulled = json.loads(daemon.cli("pull", image, "--json").stdout)
        assert pulled["image"] == image and pulled["digest"].startswith("sha256:") and pulled["size"] > 0
        missing = daemon.cli("pull", image.replace("early", "never"), check=False)
        assert missing.returncode == 1 and "not found" in missing.stderr


def test_down_needs_no_setting_of_up(tmp_path: Path) -> None:
    daemon = RealDaemon(tmp_path / "data")
    taken = daemon.environment.pop("NEARGATE_VPC_CIDR")
    with nothing_left(daemon.data_dir):
        daemon.cli("up", "--vpc-cidr", taken)
        daemon.kill()
        daemon.cli("down")
