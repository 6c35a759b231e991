"""The tree that layers add up to: whiteouts, links, replacements, and entries that try to leave it."""

import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.oci import tree
from neargate.oci.tar import Entry, TarError
from neargate.oci.tree import Change, Node

FILE, HARD, LINK, CHAR, DIR = b"0", b"1", b"2", b"3", b"5"


def change(path: str | bytes, kind: bytes = FILE, link: str | bytes = b"", **more: object) -> Change:
    raw = path.encode() if isinstance(path, str) else path
    target = link.encode() if isinstance(link, str) else link
    if kind == FILE and raw.endswith(b"/"):
        kind = DIR
    mode = 0o755 if kind == DIR else 0o644
    entry = Entry(raw, kind, mode, 0, 0, 0, 0, 0, target, 0, 0)
    for name, value in more.items():
        setattr(entry, name, value)
    return Change(entry)


def layered(*layers: list[Change]) -> Node:
    top = tree.root()
    for number, layer in enumerate(layers):
        tree.apply(top, number, layer)
    return top


def listing(node: Node, prefix: str = "") -> list[str]:
    assert node.children is not None
    found: list[str] = []
    for name, child in sorted(node.children.items()):
        path = f"{prefix}{name.decode('utf-8', 'backslashreplace')}"
        if child.children is not None:
            found += [f"{path}/", *listing(child, f"{path}/")]
        else:
            found.append(f"{path} -> {child.target.decode()}" if stat.S_ISLNK(child.mode) else path)
    return found


