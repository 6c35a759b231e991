"""The endpoints of 169.254.170.2 that a task finds: metadata version 4, credentials, task protection.

Served by main through the gateway's connections, on the listeners of network/endpoint.py. Who asks is told by
the source address, which the firewall keeps true, and must be the sandbox that the path names: no task reads
another's. Documents are made in model/metadata*, credentials and protection by the control plane (cell.py).
"""

import asyncio
import hmac
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import msgspec

from neargate.kit.clock import Clock
from neargate.kit.errors import ApiError, CellError
from neargate.model import metadata, metadata_stats
from neargate.model.metadata_stats import Sample
from neargate.model.sandbox import ContainerSpec, ContainerStatus, SandboxSpec, SandboxStatus
from neargate.model.session import SessionCredentials
from neargate.node import metadata_machine
from neargate.node.cell import Cell
from neargate.node.drivers.base import DriverError, Sandbox
from neargate.wire.http import Request, Response

log = logging.getLogger(__name__)

RENEW_SECONDS = 3 * 3600.0
"""Credentials that are good for less are not handed out while there are fresher ones."""
_CELL_SECONDS = 5.0
_NO_CONTAINER = "unable to get container ID from request: unable to get docker ID from v3 endpoint ID: {}"
_NO_TASK = "unable to get task arn from request: unable to get task Arn from v3 endpoint ID: {}"
_UNKNOWN = {
    "": f"V4 container metadata handler: {_NO_CONTAINER}",
    "stats": f"V4 container stats handler: {_NO_CONTAINER}",
    "task": f"V4 task metadata handler: {_NO_TASK}",
    "taskWithTags": f"V4 task metadata handler: {_NO_TASK}",
    "task/stats": f"V4 task stats handler: {_NO_TASK}",
}
_NO_ROLE = "Invalid Request: no task IAM role credentials available for task"


class Subject(Protocol):
    """A sandbox of this machine: a runner, as the agent has it."""

    @property
    def spec(self) -> SandboxSpec: ...
    @property
    def status(self) -> SandboxStatus: ...
    @property
    def sandbox(self) -> Sandbox | None: ...
    @property
    def ending(self) -> bool:
        """It is wanted no more."""
        ...


class Subjects(Protocol):
    def find(self, id: str) -> Subject | None: ...
    def all(self) -> Iterable[Subject]: ...


@dataclass(slots=True)
class _Memory:
    """What is kept of a sandbox between two questions. Lost with the daemon, and harmlessly so."""

    samples: dict[str, Sample] = field(default_factory=dict)
    credentials: SessionCredentials | None = field(default=None, repr=False)
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock)


class _ProtectionWish(msgspec.Struct, forbid_unknown_fields=True):
    ProtectionEnabled: bool | None = None
    ExpiresInMinutes: int | None = None


