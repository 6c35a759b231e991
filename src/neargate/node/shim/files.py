"""Small file helpers of the shim: atomic writes, and the removal of trees that a container filled.

Called by main.py and container.py. (pathlib, shutil and tempfile would each cost a shim more than its
own code.)
"""

import os

_READ = 16 * 1024


def write(path: str, text: str, mode: int = 0o644) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        data = text.encode(errors="surrogateescape")
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def make_directory(path: str) -> None:
    """Above it, too, if need be. Raise OSError if it is there."""
    try:
        os.mkdir(path)
    except FileNotFoundError:
        os.makedirs(path)


def replace(path: str, text: str) -> None:
    """Write so that a reader sees the old or the new text, whoever is killed when."""
    write(path + ".new", text, 0o600)
    os.rename(path + ".new", path)


def read(path: str) -> str:
    """Empty if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    data = b""
    try:
        while more := os.read(fd, _READ):
            data += more
    except OSError:
        return ""
    finally:
        os.close(fd)
    return data.decode(errors="replace")


def remove_tree(path: str) -> None:
    """Remove a directory with all in it, never following a link. What is missing, or goes meanwhile, is
    fine.
    """
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        os.unlink(path)
        return
    try:
        _empty(top)
        os.rmdir(path)
    except FileNotFoundError:
        if os.path.lexists(path):  # another remover was at it: once more, alone or not
            remove_tree(path)
    finally:
        os.close(top)


def _empty(top: int) -> None:
    # Iterative: a container may have nested directories as deep as it liked.
    stack = [(os.dup(top), "")]
    try:
        _walk(top, stack)
    finally:
        for fd, _name in stack:
            os.close(fd)


def _walk(top: int, stack: list[tuple[int, str]]) -> None:
    while stack:
        here, name = stack[-1]
        deeper = ""
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    deeper = entry.name
                    break
                os.unlink(entry.name, dir_fd=here)
        if deeper:
            if len(stack) > 200:  # bring it up instead of holding ever more descriptors
                os.rename(deeper, f".ng{os.urandom(8).hex()}", src_dir_fd=here, dst_dir_fd=top)
                continue
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            stack.append((os.open(deeper, flags, dir_fd=here), deeper))
            continue
        stack.pop()
        os.close(here)
        if stack:
            os.rmdir(name, dir_fd=stack[-1][0])


def overlay_path(path: str) -> str:
    """A path as a value among overlay's mount options."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def network_counters() -> dict[str, int]:
    """Of `eth0` in the network namespace that this process is in; nothing where there is none."""
    for line in read("/proc/self/net/dev").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "eth0":
            numbers = [int(number) for number in counters.split()]
            names = ("bytes", "packets", "errors", "dropped")
            return {
                f"{way}_{what}": numbers[at + i]
                for way, at in (("rx", 0), ("tx", 8))
                for i, what in enumerate(names)
            }
    return {}
