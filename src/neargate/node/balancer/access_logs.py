"""Takes away what Envoy noted of requests and connections, every five minutes or when it is much, and has it
kept as access and connection logs. Run by plane.py.

A file that was taken away is on disk until the control plane has it: also one that a killed daemon left.
"""

import asyncio
import gzip
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Protocol

from neargate.kit.clock import Clock
from neargate.model import access_logs, connection_logs
from neargate.model.balancer import LoadBalancer, TargetGroup
from neargate.model.balancing import EMPTY, View
from neargate.model.envoy_clusters import name as cluster_name
from neargate.node.balancer.base import BalancerCell, CellError
from neargate.node.balancer.envoy import Envoy

log = logging.getLogger(__name__)
_LOOK_SECONDS = 5.0
_PERIOD = 300.0
_MUCH = 8 << 20
_SETTLED_SECONDS = 0.5
"""After it was told, Envoy may be in the midst of a last write."""
_KEPT_SECONDS = 3600.0
"""So long a file is tried again that nobody takes: a bucket may come back."""


class _Kind(Protocol):
    """A module of model/ about one kind of logs."""

    ATTRIBUTES: str

    def wanted(self, balancer: LoadBalancer, /) -> bool: ...
    def file_name(self, balancer: LoadBalancer, /) -> str: ...
    def key(self, balancer: LoadBalancer, end: float, address: str, unique: str, /) -> str: ...
    def entry(self, line: str, balancer: LoadBalancer, groups: Mapping[str, TargetGroup], /) -> str: ...


_KINDS: tuple[_Kind, ...] = (access_logs, connection_logs)


class AccessLogs:
    def __init__(self, cell: BalancerCell, envoy: Envoy, clock: Clock) -> None:
        self._cell = cell
        self._envoy = envoy
        self._clock = clock
        self.view: View = EMPTY
        """The newest; set by plane.py."""

    async def run(self) -> NoReturn:
        taken_at = self._clock.now()
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            now = self._clock.now()
            turn = now // _PERIOD > taken_at // _PERIOD
            try:
                if turn or await asyncio.to_thread(self._much):
                    await self.collect()
                    taken_at = now
            except OSError as error:
                log.warning("access logs are not collected: %s", error)

    async def collect(self) -> None:
        """Hand over all that there is. Raise OSError."""
        wanted = {
            kind.file_name(balancer): (kind, balancer)
            for kind in _KINDS
            for balancer in self.view.balancers.values()
            if kind.wanted(balancer)
        }
        if await asyncio.to_thread(self._take, f"{self._clock.now():.0f}"):
            await self._envoy.post("/reopen_logs")
            await self._clock.sleep(_SETTLED_SECONDS)
        for path in sorted(self._envoy.logs.glob("*.taken-*")):
            await self._hand_over(path, wanted.get(path.name.partition(".taken-")[0]))

    def _much(self) -> bool:
        return any(path.stat().st_size > _MUCH for path in self._envoy.logs.glob("*.log"))

    def _take(self, when: str) -> bool:
        found = [path for path in self._envoy.logs.glob("*.log") if path.stat().st_size]
        for path in found:
            path.rename(path.with_name(f"{path.name}.taken-{when}"))
        return bool(found)

    async def _hand_over(self, path: Path, wanted: tuple[_Kind, LoadBalancer] | None) -> None:
        end = float(path.name.rpartition("-")[2])
        if wanted is not None:
            kind, balancer = wanted
            key = kind.key(balancer, end, balancer.zones[0].address, secrets.token_hex(4))
            data = await asyncio.to_thread(self._entries, path, kind, balancer)
            try:
                await self._cell.put_access_log(balancer.arn, key, data, kind.ATTRIBUTES)
            except CellError as error:
                log.warning("logs of requests are not kept: %s", error, extra={"balancer": balancer.arn})
                if self._clock.now() - end < _KEPT_SECONDS:
                    return
        path.unlink(missing_ok=True)

    def _entries(self, path: Path, kind: _Kind, balancer: LoadBalancer) -> bytes:
        groups = {cluster_name(group.arn): group for group in self.view.groups.values()}
        lines = []
        for line in path.read_text(errors="replace").splitlines():
            try:
                lines.append(kind.entry(line, balancer, groups))
            except (ValueError, KeyError):
                log.warning("a line of Envoy's is not readable", extra={"balancer": balancer.arn})
        return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
