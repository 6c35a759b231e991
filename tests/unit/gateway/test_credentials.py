"""The root credential and the signing key: made once, private, imported, refused when readable."""

import os
import re
from pathlib import Path

import pytest

from neargate.gateway.credentials import load_or_create, load_or_create_key
from neargate.kit.ids import SystemIds
from neargate.kit.settings import Settings, SettingsError


def test_made_once_and_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", account_id="123456789012")
    made = load_or_create(settings, SystemIds())
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", made.access_key_id)
    assert re.fullmatch(r"[A-Za-z0-9+/]{40}", made.secret_access_key)
    assert made.principal_arn == "arn:aws:iam::123456789012:root"
    assert load_or_create(settings, SystemIds()) == made
    assert (tmp_path / "data" / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["credentials.json"]


def test_secret_is_not_shown(tmp_path: Path) -> None:
    made = load_or_create(Settings(data_dir=tmp_path), SystemIds())
    assert made.secret_access_key not in repr(made)


def test_imported_one_wins_and_is_kept_for_the_cli(tmp_path: Path) -> None:
    load_or_create(Settings(data_dir=tmp_path), SystemIds())
    given = Settings(data_dir=tmp_path, root_access_key_id="AKIATEST", root_secret_access_key="s3cret")
    assert load_or_create(given, SystemIds()).secret_access_key == "s3cret"
    assert load_or_create(Settings(data_dir=tmp_path), SystemIds()).access_key_id == "AKIATEST"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_readable_by_others_is_refused(tmp_path: Path, mode: int) -> None:
    load_or_create(Settings(data_dir=tmp_path), SystemIds())
    (tmp_path / "credentials.json").chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_or_create(Settings(data_dir=tmp_path), SystemIds())


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"access_key_id": "A"}', '{"access_key_id": 1}'])
def test_damaged_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials.json"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(SettingsError, match="damaged"):
        load_or_create(Settings(data_dir=tmp_path), SystemIds())


def test_signing_key(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        key = load_or_create_key(tmp_path / "data")
    finally:
        os.umask(old)
    assert (len(key), load_or_create_key(tmp_path / "data")) == (32, key)
    assert (tmp_path / "data" / "signing.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "data" / "signing.key").write_bytes(b"short")
    with pytest.raises(SettingsError, match="damaged"):
        load_or_create_key(tmp_path / "data")
