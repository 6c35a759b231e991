"""The guest image: Debian's cloud kernel, an initramfs with its modules, crun, busybox, a Python and the
agent; and the file system that QEMU itself sees. Firecracker's differs in the form of the kernel and in two
modules (a vsock for serial ports; 230 kB that QEMU's machines do without). Made once, kept by the hash of all
that goes in.

Called by driver.py at its start; templates.py boots it. The agent is Python, and the interpreter is this
machine's own. Measured under software emulation: what a start costs there is the translation of code that
runs for the first time, 26,500 blocks of it. A quarter is Python's, the rest the kernel's (mounts, ext4 and
the block layer, memory, processes, the network). So the host works out what it can (vmm/birth.py,
guest/plan.py), and what a start runs in the guest raises nothing, stats nothing and has few ways of doing a
thing. A small C program would save perhaps a fifth of that; it would need a compiler where neargate is
installed, and be a second implementation of all that node/shim does (users, volumes, execs, terminals,
restarts, logs).
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import neargate
from neargate.node.drivers.base import DriverUnavailable
from neargate.node.drivers.microvm import cpio, elf, slim

log = logging.getLogger(__name__)

KERNELS = (Path("/var/lib/neargate-guest-kernel"), Path("/"))
"""Where a kernel may be: unpacked by scripts/system-packages.sh, or installed."""
_KERNEL, _INITRAMFS, _VMM, _REHEARSAL = "vmlinuz", "initramfs", "vmm.erofs", "rehearsal.erofs"
QEMU = "/usr/bin/qemu-system-x86_64"
_NO_QEMU = "microvm tier: QEMU is missing: apt-get install qemu-system-x86"
_FILE_SYSTEMS = ("virtio_blk", "virtio_net", "erofs", "overlay", "fuse")
_MODULES = ("virtio_ring", "virtio", "virtio_mmio", "virtio_console", *_FILE_SYSTEMS)
_FIRECRACKER_MODULES = ("virtio_ring", "virtio", "virtio_mmio", "vmw_vsock_virtio_transport", *_FILE_SYSTEMS)
"""In the order in which they are loaded; what each depends on comes before it."""
_TOOLS = ("/usr/bin/crun", "/usr/bin/tini-static")
_FIRMWARE = ("/usr/share/seabios/bios-microvm.bin", "/usr/share/qemu/bios-microvm.bin",
             "/usr/share/qemu/qboot.rom", "/usr/share/seabios/linuxboot_dma.bin",
             "/usr/share/qemu/linuxboot_dma.bin")  # fmt: skip
_UNUSED = ("libcapstone", "libpmem", "libpng16", "libjpeg", "libsasl2", "libudev", "librdmacm", "libibverbs",
           "libslirp", "libvdeplug", "libfuse3")  # fmt: skip
"""Libraries of QEMU's whose callers no machine here has."""
_LIST_IMPORTS = """
import sys
sys.path.append(sys.argv[1])
import neargate.node.guest.agent, encodings.idna, encodings.ascii, encodings.latin_1
for module in list(sys.modules.values()):
    if getattr(module, "__file__", None): print(module.__file__)
"""


@dataclass(frozen=True, slots=True)
class GuestImage:
    key: str
    """Hash of everything that it was made of."""
    kernel: Path
    initramfs: Path
    vmm_root: Path
    """An EROFS file: the root of QEMU's own mount namespace. Firecracker's jailer needs none."""
    rehearsal: Path
    """An image of busybox alone, for the container that every guest runs before it is frozen."""


def fingerprint() -> str:
    """Of what decides whether a guest boots here, found without reading it. Raise DriverUnavailable."""
    if not Path(QEMU).exists():
        raise DriverUnavailable(_NO_QEMU)
    return fingerprint_with(Path(QEMU))


def fingerprint_with(*programs: Path) -> str:
    """Of the machine, the kernel and a VMM's programs. Raise DriverUnavailable."""
    kernel, _modules = _kernel()
    host, found = os.uname(), [path.stat() for path in programs]
    parts = [f"{status.st_size} {status.st_mtime_ns}" for status in found]
    return " / ".join([f"{host.release} {host.version}", kernel.name, *parts])


