"""Upload sessions: who may write which unfinished blob of the content store. They live in files and so
outlive the daemon; a session that nobody wrote to for a day is swept.

Called by gateway/registry (PATCH, PUT) and services/ecr (UploadLayerPart); the bytes go through content.py.
"""

import contextlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from neargate.oci.content import ContentBusy, ContentError, ContentStore, Writer

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class NoUpload(Exception):
    """There is no such session for this repository."""


class _Session(msgspec.Struct, frozen=True):
    repository: str


@dataclass(frozen=True, slots=True)
class Upload:
    """An open session: add bytes to `writer`, then `finish` or leave it for the next request."""

    id: str
    writer: Writer
    _note: Path

    async def finish(self, digest: str) -> int:
        """Make it the blob `digest`; its size. Raise ContentError; the session is over either way."""
        try:
            return await self.writer.commit(digest)
        finally:
            self._note.unlink(missing_ok=True)

    async def cancel(self) -> None:
        await self.writer.discard()
        self._note.unlink(missing_ok=True)


class Uploads:
    """The sessions of a content store; it has no memory of its own. `repository` is any name of an owner."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content

    def begin(self, id: str, repository: str) -> None:
        note = self._note(id)
        draft = note.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(_Session(repository)))
        draft.rename(note)

    def size(self, id: str, repository: str) -> int:
        """Bytes that are here. Raise NoUpload."""
        self._need(id, repository)
        with contextlib.suppress(FileNotFoundError):
            return (self._content.uploads / id).stat().st_size
        return 0

    @asynccontextmanager
    async def open(self, id: str, repository: str) -> AsyncIterator[Upload]:
        """Go on with a session. Raise NoUpload, or ContentBusy while another request writes to it."""
        self._need(id, repository)
        async with self._content.upload(id) as writer:
            yield Upload(id, writer, self._note(id))

    def _note(self, id: str) -> Path:
        return self._content.uploads / f"{id}.json"

    def _need(self, id: str, repository: str) -> None:
        if _ID.fullmatch(id):
            with contextlib.suppress(FileNotFoundError):
                if msgspec.json.decode(self._note(id).read_bytes(), type=_Session).repository == repository:
                    return
        raise NoUpload(id)

    def sweep(self, before: float) -> int:
        """Remove sessions that were last written to before that moment (epoch seconds); how many files."""
        newest: dict[str, float] = {}
        files: dict[str, list[str]] = {}
        for entry in os.scandir(self._content.uploads):
            with contextlib.suppress(FileNotFoundError):
                id = entry.name.partition(".")[0]
                newest[id] = max(newest.get(id, 0.0), entry.stat().st_mtime)
                files.setdefault(id, []).append(entry.path)
        old = [path for id, at in newest.items() if at < before for path in files[id]]
        for path in old:
            Path(path).unlink(missing_ok=True)
        return len(old)


__all__ = ["ContentBusy", "ContentError", "NoUpload", "Upload", "Uploads"]
