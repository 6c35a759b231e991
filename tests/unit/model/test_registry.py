"""Rules of the registry: which tags may move, what wildcards match, which tokens open what."""

import base64
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neargate.model.record import Scope
from neargate.model.registry import Repository, image_id, matches, repository_arn, tag_id
from neargate.model.registry_token import Grant, TokenError, mint, read

KEY = b"k" * 32
NOW = 1_800_000_000.0


def repository(mutability: str, *filters: str) -> Repository:
    return Repository(
        account="123456789012",
        region="us-east-1",
        name="team/web",
        created_at=0.0,
        tag_mutability=mutability,
        exclusion_filters=filters,
    )


def test_names() -> None:
    made = repository("MUTABLE")
    assert made.arn == "arn:aws:ecr:us-east-1:123456789012:repository/team/web"
    assert made.uri == "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/web"
    assert repository_arn(Scope("1", "r"), "a") == "arn:aws:ecr:r:1:repository/a"


@pytest.mark.parametrize(
    ("mutability", "filters", "tag", "immutable"),
    [
        ("MUTABLE", (), "v1", False),
        ("IMMUTABLE", (), "v1", True),
        ("IMMUTABLE_WITH_EXCLUSION", ("dev-*",), "v1", True),
        ("IMMUTABLE_WITH_EXCLUSION", ("dev-*",), "dev-1", False),
        ("IMMUTABLE_WITH_EXCLUSION", ("x", "dev-*"), "dev-", False),
        ("MUTABLE_WITH_EXCLUSION", ("v*",), "v1", True),
        ("MUTABLE_WITH_EXCLUSION", ("v*",), "dev", False),
    ],
)
def test_tags_that_may_not_move(mutability: str, filters: tuple[str, ...], tag: str, immutable: bool) -> None:
    assert repository(mutability, *filters).is_immutable(tag) is immutable


TAGS = st.from_regex(re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"), fullmatch=True)


@given(TAGS, TAGS, TAGS)
def test_a_star_stands_for_any_text(head: str, middle: str, tail: str) -> None:
    assert matches(f"{head}*{tail}", head + middle + tail)
    assert matches(f"{head}*{tail}", head + tail)
    assert matches("*", middle)
    assert matches(head, middle) == (head == middle)
    assert not matches(f"{head}*", "!" + head)


@pytest.mark.parametrize(("pattern", "tag"), [("v.1", "vx1"), ("a-b", "a_b"), ("v*", "V1"), ("a*b", "a\nb!")])
def test_nothing_else_is_special(pattern: str, tag: str) -> None:
    assert not matches(pattern, tag)


def test_ids_of_one_repository_are_no_other_s() -> None:
    """Ids are compared as text: `a` must not hold what is `a/b`'s."""
    one, other = "arn:x/a", "arn:x/a/b"
    assert not image_id(other, "sha256:1").startswith(image_id(one, ""))
    assert not tag_id(other, "t").startswith(tag_id(one, ""))


def grant(**changes: object) -> Grant:
    whole = Grant(account="1", region="r", principal="root", expires_at=int(NOW) + 10)
    return msgspec.structs.replace(whole, **changes)


def test_a_token_says_what_it_grants_until_it_expires() -> None:
    token = mint(KEY, grant(blob="web@sha256:1"))
    assert read(KEY, token, NOW) == grant(blob="web@sha256:1")
    assert read(KEY, token, NOW + 9.9) == grant(blob="web@sha256:1")
    with pytest.raises(TokenError) as caught:
        read(KEY, token, NOW + 10)
    assert caught.value.expired


@given(st.data())
def test_a_token_changed_anywhere_opens_nothing(data: st.DataObject) -> None:
    token = mint(KEY, grant())
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."))
    changed = token[:place] + letter + token[place + 1 :]
    if changed != token:
        with pytest.raises(TokenError):
            read(KEY, changed, NOW)


@given(st.text(max_size=200))
def test_no_text_is_a_token_by_chance(text: str) -> None:
    with pytest.raises(TokenError):
        read(KEY, text, NOW)


def test_another_key_and_the_key_itself_sign_nothing() -> None:
    with pytest.raises(TokenError):
        read(b"j" * 32, mint(KEY, grant()), NOW)
    import hmac

    body = base64.urlsafe_b64encode(msgspec.json.encode(grant())).rstrip(b"=")
    plain = base64.urlsafe_b64encode(hmac.digest(KEY, body, "sha256")).rstrip(b"=")
    with pytest.raises(TokenError):
        read(KEY, f"{body.decode()}.{plain.decode()}", NOW)
