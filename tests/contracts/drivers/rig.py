"""What the driver suite runs on: an image made of busybox, a driver of its own instance, and short ways
to ask.
"""

import asyncio
import contextlib
import itertools
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neargate.model.sandbox import ContainerSpec, InterfaceSpec, LogSink, SandboxSpec
from neargate.node.drivers.base import Driver, Sandbox
from neargate.node.drivers.gvisor.driver import GvisorDriver
from neargate.node.drivers.microvm.driver import MicrovmDriver
from neargate.node.drivers.process import ProcessDriver
from neargate.node.network import claims
from neargate.node.spool import FRAME
from neargate.oci.images import Image
from neargate.oci.manifest import ImageConfig

MIB = 1024 * 1024
TIERS = ("process", "gvisor", "microvm")
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
VERDICT = Path(tempfile.gettempdir()) / f"neargate-verdict-{os.getuid()}-{_WORKER}.json"
"""What runs runsc on this machine is tried once by each process of tests, not in each test."""
CACHE = Path(tempfile.gettempdir()) / f"neargate-microvm-{os.getuid()}"
"""Guest image and templates of microVMs are made once, too."""
_PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:web:/home/web:/bin/sh\nother:x:12345:12345::/:/bin/sh\n"
)
_GROUP = "root:x:0:\nweb:x:1001:\nstaff:x:50:web\nlogs:x:60:other,web\n"


def build_image(directory: Path) -> Path:
    """An EROFS file with all of busybox's applets, and users root and web; with mount points, as the image
    store makes it."""
    tree = directory / "tree"
    directory.mkdir(exist_ok=True)
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "home/web", "data"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", tree / "bin/busybox")
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    (tree / "tmp").chmod(0o1777)
    for name in ("hostname", "hosts", "resolv.conf"):
        (tree / "etc" / name).touch()
    (tree / "etc/passwd").write_text(_PASSWD)
    (tree / "etc/group").write_text(_GROUP)
    (tree / "outside").symlink_to("../../../../../../../../etc")
    (tree / "home/web/kept").write_text("kept\n")
    (tree / "home/web").chmod(0o750)
    for path in (tree / "home/web", tree / "home/web/kept"):
        os.chown(path, 1000, 1001)
    (tree / "etc/notexec").write_text("data")
    path = directory / "busybox.erofs"
    subprocess.run(["mkfs.erofs", str(path), str(tree)], check=True, capture_output=True)
    return path


def only(*tiers: str, why: str) -> pytest.MarkDecorator:
    """Mark a test that the other tiers cannot be asked."""
    return pytest.mark.only(tiers, why)


def new_driver(tier: str, root: Path, instance: str, cidr: str) -> Driver:
    if tier == "gvisor":
        return GvisorDriver(root, instance, cidr, verdict=VERDICT)
    if tier == "microvm":
        return MicrovmDriver(root, instance, cidr, CACHE, "tcg")
    return ProcessDriver(root, instance, cidr)


def free_range(instance: str, first: int) -> str:
    """A range that no other daemon of this machine has: other suites may run beside this one. Each process
    of tests looks among twelve of its own first.
    """
    start = int(_WORKER.removeprefix("gw")) * 12 + first % 12
    ranges = (f"10.{200 + (start + n) % 50}.0.0/16" for n in range(50))
    return next(cidr for cidr in ranges if not claims.clash(instance, cidr))


