"""Images for containers: whose registry a name means, where its manifest comes from, and who holds what.

Called by runner.py (`pull`, `held`, `release`), run by agent.py; pulling and building is in oci/images. Names
of the account's own ECR hosts and of the door mean the built-in registry: its manifests come through the cell
and its blobs are here, so nothing is copied and nothing asked over HTTP.
"""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import NoReturn, Protocol
from urllib.parse import urlsplit

from neargate.kit.clock import Clock, SystemClock
from neargate.kit.settings import Settings
from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node.cell import Cell, CellError
from neargate.oci import reference
from neargate.oci.auth import Credentials
from neargate.oci.client import RegistryClient
from neargate.oci.errors import ImageError
from neargate.oci.images import Image, ImageStore
from neargate.oci.reference import InvalidReference, Reference

log = logging.getLogger(__name__)

_COLLECT_AFTER = 30.0
"""Seconds after a pull; more pulls meanwhile are looked at together."""


class Images(Protocol):
    async def pull(self, spec: SandboxSpec, container: ContainerSpec) -> Image:
        """The container's image, held for the sandbox. Raise ImageError."""
        ...

    def held(self, sandbox: str, digest: str) -> Image | None:
        """An image that an adopted sandbox runs, held for it again; None if it is not here any more."""
        ...

    def release(self, sandbox: str) -> None: ...

    async def run(self) -> NoReturn:
        """Collect what nobody holds, for ever. Called once adopted sandboxes hold theirs."""
        ...


class BuiltInSource:
    """oci/images.Source of the built-in registry."""

    def __init__(self, cell: Cell, account: str, region: str) -> None:
        self._cell, self._account, self._region = cell, account, region

    async def manifest(self, ref: Reference) -> tuple[bytes, str, str]:
        try:
            return await self._cell.registry_manifest(self._account, self._region, ref.path, ref.target)
        except CellError as error:
            why = f"{ref}: not found" if "NotFoundException" in str(error) else str(error)
            raise ImageError(
                f"pull image manifest has been retried 1 time(s): failed to resolve ref {ref}: {why}"
            ) from None

    def blob(self, digest: str, size: int, offset: int) -> AsyncIterator[bytes]:
        """ImageStore looks among the registry's blobs itself: whoever asks here asks for a missing one."""
        raise ImageError(f"failed to copy: blob {digest} is not in the registry")


class StoredImages:
    """Images in an ImageStore of this machine."""

    def __init__(
        self,
        store: ImageStore,
        cell: Cell,
        settings: Settings,
        endpoint: str,
        *,
        root: Path,
        clock: Clock | None = None,
    ) -> None:
        """endpoint -- the door's URL. root -- a directory of the disk that images are on."""
        self._store = store
        self._cell = cell
        self._settings = settings
        self._door = door_hosts(endpoint)
        self._insecure = tuple(h.strip() for h in settings.registry_insecure_hosts.split(",") if h.strip())
        self._root = root
        self._clock = clock or SystemClock()
        self._pulled = asyncio.Event()
        self._pulled.set()

    async def pull(self, spec: SandboxSpec, container: ContainerSpec) -> Image:
        try:
            ref = reference.parse(container.image)
        except InvalidReference as error:
            raise ImageError(str(error)) from None
        self._check_room()
        owner = built_in_owner(ref, spec, self._settings.account_id, self._door)
        if owner is not None:
            image = await self._store.ensure(ref, BuiltInSource(self._cell, *owner))
        else:
            image = await self._pull_foreign(ref, spec, container)
        self._store.pin(image, spec.id)
        self._pulled.set()
        return image

    async def _pull_foreign(self, ref: Reference, spec: SandboxSpec, container: ContainerSpec) -> Image:
        credentials = None
        if container.registry_secret is not None:
            try:
                name, password = await self._cell.registry_secret(
                    spec.account, spec.region, container.registry_secret
                )
            except CellError as error:
                raise ImageError(f"unable to pull secrets or registry auth: {error}") from None
            credentials = Credentials(name, password)
        async with RegistryClient(
            ref,
            credentials=credentials,
            insecure_hosts=self._insecure,
            ca_file=self._settings.registry_ca_file,
        ) as client:
            return await self._store.ensure(ref, client)

    def _check_room(self) -> None:
        free, least = shutil.disk_usage(self._root).free, self._settings.task_dir_min_free_bytes
        if free < least:
            raise ImageError(
                f"no space left on device: {self._root} has {free} bytes free, at least {least} are needed"
                " (NEARGATE_TASK_DIR_MIN_FREE_BYTES)"
            )

    def held(self, sandbox: str, digest: str) -> Image | None:
        image = self._store.cached(digest)
        if image is not None:
            self._store.pin(image, sandbox)
        return image

    def release(self, sandbox: str) -> None:
        self._store.unpin(sandbox)

    async def run(self) -> NoReturn:
        while True:
            await self._pulled.wait()
            await self._clock.sleep(_COLLECT_AFTER)
            self._pulled.clear()
            try:
                removed = await self._store.collect()
            except OSError as error:
                log.error("images are not collected: %s", error)
                continue
            if removed:
                log.info("unused images removed", extra={"digests": removed})


def door_hosts(endpoint: str) -> frozenset[str]:
    """host:port names under which this machine reaches the door."""
    url = urlsplit(endpoint)
    port = url.port or (443 if url.scheme == "https" else 80)
    hosts = {url.hostname or "127.0.0.1", "127.0.0.1", "localhost"}
    return frozenset(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts)


def built_in_owner(
    ref: Reference, spec: SandboxSpec, account: str, door: Collection[str]
) -> tuple[str, str] | None:
    """(account, region) if the name means the built-in registry; None if it means another one.

    account -- the daemon's own. ECR hosts of other accounts are AWS's.
    """
    if ref.domain in door:
        return spec.account, spec.region
    owner = ref.ecr_account
    return owner if owner is not None and owner[0] in (account, spec.account) else None