class Endpoint:
    """Answers like the gateway's App: its connections take either."""

    def __init__(self, subjects: Subjects, cell: Cell, clock: Clock) -> None:
        self._subjects = subjects
        self._cell = cell
        self._clock = clock
        self._memory: WeakKeyDictionary[Subject, _Memory] = WeakKeyDictionary()
        self._documents: dict[str, Callable[[Subject, ContainerSpec], Awaitable[Any]]] = {
            "": self._container,
            "task": self._task,
            "taskWithTags": self._task_with_tags,
            "stats": self._stats,
            "task/stats": self._task_stats,
        }

    def is_task(self, address: str) -> bool:
        """Does a task of this machine have the address?"""
        return self._at(address) is not None

    def is_registry(self, path: str) -> bool:
        return False

    async def registry(self, *_: Any) -> None:
        raise AssertionError("there is no registry here")

    def refuse(self, request: Request, error: ApiError) -> Response:
        return _json(error.message, error.status or 400)

    async def answer(self, request: Request, source_ip: str) -> Response:
        try:
            match request.path.split("/")[1:]:
                case ["v4", id, *rest]:
                    return await self._metadata(request, source_ip, id, "/".join(rest))
                case ["v2", "credentials", *rest]:
                    return await self._credentials(request, source_ip, "/".join(rest))
                case ["api", id, "task-protection", "v1", "state"]:
                    return await self._protection(request, source_ip, id)
        except Exception:
            log.exception("the task endpoint failed", extra={"path": request.path[:100]})
            return _json("failed to answer; see the daemon's log", 500)
        return _json("404 page not found", 404)

    def _at(self, address: str) -> Subject | None:
        for subject in self._subjects.all():
            interface = subject.spec.interface
            if interface is not None and interface.address == address:
                return subject
        return None

    def _find(self, source_ip: str, id: str) -> tuple[Subject, ContainerSpec] | None:
        """The container of a path's id, if it is the asker's own."""
        subject = self._subjects.find(id.partition("-")[0])
        if subject is None or subject.spec.interface is None or subject.spec.interface.address != source_ip:
            return None
        for container in subject.spec.containers:
            if container.runtime_id == id:
                return subject, container
        return None

    # -- metadata --------------------------------------------------------------------------------------

    async def _metadata(self, request: Request, source_ip: str, id: str, what: str) -> Response:
        make = self._documents.get(what)
        if make is None:
            return _json("404 page not found", 404)
        if request.method not in ("GET", "HEAD"):
            return _json("405 method not allowed", 405)
        found = self._find(source_ip, id)
        if found is None:
            return _json(_UNKNOWN[what].format(id[:128]), 404)
        try:
            return _json(await make(*found))
        except DriverError:
            return _json("failed to get stats", 500)

    async def _container(self, subject: Subject, own: ContainerSpec) -> Any:
        states = {state.name: state for state in _fresh(subject).containers}
        status = states.get(own.name) or ContainerStatus(name=own.name)
        return metadata.container(subject.spec, own, status, _desired(subject))

    async def _task(self, subject: Subject, own: ContainerSpec) -> Any:
        clock = metadata_machine.clock_drift(self._clock.now())
        used = await _storage_used(subject.sandbox)
        return metadata.task(
            subject.spec, _fresh(subject), _desired(subject), clock=clock, storage_bytes=used
        )

    async def _task_with_tags(self, subject: Subject, own: ContainerSpec) -> Any:
        document = await self._task(subject, own)
        try:
            async with asyncio.timeout(_CELL_SECONDS):
                return metadata.with_tags(document, await self._cell.task_tags(subject.spec.id))
        except (CellError, TimeoutError) as error:
            told = {"ErrorField": "TaskTags", "ErrorCode": "ServerException", "ErrorMessage": str(error)}
            return {**document, "Errors": [told]}

    async def _stats(self, subject: Subject, own: ContainerSpec) -> Any:
        sandbox = subject.sandbox
        if sandbox is None or own.name not in sandbox.states:
            raise DriverError("it has not started")
        usage = await sandbox.usage(own.name)
        now = Sample(self._clock.now(), usage, metadata_machine.cpu_seconds())
        samples = self._of(subject).samples
        before, samples[own.name] = samples.get(own.name), now
        return metadata_stats.stats(
            now,
            before,
            name=own.name,
            runtime_id=own.runtime_id,
            memory_limit=own.memory or subject.spec.memory,
            processors=os.cpu_count() or 1,
        )

    async def _task_stats(self, subject: Subject, own: ContainerSpec) -> Any:
        """By runtime id; null for a container that has nothing to count."""
        shown: dict[str, Any] = {}
        for container in subject.spec.containers:
            try:
                shown[container.runtime_id] = await self._stats(subject, container)
            except DriverError:
                shown[container.runtime_id] = None
        return shown

    def _of(self, subject: Subject) -> _Memory:
        memory = self._memory.get(subject)
        if memory is None:
            memory = self._memory[subject] = _Memory()
        return memory

    # -- credentials -----------------------------------------------------------------------------------

    async def _credentials(self, request: Request, source_ip: str, id: str) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _json("405 method not allowed", 405)
        if not id:
            return _no_credentials(400, "NoIdInRequest", "No Credential ID in the request")
        subject = self._at(source_ip)
        own = subject.spec.facts.credentials_id if subject is not None else ""
        if subject is None or not own or not hmac.compare_digest(own.encode(), id.encode()):
            return _no_credentials(400, "InvalidIdInRequest", "Credentials not found")
        held = await self._fresh_credentials(subject)
        if held is None:
            message = "Credentials uninitialized for ID"
            return _no_credentials(503, "CredentialsUninitialized", message)
        return _json(
            {
                "RoleArn": held.session.role_arn,
                "AccessKeyId": held.session.access_key_id,
                "SecretAccessKey": held.secret_access_key,
                "Token": held.token,
                "Expiration": metadata.moment(held.session.expires_at, "seconds"),
            }
        )

    async def _fresh_credentials(self, subject: Subject) -> SessionCredentials | None:
        """Those handed out before while they are good for long; the last of them as long as they are good
        at all, if the control plane gives no others.
        """
        memory = self._of(subject)
        async with memory.renewing:
            held, now = memory.credentials, self._clock.now()
            if held is not None and held.session.expires_at - now > RENEW_SECONDS:
                return held
            try:
                async with asyncio.timeout(_CELL_SECONDS):
                    memory.credentials = await self._cell.task_credentials(subject.spec.id)
            except (CellError, TimeoutError) as error:
                log.warning("no credentials for a task: %s", error, extra={"sandbox": subject.spec.id})
                return held if held is not None and held.session.expires_at > now else None
            return memory.credentials

    # -- protection ------------------------------------------------------------------------------------

    async def _protection(self, request: Request, source_ip: str, id: str) -> Response:
        if request.method not in ("GET", "PUT"):
            return _json("405 method not allowed", 405)
        wish = _ProtectionWish()
        if request.method == "PUT":
            try:
                wish = msgspec.json.decode(request.body, type=_ProtectionWish)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                message = "UpdateTaskProtection: failed to decode request"
                return _refused(400, "", "InvalidParameterException", message)
        found = self._find(source_ip, id)
        if found is None:
            return _refused(404, "", "ResourceNotFoundException", "Failed to find a task for the request")
        spec = found[0].spec
        arn = dict(spec.labels).get("com.amazonaws.ecs.task-arn", "")
        if request.method == "PUT" and wish.ProtectionEnabled is None:
            message = "Invalid request: does not contain 'ProtectionEnabled' field"
            return _refused(400, arn, "InvalidParameterException", message)
        if not spec.facts.credentials_id:
            return _refused(403, arn, "AccessDeniedException", _NO_ROLE)
        try:
            async with asyncio.timeout(_CELL_SECONDS):
                status, answer = await self._cell.task_protection(
                    spec.id, wish.ProtectionEnabled, wish.ExpiresInMinutes
                )
        except TimeoutError:
            return _refused(504, arn, "RequestCanceled", "Timed out calling ECS Task Protection API")
        except CellError as error:
            return _refused(500, arn, "ServerException", str(error))
        return _json(answer, status)


