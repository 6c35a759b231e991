"""Images for containers: whose registry a name means, where its manifest comes from, and who holds what.

Called by runner.py (`pull`, `held`, `release`), run by agent.py; pulling and building is in oci/images. Names
of the account's own ECR hosts and of the door mean the built-in registry: its manifests come through the cell
and its blobs are here, so nothing is copied and nothing asked over HTTP.
"""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Collection, Mapping
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
from neargate.oci.errors import ImageError, NoCredentials
from neargate.oci.images import Image, ImageStore, Source
from neargate.oci.reference import InvalidReference, Reference

log = logging.getLogger(__name__)

_COLLECT_AFTER = 30.0
"""Seconds after a pull; more pulls meanwhile are looked at together."""


class Images(Protocol):
    @property
    def pulls(self) -> Mapping[str, tuple[int, int]]:
        """Pulls under way: (bytes here, bytes of all layers) by the image's name."""
        ...

    async def fetch(self, name: str, account: str, region: str) -> Image:
        """Have an image here before any task asks for it (anonymously). Raise ImageError."""
        ...

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
        self.pulls: dict[str, tuple[int, int]] = {}

    async def pull(self, spec: SandboxSpec, container: ContainerSpec) -> Image:
        owner = (spec.account, spec.region)
        return await self._have(container.image, owner, container.registry_secret, spec.id)

    async def fetch(self, name: str, account: str, region: str) -> Image:
        return await self._have(name, (account, region), None, None)

    async def _have(self, name: str, asker: tuple[str, str], secret: str | None, holder: str | None) -> Image:
        try:
            ref = reference.parse(name)
        except InvalidReference as error:
            raise ImageError(str(error)) from None
        self._check_room()
        owner = built_in_owner(ref, asker, self._settings.account_id, self._door)
        try:
            if owner is not None:
                await self._check_rights(ref, owner, holder)
                return await self._ensure(ref, BuiltInSource(self._cell, *owner), name, holder)
            async with RegistryClient(
                ref,
                credentials=await self._login(*asker, secret, holder),
                insecure_hosts=self._insecure,
                ca_file=self._settings.registry_ca_file,
            ) as client:
                return await self._ensure(ref, client, name, holder)
        finally:
            self.pulls.pop(name, None)
            self._pulled.set()

    async def _ensure(self, ref: Reference, source: Source, name: str, holder: str | None) -> Image:
        def note(done: int, total: int) -> None:
            self.pulls[name] = (done, total)

        image = await self._store.ensure(ref, source, progress=note)
        if holder is not None:
            self._store.pin(image, holder)
        return image

    async def _check_rights(self, ref: Reference, owner: tuple[str, str], holder: str | None) -> None:
        """Asked each time: that an image is here already is no right to it."""
        if holder is None:
            return
        try:
            await self._cell.registry_token(*owner, holder)
        except CellError as error:
            raise NoCredentials(
                "unable to pull secrets or registry auth: execution resource retrieval failed: unable to"
                f" retrieve ecr registry auth: service call has been retried 1 time(s): {error}"
            ) from None
        try:
            await self._cell.registry_access(*owner, ref.path, holder)
        except CellError as error:
            log.warning("%s", error, extra={"sandbox": holder})
            raise ImageError(
                f"pull image manifest has been retried 1 time(s): failed to resolve ref {ref}: pulling from"
                f" host {ref.domain} failed with status code [manifests {ref.target}]: 403 Forbidden"
            ) from None

    async def _login(
        self, account: str, region: str, secret: str | None, holder: str | None
    ) -> Credentials | None:
        if secret is None:
            return None
        try:
            name, password = await self._cell.registry_secret(account, region, secret, holder or "")
        except CellError as error:
            raise NoCredentials(f"unable to pull secrets or registry auth: {error}") from None
        return Credentials(name, password)

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
    ref: Reference, asker: tuple[str, str], account: str, door: Collection[str]
) -> tuple[str, str] | None:
    """(account, region) if the name means the built-in registry; None if it means another one.

    asker -- account and region of who names it. account -- the daemon's own. ECR hosts of other accounts are
    AWS's.
    """
    if ref.domain in door:
        return asker
    owner = ref.ecr_account
    return owner if owner is not None and owner[0] in (account, asker[0]) else None
