"""The node's view of the control plane: all that an agent may ask and say.

Implemented by services/cell for the node inside the daemon; later by an HTTP client for a remote machine.
Called by agent.py (assignments, reports), images.py (resolve, secrets), logs.py (cursors, batches)
and metadata.py (credentials, tags, protection).
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from neargate.kit.errors import CellError as CellError
from neargate.model.sandbox import Assignment, LogBatch, LogCursor, SandboxStatus
from neargate.model.session import SessionCredentials
from neargate.model.terminal import Terminal, TerminalRequest


@dataclass(frozen=True, slots=True)
class NodeFacts:
    id: str
    cpu_units: int
    memory_mib: int
    architecture: str
    """As uname says: x86_64, aarch64."""
    tiers: tuple[str, ...]
    adopted_sandboxes: int = 0
    """Living sandboxes of an earlier daemon that were found again at start."""
    adopted_at: float = 0.0
    """When all of them had been."""


class Cell(Protocol):
    async def hello(self, facts: NodeFacts) -> None:
        """Say that this node is here, and what it offers."""
        ...

    async def assignments(self, node: str, after: int) -> tuple[int, Sequence[Assignment]]:
        """All sandboxes placed on `node` and not yet reported STOPPED and taken note of.

        Long poll: returns (cursor, assignments) once anything of them changed after `after` (0: at once).
        A sandbox that the node has and the list lacks is to be destroyed.
        """
        ...

    async def report(self, node: str, statuses: Sequence[SandboxStatus]) -> None:
        """Hand over what happened. Returns once it is kept; idempotent (older sequences are ignored)."""
        ...

    def serve_terminals(
        self, node: str, open: Callable[[TerminalRequest], Awaitable[Terminal]]
    ) -> AbstractContextManager[None]:
        """Have `open` called for each command at a terminal that is wanted on this node, until the block
        ends. It raises TerminalError.
        """
        ...

    async def log_cursors(self, runtime_ids: Sequence[str]) -> dict[str, LogCursor]: ...

    async def put_logs(self, batches: Sequence[LogBatch]) -> None:
        """Store events and move the cursors, in one transaction. Raises CellError if the group is missing."""
        ...

    # What follows is got by the execution role of `sandbox`, if that has one; by the daemon itself if it is
    # empty. CellError says what the role may not.

    async def open_log_stream(
        self, account: str, region: str, group: str, stream: str, create_group: bool, sandbox: str = ""
    ) -> None:
        """Make the stream (and the group, if asked). Raise CellError with AWS's text when it cannot be."""
        ...

    async def registry_secret(
        self, account: str, region: str, parameter: str, sandbox: str = ""
    ) -> tuple[str, str]:
        """User name and password behind a `credentialsParameter`."""
        ...

    async def secret_values(
        self, account: str, region: str, sources: Sequence[str], sandbox: str = ""
    ) -> list[str]:
        """The values that `valueFrom`s name, in their order. Raise CellError with the cause in AWS's words.

        They are the container's alone: whoever asks keeps them out of records, files and logs.
        """
        ...

    async def environment_file(self, account: str, region: str, arn: str, sandbox: str = "") -> bytes:
        """The object that an `environmentFiles` entry names. Raise CellError with S3's words."""
        ...

    async def registry_token(self, account: str, region: str, sandbox: str = "") -> tuple[str, str]:
        """User name and password for the built-in registry."""
        ...

    async def registry_access(self, account: str, region: str, repository: str, sandbox: str) -> None:
        """Whether images of the repository may be pulled: CellError if not."""
        ...

    async def registry_manifest(
        self, account: str, region: str, repository: str, reference: str
    ) -> tuple[bytes, str, str]:
        """(bytes, media type, digest) of what a tag or a digest names in the built-in registry, whose blobs
        this machine has.
        """
        ...

    async def task_credentials(self, sandbox: str) -> SessionCredentials:
        """Fresh credentials of the task's own role, good until they expire or the task stops. CellError if
        it has no role, or has stopped.
        """
        ...

    async def task_tags(self, sandbox: str) -> dict[str, str]: ...

    async def task_protection(
        self, sandbox: str, enabled: bool | None, minutes: int | None
    ) -> tuple[int, dict[str, Any]]:
        """Ask for the task's protection from scale-in (`enabled` None), or set it: what the protection
        endpoint answers, HTTP status first.
        """
        ...
