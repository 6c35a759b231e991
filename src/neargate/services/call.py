"""What an operation is handed: who calls, for which account and region, and the house's doors to work with.

Made by gateway/dispatch for each request. An operation looks like this:

    async def describe_clusters(call: Call, params: Params) -> Result:
        return await call.store.read(lambda tx: ...)
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from neargate.kit.clock import Clock
from neargate.kit.ids import Ids
from neargate.kit.settings import Settings
from neargate.model.record import Scope
from neargate.model.session import Session
from neargate.oci.content import ContentStore
from neargate.state.file_trees import FileTrees
from neargate.state.object_files import ObjectFiles
from neargate.state.store import Store

Params = Mapping[str, Any]
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class House:
    """The long-lived parts of the daemon that operations use."""

    settings: Settings
    store: Store
    logs: Store
    """Log events, in a file of their own so that a loud task delays nobody."""
    metrics: Store
    """Metrics' points (state/metrics.py), in a file of their own as well."""
    blobs: ContentStore
    clock: Clock
    ids: Ids
    signing_key: bytes
    """Key for tokens that the daemon hands out (ECR logins, paging)."""
    endpoint: str
    """The door's own URL, e.g. http://127.0.0.1:4566."""

    @property
    def objects(self) -> ObjectFiles:
        """The bytes of S3's objects."""
        return ObjectFiles(self.settings.data_dir / "objects")

    @property
    def file_trees(self) -> FileTrees:
        """The data of EFS's file systems."""
        return FileTrees(self.settings.efs_directory)


@dataclass(frozen=True, slots=True)
class Call:
    house: House
    scope: Scope
    principal_arn: str
    access_key_id: str
    request_id: str
    source_ip: str = ""
    session: Session | None = None
    """Of a caller with temporary credentials."""
    host: str = ""
    """By which name the caller reached the door, port included."""

    @property
    def store(self) -> Store:
        return self.house.store

    @property
    def logs(self) -> Store:
        return self.house.logs

    @property
    def metrics(self) -> Store:
        return self.house.metrics

    @property
    def blobs(self) -> ContentStore:
        return self.house.blobs

    @property
    def settings(self) -> Settings:
        return self.house.settings

    @property
    def ids(self) -> Ids:
        return self.house.ids

    def now(self) -> float:
        return self.house.clock.now()


Operation = Callable[[Call, Params], Awaitable[Result]]
