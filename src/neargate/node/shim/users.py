"""Who a container runs as: `user[:group]`, names or numbers, by the image's own /etc/passwd and /etc/group.
As for Docker, a number is never a name, and no user (`:group`) is root.

Called by container.py with the mounted root. The files are the image's, so hostile: read inside the
root, bounded.
"""

import os
from typing import Any

from neargate.node.shim.kernel import open_in_root

LIMIT, _READ = 1024 * 1024, 16 * 1024
"""What is read of each file."""
_MAX_ID, _DIGITS = (1 << 31) - 1, 99


class UserError(Exception):
    """The message is Docker's."""


def resolve(root: str, user: str) -> dict[str, Any]:
    """OCI `process.user`, and the home directory as `home`. Empty: root. Raise UserError."""
    return by_files(user, _read(root, "/etc/passwd"), _read(root, "/etc/group"))


def by_files(user: str, passwd_file: bytes, group_file: bytes) -> dict[str, Any]:
    """As `resolve`, by what is in the image's two files. Empty: it has none."""
    passwd, group = _table(passwd_file), _table(group_file)
    name, _, group_name = user.partition(":")
    name = name or "0"
    entry = _entry(passwd, 2, str(_number(name))) if _numeric(name) else _entry(passwd, 0, name)
    if entry is None and not _numeric(name):
        raise UserError(f"unable to find user {name}: no matching entries in passwd file")
    uid, gid = (_number(entry[2]), _number(entry[3])) if entry else (_number(name), 0)
    extra = [_number(g[2]) for g in group if len(g) >= 4 and entry and entry[0] in g[3].split(",")]
    if group_name:
        gid, extra = _group(group, group_name), []
    home = entry[5] if entry else "/"
    return {"uid": uid, "gid": gid, "additionalGids": sorted({gid, *extra}), "home": home or "/"}


def _entry(passwd: list[list[str]], field: int, value: str) -> list[str] | None:
    for entry in passwd:
        if len(entry) >= 6 and entry[field] == value:
            return entry
    return None


def _group(table: list[list[str]], name: str) -> int:
    if _numeric(name):
        return _number(name)
    for entry in table:
        if len(entry) >= 3 and entry[0] == name:
            return _number(entry[2])
    raise UserError(f"unable to find group {name}: no matching entries in group file")


def _numeric(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(text: str) -> int:
    if not _numeric(text) or len(text) > _DIGITS or int(text) > _MAX_ID:
        raise UserError(f"uids and gids must be in range 0-{_MAX_ID}")
    return int(text)


def _read(root: str, path: str) -> bytes:
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    finally:
        os.close(root_fd)
    try:
        data = b""
        while len(data) < LIMIT and (more := os.read(fd, min(_READ, LIMIT - len(data)))):
            data += more
    except OSError:
        return b""
    finally:
        os.close(fd)
    return data


def _table(data: bytes) -> list[list[str]]:
    lines = data.decode(errors="replace").splitlines()
    return [line.split(":") for line in lines if line and not line.startswith("#")]
