"""Sessions: what a token gives back, and that nothing but the very token does."""

import base64
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model import session
from neargate.model.session import Role, Session

KEY = b"k" * 32
NONCE = "0" * 24
ROLE = "arn:aws:iam::123456789012:role/apps/web/front"


def made(**fields: Any) -> Session:
    values: dict[str, Any] = {
        "access_key_id": session.key_id("0123456789abcdef0123"),
        "account": "123456789012",
        "expires_at": 1000.0,
        "role_arn": ROLE,
        "name": "me",
        **fields,
    }
    return Session(**values)


def test_a_token_is_its_session_and_its_secret_is_always_the_same() -> None:
    one, two = session.mint(KEY, made(), NONCE), session.mint(KEY, made(), "f" * 24)
    for minted in (one, two):
        assert session.open_token(KEY, minted.session.access_key_id, minted.token) == made()
    assert one.token != two.token
    assert one.secret_access_key == two.secret_access_key == session.secret_of(KEY, made().access_key_id)
    assert len(one.secret_access_key) == 40
    assert one.secret_access_key not in repr(one) and one.token not in repr(one)


def test_what_a_session_is_called() -> None:
    assert made().principal_arn == "arn:aws:sts::123456789012:assumed-role/front/me"
    assert made().user_id == f"{session.role_id(ROLE)}:me"
    assert made(role_arn="", name="").principal_arn == "arn:aws:iam::123456789012:root"
    assert made(role_arn="", name="").user_id == "123456789012"
    assert len(session.role_id(ROLE)) == 21 and session.role_id(ROLE) != session.role_id(ROLE + "2")


@pytest.mark.parametrize(
    ("arn", "role"),
    [
        ("arn:aws:iam::123456789012:role/a", Role("aws", "123456789012", "/", "a")),
        (ROLE, Role("aws", "123456789012", "/apps/web/", "front")),
        ("arn:aws-cn:iam::123456789012:role/a", Role("aws-cn", "123456789012", "/", "a")),
        ("arn:aws:iam::123456789012:user/a", None),
        ("arn:aws:iam::12345678901:role/a", None),
        ("arn:aws:iam::123456789012:role/", None),
        ("arn:aws:iam::123456789012:role/a b", None),
        ("arn:aws:iam::123456789012:role/" + "a" * 65, None),
        ("", None),
    ],
)
def test_roles(arn: str, role: Role | None) -> None:
    assert session.parse_role(arn) == role


def test_another_key_another_id_or_another_token_opens_nothing() -> None:
    minted = session.mint(KEY, made(), NONCE)
    own = minted.session.access_key_id
    other = session.key_id("f" * 20)
    raw = bytearray(base64.b64decode(minted.token))
    raw[20] ^= 1
    for key, id, token in (
        (b"x" * 32, own, minted.token),
        (KEY, other, minted.token),
        (KEY, "AKIA" + own[4:], minted.token),
        (KEY, own, base64.b64encode(raw).decode()),
        (KEY, own, minted.token[:-8]),
        (KEY, own, minted.token + "\n"),
        (KEY, own, "A" * 9000),
        (KEY, own, ""),
    ):
        assert session.open_token(key, id, token) is None


@given(st.text(), st.text())
def test_no_text_opens_anything(id: str, token: str) -> None:
    assert session.open_token(KEY, id, token) is None
    assert session.open_token(KEY, session.key_id("0" * 20), token) is None


@given(
    st.builds(
        made,
        name=st.text(max_size=64),
        task_arn=st.text(max_size=200),
        role_arn=st.text(max_size=200),
        expires_at=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_any_session_comes_back_whole(one: Session) -> None:
    minted = session.mint(KEY, one, NONCE)
    assert session.open_token(KEY, one.access_key_id, minted.token) == one
    assert replace(minted, session=msgspec.structs.replace(one, name="other")) != minted