def prepare(cache: Path) -> GuestImage:
    """Find or make QEMU's. Raise DriverUnavailable with what to install. Takes seconds: call it on a
    thread."""
    kernel, modules = _kernel()
    order = _module_order(modules, _MODULES)
    guest, vmm = _guest_files(order), _vmm_files()

    def make(scratch: Path, new: Path) -> None:
        shutil.copyfile(kernel, new / _KERNEL)
        _vmm_root(vmm, scratch / "vmm", new / _VMM)
        _guest(guest, order, scratch, new)

    key = _hash([kernel, *guest.values(), *vmm.values()], [*guest, *vmm])
    return _kept(cache, key, make)


def prepare_for_firecracker(cache: Path) -> GuestImage:
    """As `prepare`."""
    kernel, modules = _kernel()
    order = _module_order(modules, _FIRECRACKER_MODULES)
    guest = _guest_files(order)

    def make(scratch: Path, new: Path) -> None:
        try:
            (new / _KERNEL).write_bytes(elf.unpack(kernel.read_bytes()))
        except elf.KernelError as error:
            raise DriverUnavailable(f"microvm tier: {kernel}: {error}") from None
        _guest(guest, order, scratch, new)

    key = _hash([kernel, Path(elf.__file__), *guest.values()], ["firecracker", *guest])
    return _kept(cache, key, make)


def _kept(cache: Path, key: str, make: Callable[[Path, Path], None]) -> GuestImage:
    directory = cache / key
    image = GuestImage(key, *(directory / name for name in (_KERNEL, _INITRAMFS, _VMM, _REHEARSAL)))
    if directory.is_dir():
        os.utime(directory)
        return image
    started = time.monotonic()
    log.info("making the guest image of the microvm tier")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".new") as scratch:
        new = Path(scratch) / "image"
        new.mkdir()
        make(Path(scratch), new)
        try:
            new.rename(directory)
        except OSError:
            if not directory.is_dir():  # else another daemon made the same meanwhile
                raise
    log.info("guest image made in %.1f s", time.monotonic() - started, extra={"directory": str(directory)})
    return image


def _kernel() -> tuple[Path, Path]:
    """(vmlinuz, its modules), the newest."""
    found = sorted(
        (k for root in KERNELS for k in (root / "boot").glob("vmlinuz-*-cloud-amd64")),
        key=lambda k: [int(n) for n in re.findall(r"\d+", k.name)],
    )
    for kernel in reversed(found):
        release = kernel.name.removeprefix("vmlinuz-")
        for prefix in ("lib/modules", "usr/lib/modules"):
            modules = kernel.parents[1] / prefix / release
            if modules.is_dir():
                return kernel, modules
    raise DriverUnavailable(
        "microvm tier: no guest kernel here: run scripts/system-packages.sh microvm (it unpacks Debian's "
        "linux-image-cloud-amd64), or install that package"
    )


# -- what goes in --------------------------------------------------------------------------------------


def _guest_files(modules: list[Path]) -> dict[str, Path]:
    """Path in the guest -> file here."""
    python = _python()
    package = Path(neargate.__file__).parent
    files: dict[str, Path] = {"usr/bin/python3": python, "bin/busybox": Path(_tool("busybox"))}
    for tool in _TOOLS:
        if not Path(tool).exists():
            raise DriverUnavailable(f"microvm tier: {tool} is missing: apt-get install crun tini")
        files[tool[1:]] = Path(tool)
    programs = [python, Path(_TOOLS[0])]
    for path in _imports(python, package.parent):
        if path.suffix == ".so":
            programs.append(path)
        if path.is_relative_to(package):
            files[f"agent/neargate/{path.relative_to(package)}"] = path
        else:
            files[str(path)[1:]] = path
    for path in (library for program in programs for library in _libraries(program)):
        files[str(path)[1:]] = path
    for module in modules:
        files[f"modules/{module.name}"] = module
    here = package / "node/guest"
    return files | {"init": here / "init.sh", "init2": here / "init2.sh"}


def _python() -> Path:
    """Debian's, which has the most built in, or the one that runs this."""
    system = Path("/usr/bin/python3")
    if system.exists():
        script = "import sys; print(sys.version_info >= (3, 11))"
        done = subprocess.run([system, "-I", "-S", "-c", script], capture_output=True, text=True)
        if done.stdout.strip() == "True":
            return system.resolve()
    return Path(os.path.realpath(sys.executable))


