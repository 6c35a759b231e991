"""S3 through the stock aws CLI: cp, ls, sync, mv, rm, presign, mb, rb."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.door import Door

Aws = Callable[..., str]


@pytest.fixture
def aws(door: Door, tmp_path: Path) -> Aws:
    keys = door.daemon.credential
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ENDPOINT_URL": door.endpoint,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_PAGER": "",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }
    program = Path(sys.executable).parent / "aws"

    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(program), *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, f"aws {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if code else "")

    return run


def test_files_come_and_go(aws: Aws, tmp_path: Path) -> None:
    aws("s3", "mb", "s3://cli")
    small, large = tmp_path / "small.txt", tmp_path / "large.bin"
    small.write_text("hello")
    large.write_bytes(os.urandom(9 * 1024**2))
    aws("s3", "cp", "small.txt", "s3://cli/dir/small.txt")
    aws("s3", "cp", "large.bin", "s3://cli/large.bin")
    listed = aws("s3", "ls", "s3://cli")
    assert "PRE dir/" in listed and f"{9 * 1024**2} large.bin" in listed
    assert "dir/small.txt" in aws("s3", "ls", "s3://cli", "--recursive")
    assert aws("s3", "cp", "s3://cli/dir/small.txt", "-") == "hello"
    aws("s3", "cp", "s3://cli/large.bin", "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == large.read_bytes()
    url = aws("s3", "presign", "s3://cli/dir/small.txt").strip()
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == b"hello"
    aws("s3", "mv", "s3://cli/dir/small.txt", "s3://cli/moved.txt")
    assert aws("s3", "cp", "s3://cli/moved.txt", "-") == "hello"
    assert "NoSuchBucket" in aws("s3", "ls", "s3://none-such", code=254 if _version_two(aws) else 255)
    aws("s3", "rb", "s3://cli", "--force")
    assert aws("s3", "ls") == ""


def _version_two(aws: Aws) -> bool:
    return "aws-cli/2" in aws("--version")


def test_directories_are_kept_alike(aws: Aws, tmp_path: Path) -> None:
    aws("s3", "mb", "s3://tree")
    here = tmp_path / "here"
    for name, text in (("a.env", "A=1"), ("sub/b c.env", "B=2"), ("sub/é.env", "C=3")):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    assert aws("s3", "sync", "here", "s3://tree/x").count("upload: ") == 3
    assert aws("s3", "sync", "here", "s3://tree/x") == ""
    (here / "a.env").write_text("A=22")
    (here / "sub/é.env").unlink()
    changed = aws("s3", "sync", "here", "s3://tree/x", "--delete")
    assert changed.count("upload: ") == 1 and changed.count("delete: ") == 1
    aws("s3", "sync", "s3://tree/x", "there")
    found = {
        str(p.relative_to(tmp_path / "there")): p.read_text() for p in (tmp_path / "there").rglob("*.env")
    }
    assert found == {"a.env": "A=22", "sub/b c.env": "B=2"}
    aws("s3", "rm", "s3://tree/x", "--recursive")
    assert "KeyCount" not in aws("s3api", "list-objects-v2", "--bucket", "tree", "--query", "Contents")
