"""Rules of a container's environment: where a secret's `valueFrom` points, what a file of variables says, and
which of several values counts.

Pure. Called by services/cell (sources, JSON keys) and node/environment (files, merging). Errors are
ValueErrors in words fit for a task's stoppedReason; they never hold a value.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MAX_FILE_BYTES = 1024**2
_S3_ARN = re.compile(r"arn:[a-z0-9-]+:s3:::([^/:]+)/(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SecretSource:
    """A value in Secrets Manager, or one member of it where it is a JSON object."""

    arn: str
    region: str
    json_key: str = ""
    stage: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class ParameterSource:
    """A value in Parameter Store."""

    name: str
    """Name or ARN, with its selector if there is one."""
    region: str
    """Empty: the task's."""


def source_of(value_from: str) -> SecretSource | ParameterSource:
    """What `valueFrom` names:

    arn:aws:secretsmanager:<region>:<account>:secret:<name>[:<json key>:<version stage>:<version id>]
    arn:aws:ssm:<region>:<account>:parameter/<name>        <name> of the task's region
    """
    if not value_from.startswith("arn:"):
        return ParameterSource(value_from, "")
    parts = value_from.split(":")
    if len(parts) >= 6 and parts[2] == "ssm":
        return ParameterSource(value_from, parts[3])
    if len(parts) in (7, 10) and parts[2] == "secretsmanager":
        return SecretSource(":".join(parts[:7]), parts[3], *parts[7:])
    raise ValueError(f"unexpected ARN format: {value_from}")


def json_member(text: str, key: str) -> str:
    """A member of a JSON object as an environment variable holds it: texts bare, the rest as JSON."""
    try:  # numbers stay as they are written: 1.50, 1e6
        document = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise ValueError("the secret's value is not JSON") from None
    if not isinstance(document, dict) or key not in document:
        raise ValueError(f"retrieved secret from Secrets Manager did not contain json key {key}")
    value = document[key]
    return value if isinstance(value, str) else json.dumps(json.loads(text)[key])


def bucket_and_key(arn: str) -> tuple[str, str]:
    found = _S3_ARN.fullmatch(arn)
    if found is None:
        raise ValueError(f"{arn} is not the ARN of an object: arn:aws:s3:::bucket/key.env")
    return found[1], found[2]


def variables_of(data: bytes) -> dict[str, str]:
    """A file of variables: a line `NAME=value` each, nothing quoted. Lines that begin with # are comments;
    those without a name and a value are passed over, as ECS's agent does. The last of a name counts.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.removesuffix("\r").partition("=")
        if name and value and not name.startswith("#"):
            found[name] = value
    return found


def merged(
    files: Sequence[Mapping[str, str]],
    environment: Iterable[tuple[str, str]],
    secrets: Iterable[tuple[str, str]],
) -> tuple[tuple[str, str], ...]:
    """One value per name: a secret's before `environment`'s, before the first file that has the name."""
    found: dict[str, str] = {}
    for file in reversed(files):
        found |= file
    found |= dict(environment)
    found |= dict(secrets)
    for name, value in found.items():
        if "\0" in name or "\0" in value:
            raise ValueError(f"the value of {name!r} has a NUL, which no environment variable can hold")
    return tuple(found.items())
