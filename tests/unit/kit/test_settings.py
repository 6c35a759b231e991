"""Settings: parsed strictly, refused by name, each documented."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from neargate.kit.settings import Settings, SettingsError

DOCUMENT = Path(__file__).parents[3] / "docs" / "settings.md"


def test_environment_then_overrides() -> None:
    env = {"NEARGATE_PORT": "4600", "NEARGATE_EPHEMERAL": "true", "NEARGATE_DATA_DIR": "/x"}
    assert Settings.load(env).port == 4600
    settings = Settings.load(env, port=4700, host=None)
    assert (settings.port, settings.host, settings.ephemeral) == (4700, "127.0.0.1", True)
    assert settings.data_dir == Path("/x")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "http"),
        ("PORT", ""),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("EPHEMERAL", "maybe"),
        ("ACCOUNT_ID", "12"),
        ("ACCOUNT_ID", "१२३४५६७८९०१२"),
        ("REGION", "mars"),
        ("REGION", "us-east-1\n"),
        ("LOG_LEVEL", "loud"),
        ("LOG_DRIVER_MODE", "sometimes"),
        ("OVERCOMMIT_CPU", "nan"),
        ("OVERCOMMIT_MEMORY", "-1"),
        ("REQUEST_TIMEOUT_SECONDS", "inf"),
        ("MAX_BODY_BYTES", "0"),
        ("STOPPED_TASK_SECONDS", "-0.5"),
        ("MAX_BODY_BYTES", "1.5"),
        ("ISOLATION", "docker"),
        ("VPC_CIDR", "10.0.0.0/8"),
        ("VPC_CIDR", "10.0.0.1/16"),
        ("VPC_CIDR", "10.0.0.0/25"),
        ("VPC_CIDR", "fd00::/16"),
        ("ROOT_ACCESS_KEY_ID", "AKIAONLY"),
        ("ROOT_SECRET_ACCESS_KEY", "only"),
    ],
)
def test_bad_values_are_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"NEARGATE_{variable}"):
        Settings.load({f"NEARGATE_{variable}": value})


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("1", True),
        ("TRUE", True),
        (" yes ", True),
        ("0", False),
        ("no", False),
        ("false", False),
        ("", False),
    ],
)
def test_ways_to_say_yes_and_no(raw: str, value: bool) -> None:
    assert Settings.load({"NEARGATE_INSECURE": raw}).insecure is value


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("EPHEMERAL", "maybe", "true or false"),
        ("PORT", "x", "a whole number"),
        ("OVERCOMMIT_CPU", "x", "a number"),
    ],
)
def test_a_refusal_says_what_would_be_right(variable: str, value: str, right: str) -> None:
    with pytest.raises(SettingsError, match=f"NEARGATE_{variable} is '{value}': it must be {right}$"):
        Settings.load({f"NEARGATE_{variable}": value})


def test_the_secret_is_in_no_message() -> None:
    env = {"NEARGATE_ROOT_ACCESS_KEY_ID": "AKIA", "NEARGATE_ROOT_SECRET_ACCESS_KEY": "hush"}
    settings = Settings.load(env)
    assert settings.root_secret_access_key == "hush" and "hush" not in repr(settings)
    with pytest.raises(SettingsError) as raised:
        Settings.load({"NEARGATE_ROOT_SECRET_ACCESS_KEY": "hush"})
    assert "hush" not in str(raised.value)


def test_nothing_may_be_kept() -> None:
    env = {"NEARGATE_STOPPED_TASK_SECONDS": "0", "NEARGATE_IMAGE_CACHE_BYTES": "0"}
    settings = Settings.load(env)
    assert (settings.stopped_task_seconds, settings.image_cache_bytes) == (0, 0)


def test_other_variables_are_no_business_of_ours() -> None:
    assert Settings.load({"PORT": "x", "AWS_REGION": "x"}) == Settings()


def test_each_setting_is_documented_with_its_default() -> None:
    rows: dict[str, Any] = dict(re.findall(r"^\| `NEARGATE_(\w+)` \| (.*?) \|", DOCUMENT.read_text(), re.M))
    defaults = Settings()
    for field in dataclasses.fields(Settings):
        value = str(getattr(defaults, field.name))
        assert rows.pop(field.name.upper(), None) == (f"`{value}`" if value else "empty"), field.name
    assert not rows, f"documented, but no setting: {sorted(rows)}"
