"""The generated certificate: made once, private, good for the names the door has; TLS really served."""

import ssl
import urllib.request
from pathlib import Path

import pytest

from neargate.gateway.tls import generated_certificate, server_context
from neargate.kit.settings import Settings, SettingsError
from tests.unit.gateway.test_http1 import EchoApp, door


def test_made_once_per_address(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, host="192.0.2.7")
    cert, key = generated_certificate(settings)
    first = cert.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert generated_certificate(settings)[0].read_bytes() == first
    assert generated_certificate(Settings(data_dir=tmp_path, host="192.0.2.8"))[0].read_bytes() != first


def test_unusable_certificate_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be used"):
        server_context(Settings(data_dir=tmp_path, tls_cert=str(tmp_path / "none"), tls_key="none"))
    with pytest.raises(SettingsError, match="go together"):
        server_context(Settings(tls_key="x"))
    assert server_context(Settings()) is None


async def test_served(tmp_path: Path) -> None:
    import asyncio

    async with door(EchoApp(), data_dir=tmp_path, tls_cert="generate", request_timeout_seconds=5.0) as port:
        trust = ssl.create_default_context(cafile=str(tmp_path / "door.crt"))

        def fetch() -> int:
            with urllib.request.urlopen(f"https://localhost:{port}/x", context=trust, timeout=5) as answer:
                return int(answer.status)

        assert await asyncio.to_thread(fetch) == 200
