"""Whether a tier's way of running containers works on this machine: a sandbox with one is run for real.

Called by driver.py (about 40 ms with crun). It tells more than any list of kernel features would.
"""

import asyncio
import base64
import zlib
from pathlib import Path

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node.drivers.base import Driver, DriverError
from neargate.node.shim import files
from neargate.oci.images import Image
from neargate.oci.manifest import ImageConfig

_EMPTY_IMAGE = (
    "eNpjYBgFo2AUjFTw6OHXB+Upch+ZgWweBhUGRixqGGloPwsQv3VkYpCG8v8DAbK8CpSWYGCCsyWBbD09vdHIGwWjYBSM"
    "glEwCkbBKBgFo4BEAADJRQwK"
)
"""zlib and base64 of what mkfs.erofs makes of an empty directory; the init is bound into it."""
SANDBOX = "0" * 31 + "1"
_COMMAND = ("/dev/init", "--version")


async def failure(driver: Driver, root: Path, seconds: float) -> str | None:
    """Why a container cannot be run with the driver as it is set up now; None if it can."""
    directory = root / "probe"
    directory.mkdir(exist_ok=True, mode=0o700)
    path = directory / "empty.erofs"
    path.write_bytes(zlib.decompress(base64.b64decode(_EMPTY_IMAGE)))
    image = Image("", "", path, path.stat().st_size, ImageConfig(), 0)
    spec = SandboxSpec(id=SANDBOX, containers=(), interface=None, cpu=1024, memory=64 << 20)
    container = ContainerSpec(name="probe", image="", runtime_id="probe-1", command=_COMMAND, init=True)
    ended = asyncio.Event()
    try:
        async with asyncio.timeout(seconds):
            sandbox = await driver.open(spec, directory)
            sandbox.watch(ended.set)
            try:
                await sandbox.start(container, image)
                while sandbox.states["probe"].running:
                    await ended.wait()
                    ended.clear()
            finally:
                await sandbox.destroy()
        code = sandbox.states["probe"].exit_code
    except DriverError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {seconds:.0f} s"
    finally:
        await asyncio.to_thread(files.remove_tree, str(directory))
    return None if code == 0 else f"a container ended with exit code {code}"
