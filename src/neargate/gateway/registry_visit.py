"""One authorized request to one repository, and the look-ups that the registry's handlers share.

Made by registry.py for registry_blobs, registry_uploads, registry_manifests and registry_lists.
"""

from dataclasses import dataclass

from neargate.gateway.registry_http import Answer, Incoming, RegistryError
from neargate.model.record import Scope
from neargate.model.registry import Link, Repository, repository_arn
from neargate.oci import digest as digests
from neargate.services.call import House
from neargate.state import registry
from neargate.state.store import Tx


@dataclass(frozen=True, slots=True)
class Visit:
    house: House
    incoming: Incoming
    scope: Scope
    name: str
    """Of the repository; empty where the request names none."""

    @property
    def arn(self) -> str:
        return repository_arn(self.scope, self.name)

    @property
    def base(self) -> str:
        return f"/v2/{self.name}"

    async def repository(self) -> Repository:
        """Raise ApiError RepositoryNotFoundException."""
        return await self.house.store.read(lambda tx: registry.need_repository(tx, self.scope, self.name))

    async def link(self, digest: str) -> Link:
        """The blob as the repository has it. Raise RegistryError BLOB_UNKNOWN."""
        digests.check(digest)

        def body(tx: Tx) -> Link | None:
            return registry.find_link(tx, registry.need_repository(tx, self.scope, self.name), digest)

        link = await self.house.store.read(body)
        if link is None:
            raise RegistryError(404, "BLOB_UNKNOWN", f"blob {digest} is unknown to repository '{self.name}'")
        return link

    async def add_link(self, digest: str, size: int) -> Answer:
        """The repository has a blob whose file is in the content store; what to say of it."""
        now = self.house.clock.now()

        def body(tx: Tx) -> None:
            repository = registry.need_repository(tx, self.scope, self.name)
            registry.add_link(tx, repository, digest, size, now)

        await self.house.store.write(body)
        return self.created(digest)

    def created(self, digest: str) -> Answer:
        headers = {"location": f"{self.base}/blobs/{digest}", "docker-content-digest": digest}
        return Answer(201, headers)
