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
        ("PORT", "65536"),
        ("EPHEMERAL", "maybe"),
        ("ACCOUNT_ID", "12"),
        ("REGION", "mars"),
        ("ISOLATION", "docker"),
        ("VPC_CIDR", "10.0.0.0/8"),
        ("VPC_CIDR", "10.0.0.1/16"),
        ("ROOT_ACCESS_KEY_ID", "AKIAONLY"),
    ],
)
def test_bad_values_are_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"NEARGATE_{variable}"):
        Settings.load({f"NEARGATE_{variable}": value})


def test_each_setting_is_documented_with_its_default() -> None:
    rows: dict[str, Any] = dict(re.findall(r"^\| `NEARGATE_(\w+)` \| (.*?) \|", DOCUMENT.read_text(), re.M))
    defaults = Settings()
    for field in dataclasses.fields(Settings):
        value = str(getattr(defaults, field.name))
        assert rows.pop(field.name.upper(), None) == (f"`{value}`" if value else "empty"), field.name
    assert not rows, f"documented, but no setting: {sorted(rows)}"
