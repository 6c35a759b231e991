"""Log lines for a router among the sandbox's own containers: its file, its socket, and what is sent there."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from neargate.model.sandbox import ContainerSpec, LogSink, Mount
from neargate.node.drivers.base import DriverError, Sandbox
from neargate.oci.images import Image
from neargate.oci.manifest import ImageConfig
from tests.contracts.drivers.rig import Rig, eventually, lines, shell
from tests.support import forward
from tests.support.python_image import ENTRYPOINT, ENVIRONMENT, python_erofs

SOCKET = (".firelens", "fluent.sock")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    path = python_erofs(tmp_path_factory.mktemp("python"), Path(forward.__file__))
    return Image("sha256:2", "sha256:3", path, 1, ImageConfig(entrypoint=ENTRYPOINT, env=ENVIRONMENT), 1)


def router(**settings: Any) -> ContainerSpec:
    return ContainerSpec(
        name="router",
        image="python",
        runtime_id=f"{'1' * 32}-1",
        log=LogSink(group="g", stream="s"),
        mounts=(Mount(volume=SOCKET[0], target="/var/run", owned=True),),
        files=((forward.CONFIG, "the configuration\n"),),
        **settings,
    )


def app(script: str = "sleep 600") -> ContainerSpec:
    return shell("app", script, log=LogSink(group="", stream="tag", router="router", socket=SOCKET))


async def send(sandbox: Sandbox, *records: dict[str, str], chunk: str = "c", fresh: bool = False) -> bytes:
    message = ["tag", [[7, record] for record in records], {"chunk": chunk, "size": len(records)}]
    data = bytes(msgpack.packb(message))
    return await sandbox.post("app", SOCKET, data, fresh=fresh, answered=True)


async def first_sent(sandbox: Sandbox) -> bytes:
    async with asyncio.timeout(60):
        while True:
            try:
                return await send(sandbox, {"log": "first"}, chunk="1", fresh=True)
            except DriverError as error:
                assert "no such file" in str(error) or "refused" in str(error), error
                await asyncio.sleep(0.05)


def said(sandbox: Sandbox) -> list[dict[str, Any]]:
    *whole, _rest = lines(sandbox, "router").split("\n")
    return [json.loads(line) for line in whole]


@pytest.fixture
async def sandbox(rig: Rig, image: Image, request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    own = router(**getattr(request, "param", {}))
    made = await rig.open(own, app())
    await made.start(own, image)
    await made.start(app(), rig.image())
    yield made


@pytest.mark.parametrize("sandbox", [{}, {"user": "1000:1000"}], indirect=True, ids=["root", "user"])
async def test_a_router_takes_and_answers(sandbox: Sandbox) -> None:
    assert await first_sent(sandbox) == forward.acknowledgement("1")
    big = "x" * 200_000
    assert await send(sandbox, {"log": "second"}, {"log": big}, chunk="2") == forward.acknowledgement("2")
    await eventually(lambda: len(said(sandbox)) == 4, "all is said")
    found, *messages = said(sandbox)
    assert found == {"config": "the configuration\n", "kept": True}
    assert [(m["chunk"], m["record"]["log"]) for m in messages] == [
        ("1", "first"),
        ("2", "second"),
        ("2", big),
    ]


async def test_a_router_that_is_started_again_is_found_again(sandbox: Sandbox, image: Image) -> None:
    await first_sent(sandbox)
    await sandbox.signal("router", 15)
    await eventually(lambda: not sandbox.states["router"].running, "it has stopped")
    with pytest.raises(DriverError):
        await send(sandbox, {"log": "lost"}, fresh=True)
    await sandbox.start(router(), image)
    assert await first_sent(sandbox) == forward.acknowledgement("1")


async def test_a_link_in_the_place_of_the_socket_leads_nowhere(rig: Rig) -> None:
    mounts = (Mount(volume=SOCKET[0], target="/var/run"),)
    script = "ln -s /proc/self/exe /var/run/fluent.sock; mkfifo /var/run/fifo; echo made; sleep 600"
    sandbox = await rig.run(shell("router", script, mounts=mounts), app())
    await eventually(lambda: lines(sandbox, "router") == "made\n", "made")
    for name in ("fluent.sock", "fifo", "../../shim.sock"):
        with pytest.raises(DriverError, match="socket"):
            await sandbox.post("app", (SOCKET[0], name), b"x", fresh=False, answered=False)
