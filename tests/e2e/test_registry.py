"""Images from foreign registries, for real: Debian's docker-registry behind TLS, open, with a password, with
tokens, and through a proxy that cuts the line.
"""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from neargate.oci import digest as digests
from neargate.oci.manifest import OCI_INDEX, host_architecture
from tests.e2e.conftest import Stack
from tests.support import foreign
from tests.support.foreign import PASSWORD, USER, Pki
from tests.support.images import busybox_layer, write_layout
from tests.support.real import RealDaemon, assert_nothing_left

PATH = {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]}


@dataclass(frozen=True)
class World:
    """A daemon that trusts an authority, and registries on one storage: open, with a login, with tokens."""

    stack: Stack
    pki: Pki
    work: Path
    open: str
    basic: str
    bearer: str

    def push(self, layout: Path, name: str, *more: str) -> None:
        """Into the storage, and so into all three."""
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", *more,
             f"oci:{layout}:latest", f"docker://{self.open}/{name}"],
            check=True, timeout=120,
        )  # fmt: skip

    def run(
        self, image: str, script: str = "cat /etc/which", **more: Any
    ) -> tuple[dict[str, Any], list[str]]:
        """A task of that image run to its end, and what it printed."""
        task, _ = self.stack.finished(self.stack.container(script, image=image, **more))
        started = any("exitCode" in container for container in task["containers"])
        return task, self.stack.lines(task["taskArn"]) if started else []

    def secret(self, name: str, user: str, password: str) -> dict[str, str]:
        """A container's repositoryCredentials."""
        text = json.dumps({"username": user, "password": password})
        made = self.stack.daemon.client("secretsmanager").create_secret(Name=name, SecretString=text)
        return {"credentialsParameter": made["ARN"]}


def layer(text: str) -> bytes:
    return busybox_layer({"etc/which": text + "\n"})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    work = tmp_path_factory.mktemp("foreign")
    pki = foreign.make_pki(work / "pki")
    with ExitStack() as stack:
        tokens = stack.enter_context(foreign.token_auth(pki))
        hosts = [
            stack.enter_context(foreign.registry(work / name, work / "storage", pki, auth))
            for name, auth in (("open", None), ("basic", foreign.basic_auth(work)), ("bearer", tokens))
        ]
        with RealDaemon(work / "data", NEARGATE_REGISTRY_CA_FILE=str(pki.ca)) as daemon:
            daemon.client("logs").create_log_group(logGroupName="/e2e")
            daemon.client("ecs").create_cluster(clusterName="e2e")
            world = World(Stack(daemon, ""), pki, work, *hosts)
            world.push(write_layout(work / "plain", [layer("plain")], PATH), "team/plain:v1")
            yield world
        assert_nothing_left(work / "data")


def test_an_open_registry_over_tls(world: World) -> None:
    task, lines = world.run(f"{world.open}/team/plain:v1")
    assert lines == ["plain"]
    pushed = json.loads((world.work / "plain" / "index.json").read_text())["manifests"][0]["digest"]
    assert task["containers"][0]["imageDigest"] == pushed
    assert task["containers"][0]["image"] == f"{world.open}/team/plain:v1"
    _, lines = world.run(f"{world.open}/team/plain@{pushed}")
    assert lines == ["plain"]


def refused(world: World, image: str, code: str = "CannotPullContainerError", **more: Any) -> str:
    """Why a task was stopped that could not pull."""
    task, lines = world.run(image, **more)
    assert lines == []
    assert task["stopCode"] == "TaskFailedToStart"
    reason: str = task["stoppedReason"]
    assert reason.startswith(f"{code}: "), reason
    return reason


def test_what_a_registry_does_not_have(world: World) -> None:
    reason = refused(world, f"{world.open}/team/plain:v2")
    assert f"failed to resolve ref {world.open}/team/plain:v2" in reason
    assert "not found" in reason


def test_a_registry_of_an_authority_that_nobody_trusts(world: World, tmp_path: Path) -> None:
    other = foreign.make_pki(tmp_path / "other")
    with foreign.registry(tmp_path / "registry", world.work / "storage", other) as host:
        assert "failed to verify certificate" in refused(world, f"{host}/team/plain:v1")


def test_a_registry_that_is_not_there(world: World) -> None:
    with socket.socket() as held:  # bound, so that nobody else has the port, but not listening
        held.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{held.getsockname()[1]}"
        assert "connection refused" in refused(world, f"{gone}/team/plain:v1")


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_login(world: World, kind: str) -> None:
    host = getattr(world, kind)
    denied = "pull access denied, repository does not exist or may require authorization"
    assert denied in refused(world, f"{host}/team/plain:v1")
    wrong = world.secret(f"wrong-{kind}", USER, "not the password")
    assert denied in refused(world, f"{host}/team/plain:v1", repositoryCredentials=wrong)
    right = world.secret(f"right-{kind}", USER, PASSWORD)
    _, lines = world.run(f"{host}/team/plain:v1", repositoryCredentials=right)
    assert lines == ["plain"]


