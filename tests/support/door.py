"""A whole daemon in this process, on a thread of its own, with the fake driver: for API tests.

Used through the fixtures of tests/conftest.py: `door.client("ecs")` is a boto3 client against it.
"""

import asyncio
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from neargate.kit.settings import Settings
from neargate.main import Daemon, running
from neargate.state.catalog import TASK

T = TypeVar("T")


class Door:
    """One running daemon. `call` runs a coroutine in the daemon's loop (store look-ups in tests)."""

    def __init__(self, **settings: Any) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="neargate-door-")
        values = {"data_dir": Path(self._directory.name), "port": 0, "isolation": "fake", "ephemeral": True}
        self.settings = Settings.load({}, **{**values, **settings})
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="door")
        self.daemon: Daemon

    def start(self) -> "Door":
        self._thread.start()
        assert self._ready.wait(60), "the daemon was not ready after 60 s"
        if self._error is not None:
            raise self._error
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)
        assert not self._thread.is_alive(), "the daemon did not stop"
        self._directory.cleanup()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            async with running(self.settings) as daemon:
                self.daemon = daemon
                self._ready.set()
                await self._stopping.wait()
        except BaseException as error:
            self._error = error
            self._ready.set()
            raise

    @property
    def endpoint(self) -> str:
        return self.daemon.house.endpoint

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def client(self, service: str, **options: Any) -> Any:
        credential = self.daemon.credential
        arguments: dict[str, Any] = {
            "region_name": self.settings.region,
            "endpoint_url": self.endpoint,
            "aws_access_key_id": credential.access_key_id,
            "aws_secret_access_key": credential.secret_access_key,
            "config": Config(retries={"total_max_attempts": 1}),
            **options,
        }
        return boto3.client(service, **arguments)

    def released(self) -> None:
        """Wait until no task holds anything: moments after the last one has STOPPED."""

        async def wait() -> None:
            store = self.daemon.house.store
            head = store.head()
            while await store.read(lambda tx: tx.count(TASK, "open", "yes")):
                head = await store.wait(head)

        self.call(wait())

    def forget(self) -> None:
        """Stop all tasks and forget all records: each test starts from nothing."""
        from neargate.services import admin

        self.call(admin.reset(self.daemon.house))
