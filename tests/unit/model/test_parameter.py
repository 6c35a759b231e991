"""Names, selectors, labels and hierarchies of Parameter Store; values bound to their place."""

import pytest
from msgspec.structs import replace

from neargate.model.parameter import (
    Revision,
    is_below,
    is_label,
    name_problem,
    seal,
    split_selector,
    unseal,
    version_id,
)
from neargate.model.sealed import SealError

ARN = "arn:aws:ssm:us-east-1:123456789012:parameter/a/b"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a", ("a", "")),
        ("/a/b:3", ("/a/b", "3")),
        ("a:prod", ("a", "prod")),
        (ARN, (ARN, "")),
        (f"{ARN}:3", (ARN, "3")),
        ("arn:aws:s3:::x", None),
        ("a:b:c", None),
        (f"{ARN}:a:b", None),
    ],
)
def test_selectors(text: str, found: tuple[str, str] | None) -> None:
    if found is None:
        with pytest.raises(ValueError, match="a"):
            split_selector(text)
    else:
        assert split_selector(text) == found


@pytest.mark.parametrize("name", ["a", "/a", "/a/b.c_d-e", "a" * 1011, "/a" * 15, "my-ssm", "1"])
def test_good_names(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "ValidationException"), ("a b", "ValidationException"), ("/a/", "ValidationException"),
        ("//a", "ValidationException"), ("a/b", "ValidationException"), ("Ssm", "ValidationException"),
        ("/aws/x", "AccessDeniedException"), ("AWSx", "AccessDeniedException"), ("é", "ValidationException"),
        ("/a" * 16, "HierarchyLevelLimitExceededException"), ("a\n", "ValidationException"),
    ],
)  # fmt: skip
def test_bad_names(name: str, code: str) -> None:
    problem = name_problem(name)
    assert problem is not None and problem[0] == code


@pytest.mark.parametrize(
    ("label", "good"),
    [
        ("prod", True),
        ("a.b-c_d1", True),
        ("1a", False),
        ("aws-x", False),
        ("SSM", False),
        ("a b", False),
        ("", False),
    ],
)
def test_labels(label: str, good: bool) -> None:
    assert is_label(label) is good


@pytest.mark.parametrize(
    ("name", "path", "level", "recursive"),
    [
        ("/a/b", "/a", True, True), ("/a/b", "/a/", True, True), ("/a/b/c", "/a", False, True),
        ("/ab/c", "/a", False, False), ("/a", "/a", False, False), ("/a", "/", True, True),
        ("flat", "/", True, True), ("/a/b", "/", False, True),
    ],
)  # fmt: skip
def test_hierarchies(name: str, path: str, level: bool, recursive: bool) -> None:
    assert (is_below(name, path, False), is_below(name, path, True)) == (level, recursive)


def test_versions_sort_by_their_numbers() -> None:
    assert version_id("p", 9) < version_id("p", 10) < version_id("p", 100)


def test_a_value_is_bound_to_its_parameter_and_version() -> None:
    sealed = seal(b"k" * 32, "1/r:/a", 3, "hunter2", b"n" * 12)
    found = Revision(number=3, type="SecureString", sealed=sealed, modified_at=0.0, modified_by="me")
    assert unseal(b"k" * 32, "1/r:/a", found) == "hunter2" and b"hunter2" not in sealed
    for key, parameter, revision in (
        (b"x" * 32, "1/r:/a", found),
        (b"k" * 32, "1/r:/b", found),
        (b"k" * 32, "1/r:/a", replace(found, number=4)),
        (b"k" * 32, "1/r:/a", replace(found, sealed=b"")),
    ):
        with pytest.raises(SealError):
            unseal(key, parameter, revision)