def _imports(python: Path, packages: Path) -> list[Path]:
    command = [str(python), "-I", "-S", "-B", "-c", _LIST_IMPORTS, str(packages)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise DriverUnavailable(f"microvm tier: {python} cannot run the guest's agent: {done.stderr.strip()}")
    return sorted({Path(line) for line in done.stdout.splitlines() if line.startswith("/")})


def _libraries(program: Path) -> list[Path]:
    done = subprocess.run(["ldd", program], capture_output=True, text=True)
    return [Path(word) for word in done.stdout.split() if word.startswith("/")]


def _module_order(modules: Path, wanted: Iterable[str]) -> list[Path]:
    """Their files, each after those that it depends on."""
    by_name = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    order: list[Path] = []

    def add(name: str) -> None:
        path = by_name.get(name)
        if path is None:
            return  # built into the kernel
        found = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for dependency in (found[1].decode() if found else "").split(","):
            if dependency:
                add(dependency.replace("-", "_"))
        if path not in order:
            order.append(path)

    for name in wanted:
        add(name)
    return order


def _vmm_files() -> dict[str, Path]:
    if not Path(QEMU).exists():
        raise DriverUnavailable(_NO_QEMU)
    paths = [Path(QEMU), *_libraries(Path(QEMU))]
    modules = sorted(Path("/usr/lib/x86_64-linux-gnu/qemu").glob("accel-tcg-x86_64.so"))
    paths += [*modules, *(library for module in modules for library in _libraries(module))]
    paths += [Path(path) for path in _FIRMWARE if Path(path).exists()]
    return {str(path)[1:]: path for path in paths}


def _tool(name: str) -> str:
    found = shutil.which(name, path="/usr/bin:/bin")
    if not found:
        raise DriverUnavailable(f"microvm tier: {name} is missing: apt-get install busybox-static")
    return found


def _hash(contents: Iterable[Path], names: Iterable[str]) -> str:
    found = hashlib.sha256("\n".join(names).encode())
    for path in contents:
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    for module in (__file__, slim.__file__):
        found.update(Path(module).read_bytes())
    return found.hexdigest()[:32]


# -- making --------------------------------------------------------------------------------------------


def _stage(files: dict[str, Path], tree: Path) -> None:
    for inside, path in files.items():
        target = tree / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)  # follows links: the guest has files only


def _guest(files: dict[str, Path], modules: list[Path], scratch: Path, new: Path) -> None:
    _initramfs(files, modules, scratch / "guest", new / _INITRAMFS)
    _stage({"busybox": files["bin/busybox"]}, scratch / "rehearsal")
    _erofs(scratch / "rehearsal", new / _REHEARSAL)


def _initramfs(files: dict[str, Path], modules: list[Path], tree: Path, target: Path) -> None:
    _stage(files, tree)
    for name in (
        "proc",
        "sys",
        "dev",
        "run",
        "tmp",
        "new",
        "task",
        "images",
        "shared",
        "etc",
        "root",
        "sbin",
    ):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "bin/cp").symlink_to("busybox")
    (tree / "modules/order").write_text("\n".join(m.name for m in modules))
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tree / "init").chmod(0o755)
    # The agent must not compile itself in every boot.
    compiler = [str(_python()), "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command = [*compiler, "-s", str(tree), str(tree)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with target.open("wb") as file:
        cpio.write(tree, file)


def _vmm_root(files: dict[str, Path], tree: Path, target: Path) -> None:
    _stage(files, tree)
    _slim(tree / QEMU[1:])
    for name in ("proc", "dev", "old"):
        (tree / name).mkdir()
    _erofs(tree, target)


def _slim(program: Path) -> None:
    """Rid it of libraries; it stays as it is if it then does not run."""
    whole = data = program.read_bytes()
    for library in _libraries(program):
        if re.sub(r"\.so\..*", "", library.name) in _UNUSED:
            with contextlib.suppress(slim.SlimError):  # another version of QEMU is linked with others
                data = slim.without(data, library.name, library.read_bytes())
    program.write_bytes(data)
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    if done.returncode:
        log.warning("QEMU does not run with fewer libraries: %s", done.stderr.strip())
        program.write_bytes(whole)


def _erofs(tree: Path, target: Path) -> None:
    subprocess.run(["mkfs.erofs", "-T0", "--all-root", target, tree], check=True, stdout=subprocess.DEVNULL)
