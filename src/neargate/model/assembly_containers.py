"""One container of a definition, with its override, as the node runs it. Pure; called by assembly.

Units on the way out: bytes, seconds. The defaults are those of AWS's ContainerDefinition reference.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from neargate.model.sandbox import (
    ContainerSpec,
    Dependency,
    HealthCheck,
    LogSink,
    Mount,
    RestartPolicy,
    Tmpfs,
    Ulimit,
)
from neargate.model.task import Task

_MIB = 1024**2
_SIZE = re.compile(r"([0-9]{1,15})\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_START_TIMEOUT = 120.0
_STOP_TIMEOUT = 30.0

Json = Mapping[str, Any]


def container_spec(
    definition: Json, override: Json, *, task: Task, runtime_id: str, mode: str
) -> ContainerSpec:
    """Raises ValueError on what cannot be made real (credential specs, other log drivers)."""
    _check_supported(definition)
    both = {**definition, **{k: v for k, v in override.items() if k not in ("environment", "name")}}
    linux = definition.get("linuxParameters", {})
    capabilities = linux.get("capabilities", {})
    return ContainerSpec(
        name=definition["name"],
        image=definition["image"],
        runtime_id=runtime_id,
        essential=definition.get("essential", True),
        entrypoint=_words(definition.get("entryPoint")),
        command=_words(both.get("command")),
        environment=_environment(definition, override),
        working_directory=definition.get("workingDirectory") or None,
        user=definition.get("user") or None,
        cpu=both.get("cpu") or 0,
        memory=_mib(both.get("memory")),
        memory_reservation=_mib(both.get("memoryReservation")),
        depends_on=tuple(
            Dependency(container=d["containerName"], condition=d["condition"])
            for d in definition.get("dependsOn", ())
        ),
        health_check=_health_check(definition.get("healthCheck")),
        start_timeout=float(definition.get("startTimeout", _START_TIMEOUT)),
        stop_timeout=float(definition.get("stopTimeout", _STOP_TIMEOUT)),
        restart=_restart(definition.get("restartPolicy")),
        log=_log(definition, task, mode),
        mounts=tuple(
            Mount(volume=m["sourceVolume"], target=m["containerPath"], readonly=m.get("readOnly", False))
            for m in definition.get("mountPoints", ())
        ),
        volumes_from=tuple(
            (v["sourceContainer"], v.get("readOnly", False)) for v in definition.get("volumesFrom", ())
        ),
        tmpfs=tuple(
            Tmpfs(target=t["containerPath"], size=t["size"] * _MIB, options=tuple(t.get("mountOptions", ())))
            for t in linux.get("tmpfs", ())
        ),
        readonly_rootfs=definition.get("readonlyRootFilesystem", False),
        ulimits=tuple(
            Ulimit(name=u["name"], soft=u["softLimit"], hard=u["hardLimit"])
            for u in definition.get("ulimits", ())
        ),
        capabilities_add=tuple(capabilities.get("add", ())),
        capabilities_drop=tuple(capabilities.get("drop", ())),
        init=linux.get("initProcessEnabled", False),
        sysctls=tuple((s["namespace"], s["value"]) for s in definition.get("systemControls", ())),
        tty=definition.get("pseudoTerminal", False),
        interactive=definition.get("interactive", False),
        registry_secret=definition.get("repositoryCredentials", {}).get("credentialsParameter"),
        secrets=tuple((s["name"], s["valueFrom"]) for s in definition.get("secrets", ())),
        environment_files=tuple(f["value"] for f in both.get("environmentFiles") or ()),
    )


def _check_supported(definition: Json) -> None:
    name = definition["name"]
    if definition.get("credentialSpecs"):
        raise ValueError(f"container '{name}' has credentialSpecs, which are not available in this version")
    log = definition.get("logConfiguration")
    if log and log["logDriver"] not in ("awslogs", "awsfirelens"):
        raise ValueError(
            f"failed to initialize logging driver: container '{name}' has log driver {log['logDriver']}; this"
            " version has awslogs and awsfirelens"
        )
    if log and log["logDriver"] == "awslogs" and log.get("secretOptions"):
        raise ValueError(
            f"failed to initialize logging driver: container '{name}' has secretOptions; this version has"
            " them for awsfirelens only"
        )


def _words(words: list[str] | None) -> tuple[str, ...] | None:
    """An empty list means the image's own, as AWS returns it."""
    return tuple(words) if words else None


def _mib(value: int | None) -> int | None:
    return value * _MIB if value else None


def _environment(definition: Json, override: Json) -> tuple[tuple[str, str], ...]:
    merged = {e["name"]: e.get("value", "") for e in definition.get("environment", ())}
    merged.update({e["name"]: e.get("value", "") for e in override.get("environment", ())})
    return tuple(merged.items())


def _health_check(check: Json | None) -> HealthCheck | None:
    if not check or check["command"][:1] == ["NONE"]:
        return None
    return HealthCheck(
        command=tuple(check["command"]),
        interval=float(check.get("interval", 30)),
        timeout=float(check.get("timeout", 5)),
        retries=check.get("retries", 3),
        start_period=float(check.get("startPeriod", 0)),
    )


def _restart(policy: Json | None) -> RestartPolicy | None:
    if not policy or not policy["enabled"]:
        return None
    return RestartPolicy(
        ignored_exit_codes=tuple(policy.get("ignoredExitCodes", ())),
        attempt_period=float(policy.get("restartAttemptPeriod", 300)),
    )


def _log(definition: Json, task: Task, mode: str) -> LogSink | None:
    configuration = definition.get("logConfiguration")
    if not configuration or configuration["logDriver"] != "awslogs":
        return None  # a router's is assembly_firelens's affair
    options: Mapping[str, str] = configuration.get("options", {})
    chosen: Literal["blocking", "non-blocking"] = (
        "blocking" if (options.get("mode") or mode) == "blocking" else "non-blocking"
    )
    size = parse_size(options.get("max-buffer-size", "10m"))
    if size is None:
        raise ValueError(
            "failed to initialize logging driver: max-buffer-size is"
            f" {options.get('max-buffer-size')!r}; it must be a size like 10m"
        )
    prefix = options.get("awslogs-stream-prefix", "")
    return LogSink(
        group=options.get("awslogs-group", ""),
        stream="/".join((prefix, definition["name"], task.id) if prefix else (definition["name"], task.id)),
        region=options.get("awslogs-region") or task.region,
        create_group=options.get("awslogs-create-group", "").lower() == "true",
        mode=chosen,
        max_buffer_bytes=size,
        datetime_format=options.get("awslogs-datetime-format", ""),
        multiline_pattern=options.get("awslogs-multiline-pattern", ""),
    )


def parse_size(text: str) -> int | None:
    """Bytes of `10m`, `25mb`, `1048576` as Docker writes sizes; None if it is none (or zero)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    return int(match[1]) * _UNITS[match[2].lower()] or None
