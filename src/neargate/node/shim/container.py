"""One container inside a shim: its root, its bundle, its streams, its end.

Called by main.py. Order: prepare -> command -> started | failed -> ended -> (prepare again: fresh root,
restarts + 1).
"""

import fcntl
import json
import os
import signal
import socket
import time
from typing import Any, Protocol

from neargate.node import cgroup, spool
from neargate.node.shim import disk, files, kernel, shared, users

# The loop looks at held streams every 20 ms: 200 MB/s at most, as the pipe fills up meanwhile.
_WINDOW, _WINDOW_READS = 0.02, 64
_PIPE_BYTES = 256 * 1024


class StartError(Exception):
    """The cause, as Docker words it."""


class Writer(Protocol):
    """Where a container's output goes: a spool, or the host of the machine that this runs in."""

    @property
    def full(self) -> bool: ...

    def reconfigure(self, limit: int, blocking: bool) -> None: ...

    def reopen(self) -> None: ...

    def feed(self, stream: int, data: bytes) -> None: ...

    def close_stream(self, stream: int) -> None: ...

    def finish(self) -> None: ...


class Container:
    exec_pid_option = "--pid-file"
    """Has the runtime write down which process an exec runs, as `kill_exec` takes it."""

    def __init__(self, setup: dict[str, Any], name: str) -> None:
        self.name = name
        self.id = ""
        """By which the runtime knows it."""
        self.setup = setup
        self.directory = f"{setup['directory']}/c/{name}"
        self.bundle = self.directory
        """Where the runtime finds its configuration, and leaves its log and the process number."""
        self._base: int = setup["uid_base"]
        """Outside number of the container's user 0; 0 without a user namespace."""
        self._seen = f"{setup['stage']}/s" if self._base else setup["directory"]
        """The sandbox's directory, where the container's root may reach it."""
        self.root = f"{self._seen}/c/{name}/root"
        self._writes = f"{self._seen}/{disk.PLACE}" if setup.get("disk") else self._seen
        """Where everything is that the sandbox's containers can write to."""
        self._layer = f"{self._writes}/c/{name}"
        self.state: dict[str, Any] = {"name": name, "running": False, "restarts": -1}
        self.group = cgroup.Group(f"{setup['cgroup']}/{name}", setup["v2"])
        self.writer: Writer | None = None
        self.streams: dict[int, int] = {}
        """Read ends: descriptor -> stream."""
        self.stdin = -1
        self.process: dict[str, Any] = {}
        self.mounts: list[dict[str, Any]] = []
        self.starting = False
        self._used = self.made_before()
        self._window_start = 0.0
        self._window_reads = 0
        self._mounted = False
        self._shared: list[str] = []
        """Where volumes are mounted that outlive the sandbox."""
        self._tty: socket.socket | None = None
        self._tty_directory = -1
        self._log: dict[str, Any] | None = None

    # -- start -----------------------------------------------------------------------------------------

    def prepare(self, request: dict[str, Any], pid_namespace: str | None, siblings: dict[str, Any]) -> None:
        """Mount a fresh root and write the bundle. Raise StartError."""
        config = request["config"]
        self._log = request["log"]
        if self._used:
            self.clean()
            for path in (self.directory, self._layer):
                files.remove_tree(path)
        self._used = True
        files.make_directory(self.directory)
        if self._layer != self.directory:
            files.make_directory(self._layer)
        for part in ("root", "lower"):
            os.mkdir(f"{self.directory}/{part}")
        try:
            for part in ("upper", "work"):
                os.mkdir(f"{self._layer}/{part}")
            self._mount_root(request["image"], request["lower"])
            self.finish_config(config, request, pid_namespace, siblings)
        except (users.UserError, shared.VolumeError) as error:
            raise StartError(str(error)) from None
        except OSError as error:
            raise StartError(f"{error.strerror}: {error.filename or 'root file system'}") from None
        self.process = config["process"]
        self.mounts = request["volumes"]
        self.keep_config(config)
        self.state["runtime_id"] = self.id = request["runtime_id"]

    def made_before(self) -> bool:
        """By a shim that is no more."""
        return os.path.exists(self.directory)

    def keep_config(self, config: dict[str, Any]) -> None:
        """Where the runtime finds it."""
        state = f"{self.setup['directory']}/rt"  # in memory (birth.py); only a name is on the disk
        if not os.path.isdir(state):
            os.makedirs(state, 0o700)
        files.write(f"{state}/{self.name}.json", json.dumps(config), 0o600)
        os.symlink(f"{state}/{self.name}.json", f"{self.directory}/config.json")

    def _mount_root(self, image: str, lower: str) -> None:
        self.mount_image(image, lower)
        if self._base:
            mapped = f"{self.directory}/lower"
            kernel.mount_mapped(lower, mapped, self.setup["user_namespace"])
            lower = mapped
            for part in ("upper", "work"):
                os.chown(f"{self._layer}/{part}", self._base, self._base)
        below, layer = files.overlay_path(lower), files.overlay_path(self._layer)
        # volatile: the upper layer dies with the container, so nobody needs its fsyncs
        options = f"lowerdir={below},upperdir={layer}/upper,workdir={layer}/work,volatile"
        kernel.mount("overlay", self.root, "overlay", kernel.MS_NODEV, options)
        self._mounted = True
        if self._base:
            kernel.umount(mapped)  # the overlay holds it

    def mount_image(self, image: str, lower: str) -> None:
        """If it is not: forked by an earlier daemon's zygote, a shim has no such image yet."""
        if not os.path.ismount(lower):
            os.makedirs(lower, exist_ok=True)
            kernel.mount_erofs(image, lower)

    def finish_config(
        self,
        config: dict[str, Any],
        request: dict[str, Any],
        pid_namespace: str | None,
        siblings: dict[str, Any],
    ) -> None:
        """What only the owner of the mounts and namespaces knows."""
        process = config["process"]
        user = self.user_of(request)
        home = user.pop("home")
        process["user"] = user
        if not any(entry.startswith("HOME=") for entry in process["env"]):
            process["env"].append(f"HOME={home}")
        config["root"]["path"] = self.root
        if self._base:
            path = f"/proc/{os.getpid()}/fd/{self.setup['user_namespace']}"
            config["linux"]["namespaces"].append({"type": "user", "path": path})
        for entry in config["linux"]["namespaces"]:
            if entry["type"] == "network":
                entry["path"] = f"/proc/{os.getpid()}/ns/net"
            if entry["type"] == "pid" and pid_namespace:
                entry["path"] = pid_namespace
        for source, readonly in request["volumes_from"]:
            other = siblings.get(source)
            for mount in other.mounts if other else ():
                options = [o for o in mount["options"] if o not in ("ro", "rw")]
                readonly_now = readonly or "ro" in mount["options"]
                volume = {**mount, "options": [*options, "ro" if readonly_now else "rw"]}
                request["volumes"].append(volume)
        own = {m["destination"] for m in config["mounts"]}
        config["mounts"] += [m for m in request["volumes"] if m["destination"] not in own]
        for mount in config["mounts"]:
            if mount["type"] == "bind":
                mount["source"] = self._on_disk(mount["source"])
        for mount in request["volumes"]:
            if "shared" in mount:
                mount["source"] = self._mount_shared(mount.pop("shared"), user)
        for mount in request["volumes"]:
            owned = mount.pop("owned", False)
            if not os.path.isdir(mount["source"]):
                os.makedirs(mount["source"], mode=0o755)
                owner = [int(process["user"][name]) if owned else 0 for name in ("uid", "gid")]
                os.chown(mount["source"], *map(self._outside, owner))
                if mount["destination"] in request["image_volumes"]:
                    self._fill(mount["source"], mount["destination"])
        self._make_cwd(process["cwd"])

    def user_of(self, request: dict[str, Any]) -> dict[str, Any]:
        """As users.resolve."""
        return users.resolve(self.root, request["user"])

    def _mount_shared(self, name: str, user: dict[str, Any]) -> str:
        """Mount a volume that outlives the sandbox, for this container; where it is."""
        if "shared_roots" not in self.setup:
            raise StartError(f"volume {name}: this tier has no volumes that outlive a task")
        target = f"{self._seen}/c/{self.name}/shared/{name}"
        if target not in self._shared:
            volume = next(v for v in self.setup["shared"] if v["volume"] == name)
            root = self.setup["shared_roots"][name]
            if volume.get("user") and volume["user"][0] == user["uid"]:
                root = self.setup["own_roots"].get(name, root)
            shared.mount(volume, root, target, self.setup["user_namespace"] if self._base else -1)
            self._shared.append(target)
        return target

    def _outside(self, number: int) -> int:
        """What this machine calls a user or group of the container's (birth.mapped_namespaces)."""
        return self._base + number if number < 65536 else number

    def _on_disk(self, path: str) -> str:
        """Where a path of the sandbox's directory really is; what another container's mount has is real."""
        here = self.setup["directory"] + "/"
        if path.startswith((f"{self._writes}/", f"{self._seen}/c/")) or not path.startswith(here):
            return path
        return f"{self._writes}/{path[len(here) :]}"

    def _fill(self, volume: str, target: str) -> None:
        """A new volume where the image declares VOLUME begins as what the image has there, owner and
        mode too.
        """
        root = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            source = kernel.open_in_root(root, target, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return  # the image has nothing there
        finally:
            os.close(root)
        try:
            argv = ["/bin/cp", "-a", "--reflink=auto", f"/proc/{os.getpid()}/fd/{source}/.", volume]
            pid = os.posix_spawn(argv[0], argv, os.environ)
            if os.waitpid(pid, 0)[1]:
                raise StartError(f"the image's {target} cannot be copied into its volume")
        finally:
            os.close(source)

    def _make_cwd(self, cwd: str) -> None:
        try:
            kernel.make_directories(self.root, cwd, self._base)
        except OSError as error:
            raise StartError(f"mkdir {cwd}: {(error.strerror or '').lower()}") from None

    def stdio(self, request: dict[str, Any]) -> tuple[list[tuple[int, int]], list[str], list[int]]:
        """(descriptor, target) pairs for the runtime, its extra arguments, what to close after the spawn."""
        process = self.process
        if process.get("terminal"):
            directory = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            path = f"/proc/{os.getpid()}/fd/{directory}/tty"  # a socket's path has 108 characters at most
            self._tty = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            self._tty.bind(path)
            self._tty.listen(1)
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            self._tty_directory = directory
            return [(null, 0), (null, 1), (null, 2)], ["--console-socket", path], [null]
        self.streams, outputs = output_pipes()
        if request["interactive"]:
            stdin, self.stdin = os.pipe2(os.O_CLOEXEC)
        else:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        writes = [stdin, *outputs]
        return [(fd, target) for target, fd in enumerate(writes)], [], writes

    def started(self) -> None:
        """The runtime succeeded."""
        if self._tty:
            connection, _ = self._tty.accept()
            _data, fds, _flags, _address = socket.recv_fds(connection, 4096, 1)
            connection.close()
            self._close_tty()
            self.streams = {fds[0]: spool.STDOUT}
        for fd in self.streams:
            os.set_blocking(fd, False)
        log = self._log
        if log is not None:
            limit, blocking = log["max_buffer_bytes"], log["blocking"]
            if self.writer is None:
                self.writer = self.open_writer(limit, blocking)
            else:
                self.writer.reconfigure(limit, blocking)
                self.writer.reopen()
        restarts = self.state["restarts"] + 1
        self.state = {
            "name": self.name,
            "runtime_id": self.state["runtime_id"],
            "running": True,
            "pid": self.first_process(),
            "started_at": self.now(),
            "restarts": restarts,
        }

    def now(self) -> float:
        return time.time()

    def first_process(self) -> int:
        """As the runtime has written it down."""
        return int(files.read(f"{self.bundle}/pid"))

    def open_writer(self, limit: int, blocking: bool) -> Writer:
        return spool.SpoolWriter(f"{self.setup['directory']}/spool/{self.name}", limit, blocking)

    def failed(self) -> str:
        """The runtime did not succeed: its cause, in Docker's words. Undoes `prepare`."""
        cause = runtime_error(f"{self.bundle}/runtime.log", self.process.get("args", [""])[0])
        for fd in self.streams:
            os.close(fd)
        self.streams = {}
        self._close_tty()
        self.clean()
        return cause

    def _close_tty(self) -> None:
        if self._tty:
            self._tty.close()
            os.close(self._tty_directory)
            self._tty = None

    # -- running ---------------------------------------------------------------------------------------

    @property
    def held_back(self) -> bool:
        """Do not read its streams now: a blocking log is full, or it writes too much.

        (Reading costs CPU that the task's quota does not see; a flood must not get a processor for nothing.)
        """
        if self._window_reads >= _WINDOW_READS:
            if time.monotonic() - self._window_start < _WINDOW:
                return True
            self._window_reads = 0
        return self.writer is not None and self.writer.full

    def read_stream(self, fd: int) -> bool:
        """Take one read's worth. False once the stream has closed."""
        try:
            data = os.read(fd, spool.READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:  # EIO: the terminal's other side is gone
            data = b""
        stream = self.streams[fd]
        if data:
            if not self._window_reads:
                self._window_start = time.monotonic()
            self._window_reads += 1
            if self.writer:
                self.writer.feed(stream, data)
            return True
        os.close(fd)
        del self.streams[fd]
        if self.writer:
            self.writer.close_stream(stream)
            if not self.streams:
                self.writer.finish()
        return False

    def signal(self, number: int) -> None:
        """To its first process; SIGKILL to all of it."""
        if number == signal.SIGKILL:
            self.group.kill()
        else:
            os.kill(self.state["pid"], number)  # not reaped yet, so the number is still its own

    def kill_exec(self, pid: int) -> None:
        """The command that an exec runs, by what the runtime wrote to its pid file."""
        os.kill(pid, signal.SIGKILL)

    def exec_error(self, log: str, program: str) -> str:
        """Why the runtime did not run a command, in Docker's words."""
        return runtime_error(log, program)

    def terminal_options(self, base: str) -> list[str]:
        """Has the runtime write down which process a command at a terminal is."""
        return ["--pid-file", f"{base}.pid"]

    def at_terminal(self, inner: int) -> list[int]:
        """What has to be known of a command at a terminal before it hangs up, for `kill_terminal`.

        inner -- what the runtime wrote down as its process inside of a kernel of its own.
        """
        return []

    def kill_terminal(self, pid: int, known: list[int]) -> None:
        """All that is left of a command at a terminal and of what it started there."""
        for other in self.group.pids():
            try:
                if os.getsid(other) == pid:
                    os.kill(other, signal.SIGKILL)
            except OSError:  # it has just ended
                continue

    def usage(self) -> dict[str, float]:
        return self.group.usage()

    # -- end -------------------------------------------------------------------------------------------

    def ended(self, status: int) -> None:
        """The first process has ended with a wait status; `state` says so from here on."""
        code = os.waitstatus_to_exitcode(status)
        code = 128 - code if code < 0 else code
        self.state |= {
            "running": False,
            "pid": None,
            "stopped_at": self.now(),
            "exit_code": code,
            "oom_killed": code == 137 and self.group.oom_kills() > 0,
            "usage": self.usage(),
        }

    def clean(self) -> None:
        """Give back what the last run held: processes, group, runtime's state, root."""
        self.let_go()
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1
        while self._shared:
            kernel.umount(self._shared.pop())
        if self._mounted:
            kernel.umount(self.root)
            self._mounted = False

    def let_go(self) -> None:
        """Its processes and what the runtime keeps of it."""
        self.group.kill()
        self.group.remove()
        if self.id:
            files.remove_tree(f"{self.setup['directory']}/rt/{self.id}")


def output_pipes() -> tuple[dict[int, int], list[int]]:
    """Read ends -> stream, and the write ends of what becomes a container's standard output and error."""
    pipes = [os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)]
    for read, _write in pipes:
        try:
            fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            break  # the user's share of pipe memory is used up: the smaller default does too
    streams = dict(zip((read for read, _write in pipes), (spool.STDOUT, spool.STDERR), strict=True))
    return streams, [write for _read, write in pipes]


def runtime_error(path: str, program: str) -> str:
    """The cause out of crun's or runc's JSON log, as Docker words it."""
    message = ""
    for line in files.read(path).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") == "error":
            message = str(entry.get("msg", ""))
    message = message.rpartition("unable to start container process: ")[2] or message
    if message.startswith("executable file `") and "not found in $PATH" in message:
        return f'exec: "{program}": executable file not found in $PATH'
    if message.startswith("open executable: ") or message.startswith("exec format error"):
        cause = message.partition(": ")[2].lower() or "exec format error"
        cause = "permission denied" if cause == "operation not permitted" else cause
        return f'exec: "{program}": {cause}'
    return message or "the runtime ended without a cause"