def _desired(subject: Subject) -> str:
    return "STOPPED" if subject.ending else "RUNNING"


def _fresh(subject: Subject) -> SandboxStatus:
    """As journalled, and what the driver has learnt since: a container may ask the moment it runs."""
    status, sandbox = subject.status, subject.sandbox
    if sandbox is None:
        return status
    states = dict(sandbox.states)
    fresh = []
    for known in status.containers:
        state = states.get(known.name)
        if state is not None and state.running and known.phase in ("PENDING", "CREATED"):
            known = msgspec.structs.replace(known, phase="RUNNING", started_at=state.started_at)
        fresh.append(known)
    return msgspec.structs.replace(status, containers=tuple(fresh))


async def _storage_used(sandbox: Sandbox | None) -> int | None:
    try:
        return (await sandbox.storage()).used if sandbox is not None else None
    except DriverError:
        return None  # a sandbox of an older daemon, or one that has just gone


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, msgspec.json.encode(value))


def _no_credentials(status: int, code: str, message: str) -> Response:
    text = f"CredentialsV2Request: {message}"
    return _json({"code": code, "message": text, "HTTPErrorCode": status}, status)


def _refused(status: int, arn: str, code: str, message: str) -> Response:
    return _json({"error": {"Arn": arn, "Code": code, "Message": message}}, status)
