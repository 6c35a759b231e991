"""Chooses what this machine runs sandboxes with, by the settings: the driver, and where its images come from.

Called by main once at start. `auto` is to become the strongest tier that works here; so far there is one.
"""

import logging

from neargate.kit.instance import instance_of
from neargate.kit.settings import Settings
from neargate.node.cell import Cell
from neargate.node.drivers.base import Driver
from neargate.node.drivers.fake import FakeDriver, FakeImages
from neargate.node.drivers.process import ProcessDriver
from neargate.node.images import Images, StoredImages
from neargate.oci.content import ContentStore
from neargate.oci.images import ImageStore

log = logging.getLogger(__name__)


async def node_parts(
    settings: Settings, blobs: ContentStore, cell: Cell, endpoint: str
) -> tuple[Driver, Images]:
    """The driver, not yet entered, and the images for it. `blobs` are the built-in registry's."""
    if settings.isolation == "fake":
        return FakeDriver(), FakeImages()
    if settings.isolation == "auto":
        log.warning(
            "tasks are isolated by the process tier: namespaces, cgroups and seccomp on one shared kernel;"
            " NEARGATE_ISOLATION=process says that this is wanted"
        )
    root = settings.data_dir / "images"
    store = ImageStore(root, blobs, settings.image_cache_bytes)
    driver = ProcessDriver(settings.data_dir / "process", instance_of(settings.data_dir), settings.vpc_cidr)
    return driver, StoredImages(store, cell, settings, endpoint, root=root)
