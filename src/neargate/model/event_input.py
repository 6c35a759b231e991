"""What a target gets of an event: Input, InputPath, or a template with values of the event. Pure.

Called by services/events to check a target, and by control/event_targets for each delivery.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from neargate.model.event import Target

_STEP = re.compile(r"\.([A-Za-z0-9_@:-]+)|\[([0-9]{1,6})\]|\['([^']+)'\]|\[\"([^\"]+)\"\]|\[\*\]|\.\*")
_PLACEHOLDER = re.compile(r"<([A-Za-z0-9_.-]{1,256})>")
_MISSING: Final = object()
RESERVED: Final = frozenset(
    (
        "aws.events.rule-arn",
        "aws.events.rule-name",
        "aws.events.event",
        "aws.events.event.json",
        "aws.events.event.ingestion-time",
    )
)
MAX_PATHS = 100
MAX_TEXT = 1_048_576
"""Characters that a template may come to: it can name a long event very often."""


class InputError(ValueError):
    """A path or a template cannot be used, or comes to too much; the message says which and why."""


Step = str | int | None
"""A member, an element, or (None) every one of either."""


@functools.lru_cache(maxsize=1024)
def path_of(text: str) -> tuple[Step, ...]:
    """A JSONPath of the sort that EventBridge takes: `$`, `$.detail.state`, `$.resources[0]`."""
    if not text.startswith("$"):
        raise InputError(f"Invalid InputPath: {text[:256]} does not begin with $")
    steps: list[Step] = []
    position = 1
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise InputError(f"Invalid InputPath: {text[:256]}")
        name = match[1] or match[3] or match[4]
        steps.append(name if name is not None else int(match[2]) if match[2] is not None else None)
        position = match.end()
    return tuple(steps)


def found(event: Any, path: tuple[Step, ...]) -> Any:
    """The value at a path; _MISSING where there is none."""
    for place, step in enumerate(path):
        if step is None:
            inner = event if isinstance(event, list) else list(event.values()) if _is_map(event) else []
            values = (found(item, path[place + 1 :]) for item in inner)
            return [value for value in values if value is not _MISSING]
        if isinstance(step, int):
            if not isinstance(event, list) or step >= len(event):
                return _MISSING
            event = event[step]
        else:
            if not _is_map(event) or step not in event:
                return _MISSING
            event = event[step]
    return event


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def check(target: Target) -> None:
    """Raise InputError on what cannot be carried out."""
    if target.input_path is not None:
        path_of(target.input_path)
    if len(target.input_paths) > MAX_PATHS:
        raise InputError(f"InputPathsMap can have at most {MAX_PATHS} entries")
    for name, text in target.input_paths.items():
        if name.startswith("AWS"):
            raise InputError(f"Invalid InputPathsMap: the key {name[:256]} begins with AWS")
        path_of(text)
    if target.input_template is not None:
        known = {*target.input_paths, *RESERVED}
        for name in _PLACEHOLDER.findall(target.input_template):
            if name not in known:
                raise InputError(f"Invalid InputTemplate: there is no input path for <{name}>")
    if target.input is not None:
        try:
            json.loads(target.input)
        except (ValueError, RecursionError):
            raise InputError("JSON syntax error in input") from None


def payload(target: Target, event: Mapping[str, Any], rule_arn: str, ingested: str) -> str:
    """What the target is sent: text of JSON, or the text that the template comes to. Raise InputError."""
    if target.input is not None:
        return target.input
    if target.input_template is not None:
        return _filled(target, event, rule_arn, ingested)
    value = found(event, path_of(target.input_path)) if target.input_path is not None else event
    return json_text({} if value is _MISSING else value)


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _filled(target: Target, event: Mapping[str, Any], rule_arn: str, ingested: str) -> str:
    """The template with its placeholders replaced. Between quotation marks a text stands bare, and anything
    else as its JSON; outside of them all stand as JSON. What the event lacks is an empty text, or null."""
    template, out, position, quoted = target.input_template or "", [], 0, False
    left = MAX_TEXT
    value_of = _values(target, event, rule_arn, ingested)
    while position < len(template):
        character = template[position]
        match = _PLACEHOLDER.match(template, position) if character == "<" else None
        if match is not None:
            value = value_of(match[1])
            out.append(_within(value) if quoted else _outside(value))
            position = match.end()
            left -= len(out[-1])
            if left < 0:
                raise InputError(f"The InputTemplate comes to more than {MAX_TEXT} characters")
            continue
        if character == "\\" and quoted:
            out.append(template[position : position + 2])
            position += 2
            continue
        if character == '"':
            quoted = not quoted
        out.append(character)
        position += 1
    return "".join(out)


def _values(target: Target, event: Mapping[str, Any], rule_arn: str, ingested: str) -> Callable[[str], Any]:
    reserved: dict[str, Callable[[], Any]] = {
        "aws.events.rule-arn": lambda: rule_arn,
        "aws.events.rule-name": lambda: rule_arn.rpartition("/")[2],
        "aws.events.event.ingestion-time": lambda: ingested,
        "aws.events.event": lambda: {name: value for name, value in event.items() if name != "detail"},
        "aws.events.event.json": lambda: event,
    }

    def value_of(name: str) -> Any:
        if name in target.input_paths:
            return found(event, path_of(target.input_paths[name]))
        return reserved[name]() if name in reserved else _MISSING

    return value_of


def _within(value: Any) -> str:
    if value is _MISSING:
        return ""
    text = value if isinstance(value, str) else json_text(value)
    return json_text(text)[1:-1]


def _outside(value: Any) -> str:
    return "null" if value is _MISSING else json_text(value)