class Rig:
    """A driver, opened, and the sandboxes that a test makes with it."""

    def __init__(self, directory: Path, image: Path, subnet: int, tier: str = "process") -> None:
        self.directory = directory
        self.tier = tier
        self.instance = secrets.token_hex(3)
        self.cidr = free_range(self.instance, subnet)
        self._net = self.cidr.removesuffix(".0.0/16")
        self.image_path = image
        self._numbers = itertools.count(10)
        self.driver = self.new_driver()
        self.sandboxes: list[Sandbox] = []
        self.specs: dict[str, SandboxSpec] = {}

    def new_driver(self) -> Driver:
        return new_driver(self.tier, self.directory / "driver", self.instance, self.cidr)

    async def reopen(self) -> None:
        """The daemon goes and comes again."""
        await self.driver.__aexit__(None, None, None)
        self.driver = self.new_driver()
        await self.driver.__aenter__()

    async def close(self) -> None:
        await self.driver.sweep(())
        await self.driver.teardown()
        await self.driver.__aexit__(None, None, None)

    def image(self, **config: Any) -> Image:
        return Image("sha256:0", "sha256:1", self.image_path, 1, ImageConfig(**config), 1)

    def spec(self, *containers: ContainerSpec, **settings: Any) -> SandboxSpec:
        number = next(self._numbers)
        interface = InterfaceSpec(
            id=f"eni-{number}",
            mac=f"0a:00:00:00:00:{number:02x}",
            address=f"{self._net}.0.{number}",
            subnet_cidr=f"{self._net}.0.0/24",
            gateway=f"{self._net}.0.1",
            dns_name=f"ip-10-0-0-{number}.ec2.internal",
            dns_servers=("192.0.2.53",),
        )
        defaults: dict[str, Any] = {"interface": interface, "cpu": 1024, "memory": 256 * MIB}
        return SandboxSpec(id=secrets.token_hex(16), containers=containers, **{**defaults, **settings})

    def directory_of(self, spec: SandboxSpec) -> Path:
        path = self.directory / "sandboxes" / spec.id
        path.mkdir(parents=True, exist_ok=True)
        return path

    async def open(self, *containers: ContainerSpec, **settings: Any) -> Sandbox:
        spec = self.spec(*containers, **settings)
        sandbox = await self.driver.open(spec, self.directory_of(spec))
        self.sandboxes.append(sandbox)
        self.specs[sandbox.id] = spec
        return sandbox

    async def run(self, *containers: ContainerSpec, **settings: Any) -> Sandbox:
        """Open a sandbox and start its containers, in order."""
        sandbox = await self.open(*containers, **settings)
        for container in containers:
            await sandbox.start(container, self.image())
        return sandbox

    async def output(self, script: str, **settings: Any) -> str:
        """What a shell script writes, run to its end in a container."""
        sandbox = await self.run(shell("c", script, **settings))
        await ended(sandbox, "c")
        text = lines(sandbox, "c")
        await sandbox.destroy()
        return text


def shell(name: str, script: str, **settings: Any) -> ContainerSpec:
    defaults: dict[str, Any] = {
        "command": ("sh", "-c", script),
        "log": LogSink(group="g", stream="s"),
        "runtime_id": f"{secrets.token_hex(16)}-1",
    }
    return ContainerSpec(name=name, image="busybox", **{**defaults, **settings})


async def eventually(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds) as limit:
        with contextlib.suppress(asyncio.CancelledError):
            while not condition():  # noqa: ASYNC110 - files and processes tell nobody
                await asyncio.sleep(0.005)
    assert not limit.expired(), f"not within {seconds} s: {what}"


async def ended(sandbox: Sandbox, container: str, seconds: float = 60) -> int | None:
    """Wait for a container's end; its exit code."""
    changed = asyncio.Event()
    sandbox.watch(changed.set)
    async with asyncio.timeout(seconds):
        while container not in sandbox.states or sandbox.states[container].running:
            await changed.wait()
            changed.clear()
    await eventually(
        lambda: not sandbox.spool(container).exists() or (sandbox.spool(container) / "end").exists(), "end"
    )
    return sandbox.states[container].exit_code


def frames(spool: Path) -> list[tuple[int, int, bytes]]:
    """(stream, flags, payload) of all frames in a spool."""
    data = b"".join(segment.read_bytes() for segment in sorted(spool.glob("*.seg")))
    found, at = [], 0
    while at < len(data):
        stream, flags, _, length, _ = FRAME.unpack_from(data, at)
        at += FRAME.size + length
        found.append((stream, flags, data[at - length : at]))
    return found


def lines(sandbox: Sandbox, container: str, stream: int | None = None) -> str:
    found = frames(sandbox.spool(container))
    return b"".join(p for s, _, p in found if stream in (None, s)).decode(errors="replace")