RULES: list[tuple[str, list[list[Change]], list[str]]] = [
    ("parents are made", [[change("a/b/c")]], ["a/", "a/b/", "a/b/c"]),
    ("ways of writing a path", [[change("./a//./b"), change("/c")]], ["a/", "a/b", "c"]),
    ("a file over a file", [[change("a")], [change("a")]], ["a"]),
    ("a file over a directory", [[change("a/b")], [change("a")]], ["a"]),
    ("a directory over a file", [[change("a")], [change("a/")]], ["a/"]),
    ("a directory over a directory", [[change("a/b")], [change("a/")]], ["a/", "a/b"]),
    ("a directory over a symlink", [[change("b/"), change("a", LINK, "b")], [change("a/")]], ["a/", "b/"]),
    ("a whiteout", [[change("a/b"), change("a/c")], [change("a/.wh.b")]], ["a/", "a/c"]),
    ("of a directory", [[change("a/b/c")], [change("a/.wh.b")]], ["a/"]),
    ("of nothing", [[change("a/")], [change("a/.wh.b"), change("x/y/.wh.z")]], ["a/"]),
    ("of what the same layer adds", [[change("a")], [change("a"), change(".wh.a")]], ["a"]),
    ("and back again", [[change("a/b")], [change(".wh.a")], [change("a/c")]], ["a/", "a/c"]),
    ("opaque", [[change("a/b"), change("a/c/d")], [change("a/.wh..wh..opq")]], ["a/"]),
    ("opaque, then more", [[change("a/b")], [change("a/n"), change("a/.wh..wh..opq")]], ["a/", "a/n"]),
    ("opaque root", [[change("a"), change("b/c")], [change(".wh..wh..opq"), change("d")]], ["d"]),
    ("whiteout in the first layer", [[change(".wh.a"), change("b")]], ["b"]),
    ("through a symlink", [[change("d/"), change("l", LINK, "d")], [change("l/f")]], ["d/", "d/f", "l -> d"]),
    (
        "through an absolute symlink",
        [[change("d/"), change("x/l", LINK, "/d")], [change("x/l/f")]],
        ["d/", "d/f", "x/", "x/l -> /d"],
    ),
    (
        "a symlink that climbs stays inside",
        [[change("l", LINK, "../../../../etc")], [change("l/passwd")]],
        ["etc/", "etc/passwd", "l -> ../../../../etc"],
    ),
    (
        "whiteout through a symlink",
        [[change("d/f"), change("l", LINK, "d")], [change("l/.wh.f")]],
        ["d/", "l -> d"],
    ),
    ("a symlink itself is replaced", [[change("l", LINK, "/etc")], [change("l")]], ["l"]),
    ("a dangling symlink on the way", [[change("l", LINK, "no/where"), change("l/f")]],
     ["l -> no/where", "no/", "no/where/", "no/where/f"]),
    ("a file on the way gives way", [[change("a")], [change("a/b")]], ["a/", "a/b"]),
    ("duplicate entries: the last wins", [[change("a"), change("a", LINK, "b")]], ["a -> b"]),
    ("the root itself", [[change("./"), change("/"), change(".")]], []),
    ("hard link", [[change("a"), change("b", HARD, "a")]], ["a", "b"]),
    ("hard link to a lower layer", [[change("d/a")], [change("b", HARD, "./d/a")]], ["b", "d/", "d/a"]),
    ("hard link to a symlink", [[change("l", LINK, "x"), change("m", HARD, "l")]], ["l -> x", "m -> x"]),
    ("hard link by an absolute path is inside", [[change("a"), change("b", HARD, "/a")]], ["a", "b"]),
    ("hard link to itself", [[change("a"), change("a", HARD, "a")]], ["a"]),
    ("hard link over a directory", [[change("a"), change("d/x"), change("d", HARD, "a")]], ["a", "d"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "expected"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES]
)
def test_layers(layers: list[list[Change]], expected: list[str]) -> None:
    assert listing(layered(*layers)) == expected


HOSTILE: list[tuple[str, list[Change]]] = [
    ("climbs out of the image", [change("../etc/passwd")]),
    ("climbs out of the image", [change("a/../../etc/passwd")]),
    ("climbs out of the image", [change("/..")]),
    ("climbs out of the image", [change("a/../.wh.b")]),
    ("climbs out of the image", [change("b", HARD, "../../etc/shadow")]),
    ("not a file of the image", [change("b", HARD, "/etc/shadow")]),
    ("not a file of the image", [change("b", HARD, "")]),
    ("not a file of the image", [change("d/"), change("b", HARD, "d")]),
    ("not a file of the image", [change("d/"), change("d/b", HARD, ".")]),
    ("not a file of the image", [change("l", LINK, "/"), change("b", HARD, "l/etc/shadow")]),
    ("too many symbolic links", [change("a", LINK, "b"), change("b", LINK, "a"), change("a/f")]),
    ("too many symbolic links", [change("a", LINK, "a"), change("x", HARD, "a/f")]),
    ("target is empty or too long", [change("l", LINK, "")]),
    ("target is empty or too long", [change("l", LINK, "t" * 4001)]),
    ("target is empty or too long", [change("l", LINK, b"a\0b")]),
    ("too long or has a NUL", [change("a/" * 2500)]),
    ("too long or has a NUL", [change(b"a\0b")]),
    ("name is too long", [change("n" * 256)]),
    ("too deep", [change("d/" * 257)]),
    ("the tree is too deep", [change("l", LINK, "d/" * 1990), change("l/x")]),
    ("extended attributes", [change("f", xattrs={b"user.a": b"v" * 3073})]),
    ("extended attributes", [change("f", xattrs={b"user.%d" % n: b"v" * 400 for n in range(10)})]),
]


@pytest.mark.parametrize(("why", "layer"), HOSTILE)
def test_entries_that_cannot_be(why: str, layer: list[Change]) -> None:
    with pytest.raises(TarError, match=why):
        layered(layer)


def test_a_hard_link_is_the_same_file_until_one_name_is_replaced() -> None:
    top = layered([change("a"), change("b", HARD, "a")])
    assert top.children is not None and top.children[b"a"] is top.children[b"b"]
    tree.apply(top, 1, [change("a", size=5)])
    assert (top.children[b"a"].size, top.children[b"b"].size) == (5, 0)


def test_a_directory_is_described_anew_and_keeps_what_is_in_it() -> None:
    top = layered([change("d/f")], [change("d/", mode=0o700, uid=9, mtime=77)])
    assert top.children is not None
    made = top.children[b"d"]
    assert (made.mode, made.uid, made.mtime) == (stat.S_IFDIR | 0o700, 9, 77)
    assert made.children is not None and b"f" in made.children


def test_attributes_that_would_steer_the_host_are_dropped() -> None:
    given = {
        b"user.mine": b"1",
        b"security.capability": b"cap",
        b"security.selinux": b"x",
        b"security.ima": b"x",
        b"trusted.overlay.redirect": b"/etc",
        b"trusted.overlay.opaque": b"y",
        b"system.posix_acl_access": b"x",
        b"user." + b"n" * 251: b"too long a name",
    }
    top = layered([change("f", xattrs=given)])
    assert top.children is not None
    assert top.children[b"f"].xattrs == {b"user.mine": b"1", b"security.capability": b"cap"}


@pytest.mark.parametrize("numbers", [(1, 3), (8, 255), (8, 256), (4095, (1 << 20) - 1), (0, 0)])
def test_device_numbers_are_as_the_kernel_encodes_them(numbers: tuple[int, int]) -> None:
    major, minor = numbers
    top = layered([change("dev", CHAR, major=major, minor=minor)])
    assert top.children is not None
    rdev = top.children[b"dev"].rdev  # new_decode_dev() of linux/kdev_t.h
    assert ((rdev & 0xFFF00) >> 8, (rdev & 0xFF) | ((rdev >> 12) & 0xFFF00)) == numbers


PARTS = st.sampled_from(["a", "b", "c", "..", ".", "", ".wh.a", ".wh..wh..opq", ".wh."])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
CHANGES = st.builds(change, PATHS, st.sampled_from([FILE, HARD, LINK, CHAR, DIR]), PATHS)


@given(st.lists(st.lists(CHANGES, max_size=8), max_size=4))
@settings(max_examples=400)
def test_any_layers_make_a_tree_or_are_refused(layers: list[list[Change]]) -> None:
    try:
        top = layered(*layers)
    except TarError:
        return
    seen: list[Node] = []
    todo = [top]
    while todo:
        node = todo.pop()
        assert not any(node is other for other in seen)  # a directory has one place
        seen.append(node)
        assert node.children is not None
        for name, child in node.children.items():
            assert name not in (b"", b".", b"..") and b"/" not in name
            if child.children is not None:
                todo.append(child)


def test_mount_points_are_added_where_nothing_is() -> None:
    bare = layered([change("bin/sh")])
    tree.add_mount_points(bare)
    assert listing(bare) == [
        "bin/", "bin/sh", "dev/", "etc/", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc/", "sys/",
    ]  # fmt: skip


def test_mount_points_of_the_image_stay_as_they_are() -> None:
    own = layered(
        [change("proc", LINK, "elsewhere"), change("etc/hosts", mode=0o600), change("dev/null", CHAR)]
    )
    tree.add_mount_points(own)
    assert listing(own) == [
        "dev/", "dev/null", "etc/", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc -> elsewhere",
        "sys/",
    ]  # fmt: skip
    assert own.children is not None
    etc = own.children[b"etc"].children
    assert etc is not None and stat.S_IMODE(etc[b"hosts"].mode) == 0o600


@pytest.mark.parametrize("etc", [change("etc", LINK, "usr/etc"), change("etc")])
def test_an_etc_that_is_no_directory_gets_nothing(etc: Change) -> None:
    top = layered([etc])
    before = listing(top)
    tree.add_mount_points(top)
    assert listing(top) == ["dev/", *before, "proc/", "sys/"]
