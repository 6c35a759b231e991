"""Chooses what this machine runs sandboxes with, by the settings: the driver, and where its images come
from.

Called by main once at start. Tiers from weak to strong: process, gvisor, microvm. A node offers the tier
of its setting and those above it, as far as they work; the first is what tasks get that demand none.
`auto` takes the strongest that works here.
"""

from pathlib import Path

from neargate.kit.instance import instance_of
from neargate.kit.settings import Settings
from neargate.node.cell import Cell
from neargate.node.drivers.base import Driver
from neargate.node.drivers.fake import FakeDriver, FakeImages
from neargate.node.drivers.gvisor.driver import GvisorDriver
from neargate.node.drivers.microvm.driver import MicrovmDriver
from neargate.node.drivers.process import ProcessDriver
from neargate.node.images import Images, StoredImages
from neargate.node.tiers import Tiers
from neargate.oci.content import ContentStore
from neargate.oci.images import ImageStore

MICROVM_CACHE = Path("/var/cache/neargate/microvm")
"""Guest image and templates, for all daemons of the machine."""
_SHARED_KERNEL = (
    "tasks are isolated by the process tier: namespaces, cgroups and seccomp on one shared kernel;"
    " NEARGATE_ISOLATION=process says that this is wanted, `neargate doctor` why there is nothing better"
)


async def node_parts(
    settings: Settings, blobs: ContentStore, cell: Cell, endpoint: str
) -> tuple[Driver, Images]:
    """The driver, not yet entered, and the images for it. `blobs` are the built-in registry's."""
    if settings.isolation == "fake":
        return FakeDriver(), FakeImages()
    root = settings.data_dir / "images"
    store = ImageStore(root, blobs, settings.image_cache_bytes)
    return _tiers(settings), StoredImages(store, cell, settings, endpoint, root=root)


def _tiers(settings: Settings) -> Tiers:
    instance, chosen = instance_of(settings.data_dir), settings.isolation
    process = ProcessDriver(settings.data_dir / "process", instance, settings.vpc_cidr)
    gvisor = GvisorDriver(settings.data_dir / "gvisor", instance, settings.vpc_cidr, retry=chosen == "gvisor")
    microvm = MicrovmDriver(
        settings.data_dir / "microvm",
        instance,
        settings.vpc_cidr,
        MICROVM_CACHE,
        # emulation, which is slow, is for those who ask for it
        accelerator="auto" if chosen == "microvm" else "kvm",
        ready=settings.ready_microvms,
        vmm=settings.microvm_vmm,
    )
    if chosen == "microvm":
        return Tiers([microvm], required=chosen)
    if chosen == "gvisor":
        return Tiers([gvisor, microvm], required=chosen)
    if chosen == "process":
        return Tiers([process, gvisor, microvm], required=chosen)
    return Tiers([microvm, gvisor, process], weakest=_SHARED_KERNEL)
