"""Commands that connect a user's tools: env prints exports, configure writes an AWS profile."""

import os
import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from neargate.cli import client, output
from neargate.cli.daemon import DataDir, Json


def env(directory: DataDir = None, as_json: Json = False) -> None:
    """Print what AWS tools need: `eval $(neargate env)`."""
    place = client.data_dir(directory)
    info, keys = client.require(place), client.credential(place)
    values = {
        "AWS_ENDPOINT_URL": info.endpoint,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_DEFAULT_REGION": info.region,
        "AWS_REGION": info.region,
    }
    bundle = _bundle(place)
    if bundle is not None:
        values["AWS_CA_BUNDLE"] = bundle
    if as_json:
        output.emit(True, values, "")
    else:
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items()))


def _bundle(place: Path) -> str | None:
    """The certificate that the daemon made for its own door, if it did."""
    path = place / "tls" / "cert.pem"
    return str(path) if path.exists() else None


def configure(
    directory: DataDir = None,
    profile: Annotated[str, typer.Option(help="Name of the profile.")] = "neargate",
    as_json: Json = False,
) -> None:
    """Write an AWS profile: `aws --profile neargate ecs list-clusters`."""
    if not re.fullmatch(r"[\w.@%+/-]+", profile):
        raise client.CliError(f"--profile is {profile!r}: use letters, digits and . _ - @ % + /")
    place = client.data_dir(directory)
    info, keys = client.require(place), client.credential(place)
    config = Path(os.environ.get("AWS_CONFIG_FILE") or Path("~/.aws/config")).expanduser()
    secrets = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path("~/.aws/credentials")).expanduser()
    section = "default" if profile == "default" else f"profile {profile}"
    _set(config, section, {"region": info.region, "endpoint_url": info.endpoint, "ca_bundle": _bundle(place)})
    # A session token left over from another credential would spoil this one.
    pair = {"aws_access_key_id": keys.access_key_id, "aws_secret_access_key": keys.secret_access_key}
    _set(secrets, profile, {**pair, "aws_session_token": None})
    document = {"profile": profile, "config": str(config), "credentials": str(secrets)}
    output.emit(as_json, document, f"profile {profile} written to {config} and {secrets}")


def _set(path: Path, section: str, values: Mapping[str, str | None]) -> None:
    """Set values in a section of an INI file, which is written whole and private; a link stays one."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = with_section(path.read_text(errors="surrogateescape") if path.exists() else "", section, values)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # with mode 0600
    with os.fdopen(descriptor, "w", errors="surrogateescape") as file:
        file.write(text)
    Path(draft).replace(path)


def with_section(text: str, section: str, values: Mapping[str, str | None]) -> str:
    """An INI text with these values in a section (None: without that one); all other lines stay."""
    lines = text.splitlines()
    header = re.compile(r"\[\s*(.*?)\s*\]")
    headers = [(n, found[1]) for n, line in enumerate(lines) if (found := header.match(line))]
    ours = [n for n, name in headers if name == section]
    start = ours[0] if ours else len(lines)
    end = next((n for n, _ in headers if n > start), len(lines))
    key = re.compile(rf"({'|'.join(map(re.escape, values))})\s*[=:]")
    kept = [line for line in lines[start + 1 : end] if not key.match(line)]
    new = [f"[{section}]", *(f"{name} = {value}" for name, value in values.items() if value is not None)]
    gap = [""] if not ours and lines and lines[-1].strip() else []
    return "\n".join([*lines[:start], *gap, *new, *kept, *lines[end:]]) + "\n"
