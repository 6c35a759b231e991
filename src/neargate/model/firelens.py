"""What a FireLens router is told: its configuration file, in Fluent Bit's or Fluentd's words. Pure.

Called by assembly_firelens, which gives the router the file. Sections, their order and their options are
those that the ECS agent writes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["fluentbit", "fluentd"]
CONFIG_PATH: Mapping[Kind, str] = {
    "fluentbit": "/fluent-bit/etc/fluent-bit.conf",
    "fluentd": "/fluentd/etc/fluent.conf",
}
SOCKET_DIRECTORY, SOCKET = "/var/run", "fluent.sock"
HOST, PORT, HEALTH_PORT = "127.0.0.1", "24224", "8877"
_HEALTH_TAG = "firelens-healthcheck"
_DEFAULT_BUFFER = "25MB"
_OUTPUT_KEY: Mapping[Kind, str] = {"fluentbit": "Name", "fluentd": "@type"}
_ANY: Mapping[Kind, str] = {"fluentbit": "*", "fluentd": "**"}
_OWN_OPTIONS = ("include-pattern", "exclude-pattern", "log-driver-buffer-limit")
"""Options of the driver, which the output is not told."""

Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Router:
    kind: Kind
    options: Options
    """Of firelensConfiguration."""
    memory_mib: int | None
    record: Options
    """What every record is given, unless the options say otherwise."""


@dataclass(frozen=True, slots=True)
class _Pipe:
    """An input or output: the plugin's name, a tag or a pattern of tags, options."""

    name: str
    tag: str
    options: Options


def tag(container: str, task_id: str) -> str:
    """What a container's lines are tagged with."""
    return f"{container}-firelens-{task_id}"


def placeholder(kind: Kind, variable: str) -> str:
    """The value of a variable of the router's environment, where its configuration is read."""
    return f"${{{variable}}}" if kind == "fluentbit" else f"\"#{{ENV['{variable}']}}\""


def configuration(router: Router, logs: Mapping[str, Options]) -> str:
    """logs -- log options of each container that logs to the router. ValueError where one has no output."""
    kind = router.kind
    includes: list[tuple[str, str]] = []
    excludes: list[tuple[str, str]] = []
    outputs = [_Pipe("null", _HEALTH_TAG, {})] if kind == "fluentbit" else []
    for container, options in logs.items():
        pattern = f"{container}-firelens{_ANY[kind]}"
        if "include-pattern" in options:
            includes.append((pattern, options["include-pattern"]))
        if "exclude-pattern" in options:
            excludes.append((pattern, options["exclude-pattern"]))
        outputs += _output(kind, container, pattern, options)
    record = router.record if _with_metadata(router.options) else {}
    file = router.options.get("config-file-value", "") if "config-file-type" in router.options else ""
    write = _fluent_bit if kind == "fluentbit" else _fluentd
    sections = write(_inputs(router), includes, excludes, record, file, outputs)
    return "".join(f"\n{section}\n" for section in sections)


def _with_metadata(options: Options) -> bool:
    return options.get("enable-ecs-log-metadata", "true") in ("1", "t", "T", "TRUE", "true", "True")


def _inputs(router: Router) -> list[_Pipe]:
    socket = f"{SOCKET_DIRECTORY}/{SOCKET}"
    if router.kind == "fluentd":
        return [_Pipe("unix", "", {"path": socket}), _Pipe("forward", "", {"bind": HOST, "port": PORT})]
    buffer = f"{router.memory_mib // 2}MB" if router.memory_mib else _DEFAULT_BUFFER
    return [
        _Pipe("forward", "", {"Mem_Buf_Limit": buffer, "unix_path": socket}),
        _Pipe("forward", "", {"Listen": HOST, "Port": PORT}),
        _Pipe("tcp", _HEALTH_TAG, {"Listen": HOST, "Port": HEALTH_PORT}),
    ]


def _output(kind: Kind, container: str, pattern: str, options: Options) -> list[_Pipe]:
    """None where the container's output is a matter of the router's own configuration file."""
    key = _OUTPUT_KEY[kind]
    rest = {name: options[name] for name in sorted(options) if name != key and name not in _OWN_OPTIONS}
    if key in options:
        return [_Pipe(options[key], pattern, rest)]
    if rest:
        raise ValueError(
            f"unable to generate firelens config file: unable to apply log options of container {container}"
            f" to firelens config: missing output key {key} which is required for firelens configuration of"
            f" type {kind}"
        )
    return []


def _lines(options: Options, indent: str = "    ") -> list[str]:
    return [f"{indent}{name} {value}" for name, value in options.items()]


def _fluent_bit(
    inputs: Iterable[_Pipe],
    includes: Iterable[tuple[str, str]],
    excludes: Iterable[tuple[str, str]],
    record: Options,
    file: str,
    outputs: Iterable[_Pipe],
) -> list[str]:
    def section(head: str, *lines: str) -> str:
        return "\n".join((head, *lines))

    found = []
    for pipe in inputs:
        named = {"Name": pipe.name} | ({"Tag": pipe.tag} if pipe.tag else {})
        found.append(section("[INPUT]", *_lines({**named, **pipe.options})))
    for word, filters in (("Regex ", includes), ("Exclude", excludes)):
        for pattern, expression in filters:
            lines = ("    Name   grep", f"    Match {pattern}", f"    {word} log {expression}")
            found.append(section("[FILTER]", *lines))
    if record:
        fields = _lines(dict(sorted(record.items())), "    Record ")
        found.append(section("[FILTER]", "    Name record_modifier", "    Match *", *fields))
    if file:
        found.append(f"@INCLUDE {file}")
    for pipe in outputs:
        named = {"Name": pipe.name, "Match": pipe.tag}
        found.append(section("[OUTPUT]", *_lines({**named, **pipe.options})))
    return found


def _fluentd(
    inputs: Iterable[_Pipe],
    includes: Iterable[tuple[str, str]],
    excludes: Iterable[tuple[str, str]],
    record: Options,
    file: str,
    outputs: Iterable[_Pipe],
) -> list[str]:
    def section(kind: str, pattern: str, *lines: str) -> str:
        return "\n".join((f"<{kind} {pattern}>" if pattern else f"<{kind}>", *lines, f"</{kind}>"))

    found = [section("source", "", *_lines({"@type": p.name, **p.options})) for p in inputs]
    for word, filters in (("regexp", includes), ("exclude", excludes)):
        for pattern, expression in filters:
            inner = (f"    <{word}>", "        key log", f"        pattern {expression}", f"    </{word}>")
            found.append(section("filter", pattern, "    @type  grep", *inner))
    if record:
        fields = _lines(dict(sorted(record.items())), " " * 8)
        lines = ("    @type record_transformer", "    <record>", *fields, "    </record>")
        found.append(section("filter", "**", *lines))
    if file:
        found.append(f"@include {file}")
    found += [section("match", p.tag, *_lines({"@type": p.name, **p.options})) for p in outputs]
    return found
