"""The registry on a real port without the rest of the daemon, and an ECR client of functions.

Used by tests/api/test_ecr*.py and test_registry*.py. The server is uvicorn: RegistryApp is a plain ASGI app.
"""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import botocore.loaders
import botocore.model
import httpx
import uvicorn
from botocore import xform_name
from botocore.validate import ParamValidator

import neargate.services.ecr
from neargate.gateway.dispatch import Function
from neargate.gateway.registry import RegistryApp
from neargate.kit.clock import SystemClock
from neargate.kit.ids import SystemIds
from neargate.kit.settings import Settings
from neargate.model.record import Scope
from neargate.oci import digest as digests
from neargate.oci.content import ContentStore
from neargate.oci.manifest import OCI_CONFIG, OCI_MANIFEST
from neargate.services.call import Call, House
from neargate.state.sqlite import SqliteStore

SCOPE = Scope("123456789012", "us-east-1")
HOST = f"{SCOPE.account}.dkr.ecr.{SCOPE.region}.amazonaws.com"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Clock(SystemClock):
    """The system's, moved by `ahead` seconds."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


class Room:
    """Operations of one AWS API as functions: what goes in and out is held against botocore's model."""

    def __init__(self, service: str, package: Any, call: Call) -> None:
        loaded = botocore.loaders.create_loader().load_service_model(service, "service-2")
        self._model = botocore.model.ServiceModel(loaded, service)
        self._names = {xform_name(name): name for name in self._model.operation_names}
        self._functions = _functions(package, self._names)
        self.call = call

    def __getattr__(self, operation: str) -> Any:
        model = self._model.operation_model(self._names[operation])

        async def run(**params: Any) -> dict[str, Any]:
            _check(params, model.input_shape, f"{operation} takes")
            result = await self._functions[operation](self.call, params)
            if model.output_shape is None:
                assert result == {}
            else:
                _check(result, model.output_shape, f"{operation} answers")
            return result

        return run


def _functions(package: Any, names: dict[str, str]) -> dict[str, Function]:
    import importlib
    import pkgutil

    found: dict[str, Function] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        found.update({n: f for n, f in vars(module).items() if n in names and callable(f)})
    return found


def _check(value: Any, shape: Any, what: str) -> None:
    report = ParamValidator().validate(value, shape)
    if what.endswith("answers"):  # AWS's own answers have lists shorter and longer than requests may
        report._errors = [e for e in report._errors if "Invalid length" not in report._format_error(e)]
    assert not report.has_errors(), f"{what} what the model does not have: {report.generate_report()}"


class Registry:
    """A house with a registry that listens on `port`."""

    def __init__(self, house: House, port: int) -> None:
        self.house = house
        self.port = port
        root = f"arn:aws:iam::{SCOPE.account}:root"
        self.ecr = Room("ecr", neargate.services.ecr, Call(house, SCOPE, root, "AKIATEST", "request"))
        self.url = f"http://127.0.0.1:{port}"

    @property
    def clock(self) -> Clock:
        return cast(Clock, self.house.clock)

    async def password(self) -> str:
        import base64

        data = (await self.ecr.get_authorization_token())["authorizationData"][0]
        return base64.b64decode(data["authorizationToken"]).decode().partition(":")[2]

    @asynccontextmanager
    async def http(self, password: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        auth = ("AWS", password if password is not None else await self.password())
        async with httpx.AsyncClient(base_url=self.url, auth=auth, trust_env=False, timeout=60) as client:
            yield client

    async def skopeo(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`{}` in an argument stands for this registry's host and port."""
        command = ["skopeo", *(a.replace("{}", f"127.0.0.1:{self.port}") for a in arguments)]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=120, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return cast(subprocess.CompletedProcess[str], done)

    async def push(self, layout: Path, target: str, *more: str, check: bool = True) -> Any:
        """Push an OCI layout's `latest` to `repository:tag`."""
        creds = f"AWS:{await self.password()}"
        return await self.skopeo(
            "copy", "--dest-tls-verify=false", "--dest-creds", creds, *more,
            f"oci:{layout}:latest", f"docker://{{}}/{target}", check=check,
        )  # fmt: skip

    async def ask(self, command: str, target: str, *more: str, check: bool = True) -> Any:
        """skopeo inspect, list-tags or delete."""
        creds = f"AWS:{await self.password()}"
        return await self.skopeo(
            command, "--tls-verify=false", "--creds", creds, *more, f"docker://{{}}/{target}", check=check
        )


async def reached(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return once the condition holds."""
    for _ in range(int(seconds * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


async def put_blob(http: httpx.AsyncClient, repository: str, data: bytes) -> str:
    digest = digests.of(data)
    answer = await http.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=data)
    assert answer.status_code == 201, answer.text
    return digest


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digests.of(data), "size": len(data), **more}


def manifest(config: bytes, /, *layers: bytes, **more: Any) -> bytes:
    """The bytes of an OCI manifest."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(layer, LAYER) for layer in layers],
        **more,
    }
    return json.dumps(document).encode()


async def put_manifest(
    http: httpx.AsyncClient, repository: str, ref: str, data: bytes, media_type: str = OCI_MANIFEST
) -> httpx.Response:
    return await http.put(
        f"/v2/{repository}/manifests/{ref}", content=data, headers={"content-type": media_type}
    )


async def put_image(http: httpx.AsyncClient, repository: str, tag: str, *layers: bytes, **more: Any) -> str:
    """Push a small image by hand; its digest."""
    config = b'{"config":"%s"}' % tag.encode()
    for blob in (config, *layers):
        await put_blob(http, repository, blob)
    data = manifest(config, *layers, **more)
    answer = await put_manifest(http, repository, tag, data)
    assert answer.status_code == 201, answer.text
    return digests.of(data)


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Registry]:
    """A registry on the store and blobs of `directory`, until the block ends."""
    settings = Settings.load({}, data_dir=directory, account_id=SCOPE.account)
    async with SqliteStore(directory / "state.db") as store:
        house = House(
            settings=settings,
            store=store,
            logs=store,
            metrics=store,
            blobs=ContentStore(directory / "oci"),
            clock=Clock(),
            ids=SystemIds(),
            signing_key=b"k" * 32,
            endpoint="http://127.0.0.1:1",
        )
        config = uvicorn.Config(
            cast(Any, RegistryApp(house)),
            host="127.0.0.1",
            port=0,
            log_level="error",
            lifespan="off",
            ws="none",
        )
        server = uvicorn.Server(config)
        async with _serving(server) as port:
            yield Registry(house, port)


@asynccontextmanager
async def _serving(server: uvicorn.Server) -> AsyncIterator[int]:
    async with asyncio.TaskGroup() as group:
        with contextlib.ExitStack() as stack:
            # pytest's own handlers stay: a server among many must not take the process's signals
            server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
            task = group.create_task(server.serve())
            stack.callback(setattr, server, "should_exit", True)
            while not server.started:
                assert not task.done(), "the server did not start"
                await asyncio.sleep(0.01)
            yield server.servers[0].sockets[0].getsockname()[1]