def test_credentials_that_are_none(world: World) -> None:
    image = f"{world.basic}/team/plain:v1"
    arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:none-abcdef"
    none = "ResourceInitializationError"
    reason = refused(world, image, none, repositoryCredentials={"credentialsParameter": arn})
    assert "unable to pull secrets or registry auth: " in reason
    assert "Secrets Manager can't find the specified secret" in reason
    client = world.stack.daemon.client("secretsmanager")
    made = client.create_secret(Name="not-json", SecretString="hunter2")
    reason = refused(world, image, none, repositoryCredentials={"credentialsParameter": made["ARN"]})
    assert "hunter2" not in reason
    log = (world.stack.daemon.data_dir / "daemon.log").read_text()
    assert "hunter2" not in log
    assert PASSWORD not in log


def test_an_interrupted_pull_goes_on_where_it_stopped(world: World) -> None:
    big = os.urandom(8_000_000).hex()
    layout = write_layout(world.work / "big", [layer("big"), busybox_layer({"big": big})], PATH, level=1)
    world.push(layout, "big:v1")
    manifest = json.loads(_manifest(layout))
    with foreign.proxy(world.open, world.pki) as passed:
        passed.cut = manifest["layers"][1]["digest"]
        _, lines = world.run(f"{passed.host}/big:v1", "wc -c < /big")
    assert lines == [str(len(big))]
    asked = passed.asked_for(passed.cut)
    assert asked[0] == ""
    assert len(asked) == 2
    start = int(asked[1].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= passed.was_cut_at


def _manifest(layout: Path) -> bytes:
    entry = json.loads((layout / "index.json").read_text())["manifests"][0]
    return (layout / "blobs" / "sha256" / digests.hex_of(entry["digest"])).read_bytes()


def test_a_layer_that_two_images_share_is_fetched_once(world: World) -> None:
    base = busybox_layer({"base": os.urandom(1_000_000).hex()})
    for name in ("first", "second"):
        layout = write_layout(world.work / name, [base, layer(name)], PATH, level=1)
        world.push(layout, f"{name}:v1")
    shared = json.loads(_manifest(layout))["layers"][0]["digest"]
    with foreign.proxy(world.open, world.pki) as passed:
        for name in ("first", "second"):
            _, lines = world.run(f"{passed.host}/{name}:v1")
            assert lines == [name]
            assert passed.asked_for(shared) == [""]


def test_an_index_gives_each_machine_its_own_image(world: World) -> None:
    top = world.work / "multi"
    entries = []
    for architecture in ("s390x", "amd64", "arm64"):
        write_layout(top, [layer(architecture)], PATH, architecture=architecture)
        entry = json.loads((top / "index.json").read_text())["manifests"][0]
        platform = {"os": "linux", "architecture": architecture}
        entries.append({**entry, "annotations": {}, "platform": platform})
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    (top / "blobs" / "sha256" / digests.hex_of(digests.of(index))).write_bytes(index)
    named = {"org.opencontainers.image.ref.name": "latest"}
    entry = {"mediaType": OCI_INDEX, "digest": digests.of(index), "size": len(index), "annotations": named}
    (top / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    world.push(top, "multi:v1", "--all")
    _, lines = world.run(f"{world.open}/multi:v1")
    assert lines == [host_architecture()]


def test_the_built_in_registry_by_each_of_its_names(world: World) -> None:
    daemon = world.stack.daemon
    image = daemon.push(world.work / "plain", "built/in", "v1")
    _, lines = world.run(image)
    assert lines == ["plain"]
    _, lines = world.run(f"127.0.0.1:{daemon.port}/built/in:v1")
    assert lines == ["plain"]
    assert "not found" in refused(world, image.replace(":v1", ":v2"))
    detail = daemon.client("ecr").describe_images(repositoryName="built/in")["imageDetails"][0]
    assert detail["lastRecordedPullTime"] >= detail["imagePushedAt"]


def test_a_push_goes_on_after_the_daemon_was_killed(world: World) -> None:
    daemon = world.stack.daemon
    ecr = daemon.client("ecr")
    ecr.create_repository(repositoryName="killed")
    password = daemon.aws("ecr", "get-login-password").strip()
    data = os.urandom(6_000_000)
    with httpx.Client(base_url=daemon.endpoint, auth=("AWS", password), trust_env=False, timeout=60) as http:
        kept = http.post("/v2/killed/blobs/uploads/", params={"digest": digests.of(b"kept")}, content=b"kept")
        place = http.post("/v2/killed/blobs/uploads/").headers["location"]
        assert http.patch(place, content=data[:2_500_000]).status_code == 202
        # A chunk under way when the daemon is killed: whatever of it arrived may be there or not.
        with contextlib.suppress(httpx.TransportError):
            http.patch(place, content=_killing(daemon, data[2_500_000:5_000_000]))
        daemon.up()
        assert http.get(kept.headers["location"]).content == b"kept"
        have = int(http.get(place).headers["range"].partition("-")[2]) + 1
        assert 2_500_000 <= have <= 5_000_000
        rest = {"content-range": f"{have}-{len(data) - 1}"}
        assert http.patch(place, content=data[have:], headers=rest).status_code == 202
        done = http.put(place, params={"digest": digests.of(data)})
        assert done.status_code == 201
        assert http.get(done.headers["location"]).content == data


def _killing(daemon: RealDaemon, data: bytes) -> Iterator[bytes]:
    yield data[:2_000_000]
    daemon.kill()
    yield data[2_000_000:]
