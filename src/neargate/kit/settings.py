"""Every setting of neargate, in one typed place. Read once by `main` and the CLI, then passed along.

A setting is a field of Settings; its environment variable is NEARGATE_ + the field's name in capitals.
`docs/settings.md` documents each (a test fails on one that is missing).
"""

import dataclasses
import ipaddress
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

PREFIX = "NEARGATE_"


_CHOICES = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_driver_mode": ("blocking", "non-blocking"),
    "iam": ("known", "strict", "off"),
    "microvm_vmm": ("auto", "qemu", "firecracker"),
}
_POSITIVE = (
    "max_body_bytes",
    "request_timeout_seconds",
    "log_max_bytes",
    "metrics_max_bytes",
    "overcommit_cpu",
    "overcommit_memory",
    "exec_idle_seconds",
    "usage_retention_days",
)
_NOT_NEGATIVE = (
    "image_cache_bytes",
    "stopped_task_seconds",
    "service_healthy_seconds",
    "task_dir_min_free_bytes",
)
_WORDS = {bool: "true or false", int: "a whole number", float: "a number"}


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the message names it and says what would be right."""


@dataclass(frozen=True, slots=True)
class Settings:
    data_dir: Path = Path("/var/lib/neargate")
    """Everything that outlives the daemon: store, blobs, images, task directories, credentials."""
    run_dir: Path = Path("/run/neargate")
    """Locks that keep several daemons of one machine apart."""
    host: str = "127.0.0.1"
    """Address the door listens on. Anything but loopback needs TLS (or `insecure`)."""
    port: int = 4566
    """Port the door listens on."""
    tls_cert: str = ""
    """PEM certificate of the door; `generate` makes a self-signed one in the data directory."""
    tls_key: str = ""
    """PEM key of the door."""
    insecure: bool = False
    """Listen beyond loopback without TLS all the same."""
    account_id: str = "000000000000"
    """The account that records belong to: twelve digits."""
    region: str = "us-east-1"
    """The region that records belong to."""
    root_access_key_id: str = ""
    """Root credential to import; made at first start when empty."""
    root_secret_access_key: str = dataclasses.field(default="", repr=False)
    """Secret of the root credential to import."""
    iam: str = "known"
    """Whose rights are checked: `known` (roles created through the IAM API have the rights of their policies,
    any other has all), `strict` (a role that nobody created does not exist) or `off`."""
    isolation: str = "auto"
    """Sandbox tier: `auto` (the strongest that works), `process`, `gvisor` or `microvm` (emulated in software
    where KVM boots no guest); tasks may demand more."""
    ready_microvms: int = 0
    """Virtual machines kept ready for each task size in use; each holds some 80 MB of memory."""
    microvm_vmm: str = "auto"
    """What runs virtual machines: `qemu`, `firecracker`, or `auto`: Firecracker if its two programs are on
    PATH and KVM boots a guest in it, else QEMU."""
    ephemeral: bool = False
    """A throw-away daemon: `neargate reset` and POST /_neargate/reset are allowed."""
    vpc_cidr: str = "172.31.0.0/16"
    """Address range of the default VPC (a /16 to /24), routed on this machine; its own per daemon."""
    max_body_bytes: int = 64 * 1024 * 1024
    """Largest body of an API request (registry uploads are streamed and have no such bound)."""
    request_timeout_seconds: float = 60.0
    """Longest time a client may take to send a request's body."""
    image_cache_bytes: int = 20 * 1024**3
    """Unused images and blobs are collected beyond this size."""
    log_max_bytes: int = 4 * 1024**3
    """Oldest log events are dropped beyond this total size of stored events."""
    metrics_max_bytes: int = 1024**3
    """Oldest data points are dropped beyond this total size of stored metrics."""
    stopped_task_seconds: float = 3600.0
    """How long a stopped task stays describable."""
    usage_retention_days: int = 400
    """How long `neargate cost` counts a task that has ended; then its usage record is removed."""
    service_healthy_seconds: float = 40.0
    """A service's task without target and health check counts as healthy after running so long."""
    task_dir_min_free_bytes: int = 256 * 1024**2
    """Below this much free disk no new task is placed."""
    overcommit_cpu: float = 64.0
    """vCPUs that may be placed, as a multiple of the machine's cores."""
    overcommit_memory: float = 16.0
    """Task memory that may be placed, as a multiple of the machine's memory."""
    exec_idle_seconds: float = 1200.0
    """A session of ECS Exec in which nothing is typed or shown for so long is ended."""
    log_level: str = "info"
    """debug, info, warning or error."""
    large_tasks: bool = False
    """Accept the 32 vCPU sizes (AWS documents them for Batch; its ECS API refused them)."""
    registry_insecure_hosts: str = ""
    """Comma-separated registry hosts that may be pulled from over plain HTTP."""
    event_http_hosts: str = ""
    """Comma-separated hosts (`host` or `host:port`) that EventBridge's API destinations may call."""
    registry_ca_file: str = ""
    """Extra PEM bundle trusted for foreign registries."""
    pricing_file: str = ""
    """JSON file that overrides the price table."""
    log_driver_mode: str = "non-blocking"
    """Default `mode` of awslogs (the account setting defaultLogDriverMode wins)."""
    efs_root: str = ""
    """Directory of EFS's file systems, on any mounted file system; empty: `efs` in the data directory."""
    host_names: bool = True
    """Keep load balancers' names in this machine's /etc/hosts, in a block of the daemon's own."""
    inject_endpoint_url: bool = True
    """Give tasks AWS_ENDPOINT_URL=http://169.254.170.2:4566, by which their SDKs reach this daemon."""

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None, **overrides: Any) -> "Settings":
        """Defaults, then the environment, then overrides that are not None."""
        env = os.environ if env is None else env
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            raw = env.get(PREFIX + field.name.upper())
            if raw is not None:
                values[field.name] = _parse(field.name, hints[field.name], raw)
        values.update({k: v for k, v in overrides.items() if v is not None})
        settings = cls(**values)
        settings.check()
        return settings

    @property
    def efs_directory(self) -> Path:
        return Path(self.efs_root or self.data_dir / "efs").resolve()

    def check(self) -> None:
        """Raise SettingsError on values that cannot work together."""
        if not re.fullmatch(r"[0-9]{12}", self.account_id):
            raise SettingsError(f"NEARGATE_ACCOUNT_ID is {self.account_id!r}: it must be twelve digits")
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", self.region):
            raise SettingsError(f"NEARGATE_REGION is {self.region!r}: it must look like us-east-1")
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"NEARGATE_PORT is {self.port}: it must be 0 to 65535")
        if self.isolation not in ("auto", "process", "gvisor", "microvm", "fake"):
            raise SettingsError(
                f"NEARGATE_ISOLATION is {self.isolation!r}: it must be auto, process, gvisor or microvm"
            )
        if bool(self.root_access_key_id) != bool(self.root_secret_access_key):
            raise SettingsError(
                "NEARGATE_ROOT_ACCESS_KEY_ID and NEARGATE_ROOT_SECRET_ACCESS_KEY go together: set both or"
                " none"
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingsError(
                    f"{PREFIX}{name.upper()} is {getattr(self, name)!r}: it must be {' or '.join(choices)}"
                )
        for name in (*_POSITIVE, *_NOT_NEGATIVE):
            value, zero = getattr(self, name), name in _NOT_NEGATIVE
            if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
                right = "0 or more" if zero else "above 0"
                raise SettingsError(f"{PREFIX}{name.upper()} is {value}: it must be {right}")
        try:
            network = ipaddress.IPv4Network(self.vpc_cidr)
        except ValueError as error:
            raise SettingsError(f"NEARGATE_VPC_CIDR is {self.vpc_cidr!r}: {error}") from None
        if not 16 <= network.prefixlen <= 24:
            raise SettingsError(f"NEARGATE_VPC_CIDR is {self.vpc_cidr!r}: its prefix must be /16 to /24")


def _parse(name: str, kind: type, raw: str) -> Any:
    variable = PREFIX + name.upper()
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}[
                raw.strip().lower()
            ]
        return kind(raw)
    except (KeyError, ValueError):
        raise SettingsError(f"{variable} is {raw!r}: it must be {_WORDS[kind]}") from None
