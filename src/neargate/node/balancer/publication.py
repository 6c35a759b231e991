"""What Envoy is to have, and a conversation in which it is told: the rules of delta xDS, without I/O.

Called by ads.py. A change is told in three steps, each when Envoy has taken the one before: clusters with
their endpoints and certificates, then listeners and routes that lead there, then the end of what nothing
leads to any more. So no request is ever led to what Envoy does not know, nor past the waiting (waking.py) to
a cluster that has lost its last endpoint.
"""

import asyncio
import hashlib
import logging
import re
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from neargate.model import envoy
from neargate.node.balancer.protos import packed

log = logging.getLogger(__name__)

_WHOLE = (envoy.CLUSTER, envoy.LISTENER)
"""Told whole; of the others only what is asked for."""
_FIRST = (envoy.CLUSTER, envoy.ENDPOINTS, envoy.SECRET)
_THEN = (envoy.LISTENER, envoy.ROUTES)


@dataclass(frozen=True, slots=True)
class _Packed:
    source: envoy.Resource
    version: str
    resource: any_pb2.Any
    empty: bool
    """Endpoints of a cluster that has none."""


class Publication:
    """The newest resources. `changed` are called after each change."""

    def __init__(self) -> None:
        self.number = 0
        """Of the newest; 0 before the first, when nothing is told yet."""
        self.wanted: dict[str, dict[str, _Packed]] = {}
        self.changed: set[Callable[[], None]] = set()
        self.refused: deque[str] = deque(maxlen=16)
        """Envoy's words about what it did not take, newest last."""
        self.unopened: dict[str, str] = {}
        """Listeners that Envoy could not open, and its words about each."""
        self.heard: set[Callable[[], None]] = set()
        """Called when `unopened` is another than before."""
        self.attempt = 0
        self._taken = 0
        self._waiting: set[asyncio.Event] = set()

    def publish(self, resources: envoy.Resources) -> int:
        """Returns the number to wait for."""
        wanted = {
            kind: {name: self._packed(kind, name, resource) for name, resource in named.items()}
            for kind, named in resources.items()
        }
        if wanted != self.wanted:
            self.wanted = wanted
            self.number += 1
            for tell in list(self.changed):
                tell()
        return self.number

    def _packed(self, kind: str, name: str, resource: envoy.Resource) -> _Packed:
        known = self.wanted.get(kind, {}).get(name)
        if known is not None and known.source is resource:
            return known
        message = packed(kind, resource)
        version = hashlib.sha256(message.value).hexdigest()[:16]
        if known is not None and known.version == version:
            return known
        empty = kind == envoy.ENDPOINTS and not resource["endpoints"]
        return _Packed(resource, version, message, empty)

    def answered(self, listeners: Collection[str], refusal: str) -> bool:
        """Envoy took these listeners, but for those that a refusal names; whether it says anything new."""
        before, named = dict(self.unopened), False
        for name in listeners:
            if found := re.search(rf"(?:^|\s){re.escape(name)}: ([^\n]*)", refusal):
                self.unopened[name], named = found[1].strip(), True
            else:
                self.unopened.pop(name, None)
        if self.unopened != before:
            for tell in list(self.heard):
                tell()
        return self.unopened != before or not named

    def again(self) -> None:
        """Have Envoy try to open what it could not."""
        self.attempt += 1
        for tell in list(self.changed):
            tell()

    def taken(self, number: int) -> None:
        """Envoy has all up to a number."""
        self._taken = number
        for event in self._waiting:
            event.set()

    async def applied(self, number: int) -> None:
        """Wait until Envoy has taken it."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            while self._taken < number:
                event.clear()
                await event.wait()
        finally:
            self._waiting.discard(event)


class Conversation:
    """One stream from one Envoy. After each `hear`, and each change, `next` is asked until it has no more."""

    def __init__(self, publication: Publication) -> None:
        self._publication = publication
        self._known: dict[str, dict[str, str]] = {}
        self._asked: dict[str, set[str]] = {}
        self._pending: dict[str, str] = {}
        """Kind -> nonce that is not answered yet."""
        self._listeners: list[str] = []
        """Those of the last answer about listeners."""
        self._attempt = publication.attempt
        self._nonces = 0

    def hear(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        kind = request.type_url
        names = set(request.resource_names_subscribe)
        if kind not in self._known:
            self._known[kind] = dict(request.initial_resource_versions)
            self._asked[kind] = set()
        else:
            for name in names:
                self._known[kind].pop(name, None)
        self._asked[kind] |= names
        for name in request.resource_names_unsubscribe:
            self._asked[kind].discard(name)
            self._known[kind].pop(name, None)
        refusal = request.error_detail.message if request.HasField("error_detail") else ""
        new = bool(refusal)
        if request.response_nonce and self._pending.get(kind) == request.response_nonce:
            del self._pending[kind]
            if kind == envoy.LISTENER:
                new = self._publication.answered(self._listeners, refusal)
        if refusal:
            self._publication.refused.append(refusal)
            if new:
                log.error("Envoy refused a part of its configuration: %s", refusal)

    def next(self) -> discovery_pb2.DeltaDiscoveryResponse | None:
        if not self._publication.number:
            return None
        number = self._publication.number
        self._try_again()
        for kind in _FIRST:
            if response := self._news(kind, ended=False):
                return response
        if not self._has_clusters():
            return None
        for kind in _THEN:
            if response := self._news(kind, ended=True):
                return response
        if any(kind in self._pending for kind in _THEN):
            return None
        for kind in _FIRST:
            if response := self._news(kind, ended=True):
                return response
        if not self._pending:
            self._publication.taken(number)
        return None

    def _try_again(self) -> None:
        """Listeners that Envoy refused are told once more when that is asked for."""
        if self._attempt != self._publication.attempt:
            self._attempt = self._publication.attempt
            for name in self._publication.unopened:
                self._known.get(envoy.LISTENER, {}).pop(name, None)

    def _has_clusters(self) -> bool:
        """All clusters with their endpoints, nothing of it under way."""
        wanted = self._publication.wanted
        names = wanted[envoy.CLUSTER].keys()
        return (
            envoy.CLUSTER in self._known
            and not any(kind in self._pending for kind in _FIRST)
            and (not names or names <= self._known.get(envoy.ENDPOINTS, {}).keys())
        )

    def _news(self, kind: str, *, ended: bool) -> discovery_pb2.DeltaDiscoveryResponse | None:
        """ended -- also what is gone, and that what was there has come to be empty."""
        if kind not in self._known or kind in self._pending:
            return None
        known, wanted = self._known[kind], self._publication.wanted[kind]
        names = wanted.keys() if kind in _WHOLE else wanted.keys() & self._asked[kind]
        changed = [name for name in names if known.get(name) != wanted[name].version]
        if not ended:
            changed = [name for name in changed if name not in known or not wanted[name].empty]
        gone = [name for name in known if name not in wanted] if ended else []
        if not changed and not gone:
            return None
        self._nonces += 1
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=kind, nonce=str(self._nonces))
        for name in changed:
            version = wanted[name].version
            response.resources.add(name=name, version=version, resource=wanted[name].resource)
            known[name] = version
        for name in gone:
            response.removed_resources.append(name)
            del known[name]
        self._pending[kind] = response.nonce
        if kind == envoy.LISTENER:
            self._listeners = [*changed, *gone]
        return response
