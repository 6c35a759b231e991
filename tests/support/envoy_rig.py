"""A real Envoy with targets in this process, on addresses of 127.0.0.0/8: what the data plane does, without
tasks or a store. Needs root, as Envoy is started as another user.
"""

import asyncio
import concurrent.futures
import socket
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import uvloop

from neargate.kit.clock import SystemClock
from neargate.kit.settings import Settings
from neargate.model.balancer import (
    BalancerZone,
    Listener,
    ListenerRule,
    LoadBalancer,
    Target,
    TargetGroup,
    target_id,
)
from neargate.model.balancing import EMPTY, KeyPair, View
from neargate.model.envoy import Translator
from neargate.node.balancer.ads import Ads, served
from neargate.node.balancer.base import BalancerCell
from neargate.node.balancer.envoy import Envoy
from neargate.node.balancer.publication import Publication
from neargate.node.balancer.waking import Waking
from tests.support.cgroups import remove_group_of
from tests.support.reachable import reachable
from tests.support.real import CHANCE
from tests.support.web_target import WebTarget

T = TypeVar("T")
_SCOPE = {"account": "000000000000", "region": "us-east-1"}
_ARN = "arn:aws:elasticloadbalancing:us-east-1:000000000000:"
BALANCER = f"{_ARN}loadbalancer/app/web/50dc6c495c0c9188"


def group(name: str, **more: Any) -> TargetGroup:
    arn = f"{_ARN}targetgroup/{name}/{name.encode().hex()[:16]:0<16}"
    given = {"protocol": "HTTP", "protocol_version": "HTTP1", **more}
    return TargetGroup(
        **_SCOPE, arn=arn, name=name, port=80, vpc_id="vpc-1", balancer_arns=(BALANCER,), **given
    )


def balancer(address: str, **more: Any) -> LoadBalancer:
    zone = BalancerZone(zone="us-east-1a", subnet_id="subnet-1", address=address, interface_id="eni-1")
    given = {
        "arn": BALANCER,
        "name": "web",
        "vpc_id": "vpc-1",
        "dns_name": "web.elb",
        "zones": (zone,),
        **more,
    }
    return LoadBalancer(**_SCOPE, **given)


def forward(*to: tuple[TargetGroup, int], sticky: int = 0) -> dict[str, Any]:
    config: dict[str, Any] = {"TargetGroups": [{"TargetGroupArn": g.arn, "Weight": w} for g, w in to]}
    if sticky:
        config["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": sticky}
    return {"Type": "forward", "ForwardConfig": config}


def listener(action: Mapping[str, Any], port: int = 80, protocol: str = "HTTP", **more: Any) -> Listener:
    arn = f"{BALANCER.replace('loadbalancer/', 'listener/')}/{port:016x}"
    given = {"arn": arn, "balancer_arn": BALANCER, "port": port, "protocol": protocol, **more}
    return Listener(**_SCOPE, actions=(dict(action),), **given)


def rule(
    to: Listener, priority: int, action: Mapping[str, Any], *conditions: Mapping[str, Any]
) -> ListenerRule:
    arn = f"{to.arn.replace('listener/', 'listener-rule/')}/{priority:016x}"
    given = {"arn": arn, "listener_arn": to.arn, "priority": priority, "actions": (dict(action),)}
    return ListenerRule(**_SCOPE, conditions=tuple(dict(c) for c in conditions), **given)


def target(of: TargetGroup, port: int, state: str = "healthy", address: str = "127.0.0.1") -> Target:
    return Target(**_SCOPE, group_arn=of.arn, address=address, port=port, state=state)


@dataclass
class Rig:
    """`with Rig(directory) as rig`: `web` makes a target, `publish` tells Envoy, `get` asks it."""

    directory: Path
    address: str = field(default_factory=lambda: f"127.{CHANCE.randint(1, 250)}.{CHANCE.randint(0, 250)}.9")
    publication: Publication = field(default_factory=Publication)
    translator: Translator = field(default_factory=Translator)

    woken: list[str] = field(default_factory=list)
    """Groups whose service was asked for."""

    async def wake(self, group_arn: str) -> None:
        self.woken.append(group_arn)

    def __enter__(self) -> "Rig":
        self.waking = Waking(cast("BalancerCell", self), self.publication, SystemClock())
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        # Not under pytest's directory, which each session that begins closes to other users.
        self._scratch = tempfile.TemporaryDirectory(prefix="rig-")
        Path(self._scratch.name).chmod(0o711)
        self.envoy = Envoy(Settings(data_dir=self.directory / "data", run_dir=Path(self._scratch.name)))
        self.translator = Translator(str(self.envoy.logs))
        (self.directory / "data").mkdir(parents=True, exist_ok=True)
        reachable(self.directory)
        ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._running = asyncio.run_coroutine_threadsafe(self._run(ready), self._loop)
        ready.result(20)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._running.cancel)
        concurrent.futures.wait([self._running], 20)
        self.do(asyncio.sleep(0.1))
        self.do(self.envoy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._scratch.cleanup()
        remove_group_of(self.directory / "data")

    async def _run(self, ready: "concurrent.futures.Future[None]") -> None:
        async def begun(adopted: bool) -> None:
            if not ready.done():
                ready.set_result(None)

        self.envoy.prepare()
        handlers = (Ads(self.publication).handlers(), self.waking.handlers())
        async with served(self.envoy.socket, self.envoy.uid, *handlers):
            await self.envoy.companion.run(self.envoy.command(), begun)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def web(self, name: str, port: int = 0) -> tuple[WebTarget, int]:
        """A target and its port."""
        made = WebTarget(name)
        server = self.do(asyncio.start_server(made.serve, "127.0.0.1", port))
        return made, server.sockets[0].getsockname()[1]

    @staticmethod
    def free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def view(
        self,
        listeners: Sequence[Listener],
        groups: Sequence[TargetGroup] = (),
        targets: Sequence[Target] = (),
        rules: Sequence[ListenerRule] = (),
        *,
        attributes: Mapping[str, str] | None = None,
        certificates: Mapping[str, KeyPair] | None = None,
    ) -> View:
        return View(
            {BALANCER: balancer(self.address, attributes=dict(attributes or {}))},
            {it.arn: it for it in listeners},
            {it.arn: it for it in rules},
            {it.arn: it for it in groups},
            {target_id(it.group_arn, it.address, it.port): it for it in targets},
            certificates or {},
        )

    def publish(self, view: View = EMPTY) -> None:
        """Returns when Envoy has taken it. AssertionError with its words if it refused a part."""

        async def told() -> None:
            async with asyncio.timeout(20):
                number = self.publication.publish(self.translator.resources(view))
                self.waking.take(view, number)
                await self.publication.applied(number)

        self.publication.refused.clear()
        self.do(told())
        assert not self.publication.refused, self.publication.refused

    def get(self, path: str = "/", *options: str, port: int = 80, scheme: str = "http") -> "Answer":
        url = f"{scheme}://{self.address}:{port}{path}"
        command = ["curl", "-sS", "-k", "-i", "--max-time", "20", *options, url]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return Answer.read(done.stdout)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str
    cookies: Sequence[str] = ()

    @staticmethod
    def read(text: str) -> "Answer":
        head, _, body = text.replace("\r\n", "\n").partition("\n\n")
        first, *lines = head.split("\n")
        pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        cookies = [value for name, value in pairs if name == "set-cookie"]
        return Answer(int(first.split(" ")[1]), dict(pairs), body, cookies)
