"""Single files read out of EROFS images, ours and mkfs.erofs's, against what went in; and broken images."""

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neargate.oci import digest as digests
from neargate.oci import erofs_reader
from neargate.oci.builder import build
from neargate.oci.erofs_reader import Unreadable
from tests.unit.oci.archive import hardlink, member, symlink, tar

LIMIT = 1 << 20
_BIG = bytes(range(256)) * 33 + b"tail"
_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
    "etc/empty": b"",
    "etc/block": b"b" * 4096,
    "etc/big": _BIG,
    "top": b"at the top\n",
    **{f"many/{'n' * 200}{number}": b"%d" % number for number in range(60)},  # a directory of some blocks
}


def _ours(place: Path) -> Path:
    layer = tar(
        *(member(name, data) for name, data in _FILES.items()),
        symlink("link", "etc"), symlink("etc/away", "passwd"), hardlink("etc/hard", "etc/big"),
        member("etc/marked", b"m", xattrs={"user.note": b"v" * 100}),
    )  # fmt: skip
    blob, image = place / "layer.tar", place / "ours.erofs"
    blob.write_bytes(layer)
    build([(blob, digests.of(layer))], image, 1 << 30)
    return image


def _theirs(place: Path, *options: str) -> Path:
    tree, image = place / "tree", place / "theirs.erofs"
    for name, data in _FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    (tree / "link").symlink_to("etc")
    (tree / "etc/away").symlink_to("passwd")
    subprocess.run(["mkfs.erofs", *options, str(image), str(tree)], check=True, capture_output=True)
    return image


@pytest.fixture(scope="module", params=["ours", "compact", "extended"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("image")
    if request.param == "ours":
        return str(_ours(place))
    form = "force-inode-compact" if request.param == "compact" else "force-inode-extended"
    return str(_theirs(place, f"-E{form}"))


@pytest.mark.parametrize("name", sorted(_FILES))
def test_a_file_is_read_as_it_went_in(image: str, name: str) -> None:
    assert erofs_reader.read(image, f"/{name}", LIMIT) == _FILES[name]
    assert erofs_reader.read(image, name, 5) == _FILES[name][:5]


@pytest.mark.parametrize("name", ["/none", "/etc/none", "/etc/passw", "/etc/passwd2", "/many/n"])
def test_what_is_not_there(image: str, name: str) -> None:
    assert erofs_reader.read(image, name, LIMIT) is None


@pytest.mark.parametrize("name", ["/etc", "/link", "/link/passwd", "/etc/away", "/top/x", "/etc/passwd/x"])
def test_links_and_directories_are_for_the_kernel(image: str, name: str) -> None:
    with pytest.raises(Unreadable):
        erofs_reader.read(image, name, LIMIT)


def test_links_of_a_file_and_its_attributes(tmp_path: Path) -> None:
    image = str(_ours(tmp_path))
    assert erofs_reader.read(image, "/etc/hard", LIMIT) == _BIG
    assert erofs_reader.read(image, "/etc/marked", LIMIT) == b"m"


def test_what_is_compressed_is_for_the_kernel(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        erofs_reader.read(str(_theirs(tmp_path, "-zlz4")), "/etc/big", LIMIT)


def test_what_is_no_image(tmp_path: Path) -> None:
    for data in (b"", bytes(100), bytes(8192), b"\xff" * 8192):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(Unreadable):
            erofs_reader.read(str(tmp_path / "x"), "/etc/passwd", LIMIT)
    with pytest.raises(FileNotFoundError):
        erofs_reader.read(str(tmp_path / "none"), "/etc/passwd", LIMIT)


def test_an_inode_of_an_unknown_kind(tmp_path: Path) -> None:
    image = _ours(tmp_path)
    content = bytearray(image.read_bytes())
    (root,), (meta,) = (
        struct.unpack_from("<H", content, 1024 + 14),
        struct.unpack_from("<I", content, 1024 + 40),
    )
    content[meta * 4096 + root * 32 + 1] = 0x80
    image.write_bytes(content)
    with pytest.raises(Unreadable, match="unknown kind"):
        erofs_reader.read(str(image), "/top", LIMIT)


def test_names_that_are_not_in_order(tmp_path: Path) -> None:
    """The kernel looks for them by halves, so they mean something else to it."""
    image = _ours(tmp_path)
    content = image.read_bytes()
    assert content.count(b"etclinkmanytop") == 1
    image.write_bytes(content.replace(b"etclinkmanytop", b"etclinkaanytop"))
    with pytest.raises(Unreadable, match="order"):
        erofs_reader.read(str(image), "/top", LIMIT)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_broken_image_is_read_within_bounds(image: str, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever its numbers say: bytes of the image, nothing, or the one error."""
    content = bytearray(Path(image).read_bytes())
    heads = st.sampled_from([*range(1024, 1024 + 128), *range(0, len(content), 7)])
    for at in data.draw(st.lists(heads, min_size=1, max_size=12)):
        content[at] = data.draw(st.integers(0, 255))
    broken = tmp_path / "broken.erofs"
    broken.write_bytes(
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )
    for name in ("/etc/passwd", "/etc/big", "/many/none"):
        try:
            found = erofs_reader.read(str(broken), name, LIMIT)
        except Unreadable:
            continue
        assert found is None or len(found) <= LIMIT
