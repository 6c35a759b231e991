"""Trees mounted through our server of shared volumes, as an access point's users see them, by this machine's
kernel.

Used by tests/unit/node/test_mounted*.py.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import neargate
from neargate.node.shim import kernel
from tests.support.cgroups import remove_group
from tests.support.reachable import reachable

UID, GID, OTHER_GID = 5000, 6000, 7000
_INSTANCE = secrets.token_hex(3)
_PARENT = """
import os, select, signal, sys
sys.path.append(sys.argv[1])
from neargate.node.shares.files import Terms
from neargate.node.shares.mounted import Server, Share
instance, tree, place, base, lenient, *user = sys.argv[2:]
root = os.open(tree, os.O_PATH | os.O_DIRECTORY)
terms = Terms(0, int(base), lenient == "True", lenient == "True")
server = Server(instance, [Share(root, tuple(map(int, user)), terms, place)])
while True:
    print(server.pid, flush=True)
    while not select.select([0], [], [], 0.01)[0]:
        if server.pid and os.waitpid(server.pid, os.WNOHANG)[0]:
            server.died()
            print(server.pid, flush=True)
    os.read(0, 1)
    server.close()
    sys.exit()
"""


class Mounted:
    """A tree as its access point's users see it, at `place`."""

    def __init__(self, tree: Path, place: Path, base: int, lenient: bool, user: tuple[int, ...]) -> None:
        self.place = place
        packages = str(Path(neargate.__file__).parents[1])
        words = [packages, _INSTANCE, str(tree), str(place), str(base), str(lenient), *map(str, user)]
        command = [sys.executable, "-I", "-S", "-c", _PARENT, *words]
        self.parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.broker = self.told()

    def told(self) -> int:
        """The process that the server's parent waits for; said at its birth."""
        assert self.parent.stdout
        return int(self.parent.stdout.readline())

    @property
    def server(self) -> int:
        children = Path(f"/proc/{self.broker}/task/{self.broker}/children")
        deadline = time.monotonic() + 10
        while not (found := children.read_text().split()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return int(found[0])

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self.parent.communicate(b"x", timeout=20)
        if self.parent.returncode:  # it was killed
            kernel.umount(str(self.place))
        else:
            assert not self.place.parent.exists()


Mounter = Callable[..., Mounted]


def users_tree(tmp_path: Path) -> Path:
    """The access point's user has it."""
    path = reachable(tmp_path) / "tree"
    path.mkdir()
    os.chown(path, UID, GID)
    return path


@contextmanager
def mounting(tmp_path: Path) -> Iterator[Mounter]:
    """What mounts a tree, until the block ends."""
    with ExitStack() as stack:

        def mount(
            tree: Path,
            name: str = "mnt",
            *,
            base: int = 0,
            lenient: bool = False,
            user: tuple[int, ...] = (UID, GID),
        ) -> Mounted:
            mounted = Mounted(tree, tmp_path / name / "0", base, lenient, user)
            stack.callback(mounted.close)
            return mounted

        yield mount
    remove_group(_INSTANCE)


def run_as(uid: int, script: str, *arguments: object) -> str:
    """What a Python script of another user says: its last line is the name of the error, if there was one."""
    body = "".join(f"    {line}\n" for line in script.splitlines())
    code = f"import errno, fcntl, os, sys\nos.setgid({uid})\nos.setuid({uid})\ntry:\n{body}"
    code += "except OSError as error:\n    print(errno.errorcode[error.errno])\n"
    command = [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def owner_of(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid
