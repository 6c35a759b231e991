"""Finds every operation's function at start-up, and runs one per request: parse, call, serialise.

Called by app.py with a request whose signature holds. The work goes on in services/<api>/.
"""

import asyncio
import importlib
import inspect
import logging
import pkgutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import neargate.services
from neargate.kit.errors import ApiError
from neargate.services.call import Call, Params, Result
from neargate.state.store import StoreError
from neargate.wire import protocols
from neargate.wire.http import Request, Response
from neargate.wire.models import Catalogue, Operation, Service
from neargate.wire.protocols import Parsed

log = logging.getLogger(__name__)

Function = Callable[[Call, Params], Awaitable[Result]]
Caller = Callable[[], Call]

# Packages of services/ that are no AWS API.
_OURS = frozenset({"cell"})


class DispatchError(Exception):
    """The house is not put together right: an operation's function is misspelt, or there are two."""


@dataclass(frozen=True, slots=True)
class Room:
    """One AWS API that is built: its model, and its operations' functions by API name."""

    service: Service
    functions: dict[str, Function]


def build_rooms(catalogue: Catalogue, package: ModuleType = neargate.services) -> dict[str, Room]:
    """Every API under `package`, by botocore's name for it.

    An operation is an async function (call, params) whose name is the operation's in snake case. One with
    that signature and another name is taken for a spelling mistake and refused. Raises DispatchError.
    """
    rooms: dict[str, Room] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name in _OURS or not info.ispkg:
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        service = catalogue.service(getattr(module, "SERVICE", info.name))
        rooms[service.name] = Room(service, _functions(service, module))
    return rooms


def _functions(service: Service, package: ModuleType) -> dict[str, Function]:
    by_python_name = {operation.python_name: name for name, operation in service.operations.items()}
    found: dict[str, Function] = {}
    for module in _modules(package):
        for name, function in vars(module).items():
            if not _is_operation(module, name, function):
                continue
            operation = by_python_name.get(name)
            where = f"{module.__name__}.{name}"
            if operation is None:
                raise DispatchError(f"{where} takes (call, params) but {service.name} has no such operation")
            if operation in found:
                raise DispatchError(f"{where}: {operation} has a function already")
            found[operation] = function
    return found


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for info in pkgutil.walk_packages(getattr(package, "__path__", ()), package.__name__ + "."):
        yield importlib.import_module(info.name)


def _is_operation(module: ModuleType, name: str, value: Any) -> bool:
    if name.startswith("_") or not inspect.iscoroutinefunction(value) or value.__module__ != module.__name__:
        return False
    return list(inspect.signature(value).parameters) == ["call", "params"]


class Dispatcher:
    """Runs operations. Whatever happens inside, the answer is shaped as the client expects."""

    def __init__(self, rooms: dict[str, Room]) -> None:
        self._rooms = rooms
        # One long body is read at a time: each thread more would take a turn of everybody's.
        self._reading = asyncio.Lock()

    def room(self, service: str) -> Room | None:
        return self._rooms.get(service)

    async def run(self, room: Room, request: Request, call: Call) -> tuple[Response, str]:
        """The answer, and the operation's name for logs and metrics (empty where there is none)."""
        operation: Operation | None = None
        protocol = protocols.detect(room.service, request)
        try:
            parsed = await self._parsed(room.service, request)
            operation, protocol = parsed.operation, parsed.protocol
            function = room.functions.get(operation.name)
            if function is None:
                raise protocols.not_built(operation)
            result = await function(call, await self._params(parsed))
            return protocols.serialize(operation, protocol, result, call.request_id), operation.name
        except ApiError as error:
            problem = error
        except StoreError as error:
            log.error("the store failed", extra={"request_id": call.request_id, "error": str(error)})
            problem = ApiError("ServiceUnavailable", "The service cannot keep changes just now.", status=503)
        except Exception:
            name = operation.name if operation else room.service.name
            log.exception("%s failed", name, extra={"request_id": call.request_id})
            problem = internal_failure()
        answer = protocols.serialize_error(room.service, operation, protocol, problem, call.request_id)
        return answer, operation.name if operation else ""

    async def _parsed(self, service: Service, request: Request) -> Parsed:
        if not protocols.takes_long(service, request):
            return protocols.parse(service, request)
        async with self._reading:
            return await asyncio.to_thread(protocols.parse, service, request)

    async def _params(self, parsed: Parsed) -> Params:
        if not parsed.takes_long:
            return parsed.params
        async with self._reading:
            return await asyncio.to_thread(lambda: parsed.params)


def internal_failure() -> ApiError:
    message = "The request processing has failed because of an unknown error, exception or failure."
    return ApiError("InternalFailure", message, status=500)
