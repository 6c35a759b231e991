"""`neargate env` and `neargate configure`: what AWS tools are given."""

import configparser
import subprocess
from pathlib import Path

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.cli.setup import with_section
from tests.unit.cli.conftest import Cli

SECRET = "s3cr'et $(x) \"/+="


def test_env_prints_exports_that_a_shell_takes(cli: Cli, daemon: Path) -> None:
    done = cli("env")
    assert done.code == 0
    names = [line.removeprefix("export ").split("=")[0] for line in done.out.splitlines()]
    assert names == [
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
    ]
    script = done.out + "".join(f'printf "%s\\n" "${name}"\n' for name in names)
    shown = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == ["http://127.0.0.1:1", "AKIDEXAMPLE", SECRET, "eu-west-1", "eu-west-1"]
    values = cli("env", "--json").json()
    assert list(values) == names and values["AWS_SECRET_ACCESS_KEY"] == SECRET


def test_env_names_the_certificate_that_the_daemon_made(cli: Cli, daemon: Path) -> None:
    (daemon / "tls").mkdir()
    (daemon / "tls" / "cert.pem").touch()
    assert f"export AWS_CA_BUNDLE={daemon / 'tls' / 'cert.pem'}\n" in cli("env").out
    cli("configure")
    assert f"ca_bundle = {daemon / 'tls' / 'cert.pem'}\n" in (daemon.parent / "home/.aws/config").read_text()


@pytest.mark.parametrize("profile", ["neargate", "default", "team@blue/1.2"])
def test_configure_writes_a_profile_that_botocore_reads(
    cli: Cli, daemon: Path, tmp_path: Path, profile: str
) -> None:
    done = cli("configure", "--profile", profile, "--json")
    aws = tmp_path / "home" / ".aws"
    assert done.json() == {
        "profile": profile,
        "config": str(aws / "config"),
        "credentials": str(aws / "credentials"),
    }
    session = botocore.session.Session(profile=profile)
    keys = session.get_credentials()
    assert (keys.access_key, keys.secret_key, keys.token) == ("AKIDEXAMPLE", SECRET, None)
    assert session.get_config_variable("region") == "eu-west-1"
    assert session.create_client("ecs").meta.endpoint_url == "http://127.0.0.1:1"
    assert aws.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in aws.iterdir()} == {
        "config": 0o600,
        "credentials": 0o600,
    }


def test_configure_leaves_other_profiles_as_they_are(cli: Cli, daemon: Path, tmp_path: Path) -> None:
    aws = tmp_path / "home" / ".aws"
    aws.mkdir(parents=True)
    config = "# mine\n[profile other]\nRegion=eu-north-1\ns3 =\n  max_concurrent_requests = 20\n"
    keys = "[other]\naws_access_key_id = KEEP%\n; a remark\n[neargate]\naws_session_token = old\nown = 1\n"
    (aws / "config").write_text(config)
    (tmp_path / "kept-elsewhere").write_text(keys)
    (aws / "credentials").symlink_to(tmp_path / "kept-elsewhere")
    (tmp_path / "kept-elsewhere").chmod(0o644)
    assert cli("configure").code == cli("configure").code == 0
    assert (aws / "config").read_text() == (
        config + "\n[profile neargate]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:1\n"
    )
    assert (aws / "credentials").is_symlink()
    assert (tmp_path / "kept-elsewhere").stat().st_mode & 0o777 == 0o600
    assert (aws / "credentials").read_text() == (
        "[other]\naws_access_key_id = KEEP%\n; a remark\n[neargate]\n"
        f"aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET}\nown = 1\n"
    )


def test_configure_goes_where_the_environment_says(
    cli: Cli, daemon: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "a"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "b"))
    assert cli("configure").code == 0
    assert (
        "[profile neargate]" in (tmp_path / "a").read_text() and "[neargate]" in (tmp_path / "b").read_text()
    )
    assert not (tmp_path / "home").exists()


NAMES = st.text("abc", min_size=1, max_size=3)
VALUES = st.dictionaries(NAMES, st.text("xyz=: ", min_size=1).map(str.strip), max_size=3)
FILES = st.dictionaries(NAMES, VALUES, max_size=4)


def parsed(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


@given(FILES, NAMES, VALUES, st.none() | NAMES)
def test_only_the_values_named_change(
    before: dict[str, dict[str, str]], section: str, values: dict[str, str], gone: str | None
) -> None:
    lines = [
        f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for name, keys in before.items()
    ]
    wanted: dict[str, str | None] = {**values, **({gone: None} if gone else {})}
    after = with_section("# above\n" + "# between\n".join(lines), section, wanted)
    right = {**before.get(section, {}), **values}
    if gone:
        right.pop(gone, None)
    assert parsed(after) == {**before, section: right}
    assert after.startswith("# above\n") and after.count("# between\n") == max(0, len(lines) - 1)
    assert with_section(after, section, wanted) == after
