"""Commands that connect a user's tools: env prints exports, configure writes an AWS profile."""

import configparser
import io
import os
import shlex
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
    if (place / "tls" / "cert.pem").exists():
        values["AWS_CA_BUNDLE"] = str(place / "tls" / "cert.pem")
    if as_json:
        output.emit(True, values, "")
    else:
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items()))


def configure(
    directory: DataDir = None,
    profile: Annotated[str, typer.Option(help="Name of the profile.")] = "neargate",
    as_json: Json = False,
) -> None:
    """Write an AWS profile: `aws --profile neargate ecs list-clusters`."""
    place = client.data_dir(directory)
    info, keys = client.require(place), client.credential(place)
    config = Path(os.environ.get("AWS_CONFIG_FILE") or Path("~/.aws/config")).expanduser()
    secrets = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path("~/.aws/credentials")).expanduser()
    section = "default" if profile == "default" else f"profile {profile}"
    _set(config, section, {"region": info.region, "endpoint_url": info.endpoint})
    _set(
        secrets,
        profile,
        {"aws_access_key_id": keys.access_key_id, "aws_secret_access_key": keys.secret_access_key},
    )
    document = {"profile": profile, "config": str(config), "credentials": str(secrets)}
    output.emit(as_json, document, f"profile {profile} written to {config} and {secrets}")


def _set(path: Path, section: str, values: dict[str, str]) -> None:
    """Replace one section of an INI file and leave the others; the file is private and written atomically."""
    parser = configparser.RawConfigParser()
    if path.exists():
        try:
            parser.read_string(path.read_text())
        except configparser.Error as error:
            raise client.CliError(f"{path} cannot be read, so it was left alone: {error}") from None
    if not parser.has_section(section) and section != parser.default_section:
        parser.add_section(section)
    for name, value in values.items():
        parser.set(section, name, value)
    text = io.StringIO()
    parser.write(text)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(path.name + ".neargate")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text.getvalue())
    draft.replace(path)
