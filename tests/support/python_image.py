"""An image of one Python program with the interpreter that runs the tests: for what a shell cannot do."""

import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from neargate.oci.layout import busybox_layer, write_layout

_LIST_IMPORTS = """
import runpy, sys
sys.path.append(sys.argv[2])
runpy.run_path(sys.argv[1])
for module in list(sys.modules.values()):
    if path := getattr(module, "__file__", None):
        print(path)
"""
_MODULES = Path("/opt/modules")
_PROGRAM = "program.py"
PYTHON = Path(sys.executable).resolve()
ENTRYPOINT = (str(PYTHON), "-S", "-B", f"/{_PROGRAM}")
ENVIRONMENT = ("PATH=/bin", f"PYTHONHOME={sys.base_prefix}", f"PYTHONPATH={_MODULES}")


def python_image(dest: Path, program: Path) -> Path:
    """An OCI layout, tag `latest`: busybox, the program as entry point, and the modules that it imports."""
    config = {"Entrypoint": ENTRYPOINT, "Env": ENVIRONMENT}
    return write_layout(dest, _layers(program), config, level=1)


def python_erofs(directory: Path, program: Path) -> Path:
    """The same as an EROFS file, for drivers without a registry."""
    for layer in _layers(program):
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            tar.extractall(directory / "tree", filter="tar")
    path = directory / "python.erofs"
    subprocess.run(["mkfs.erofs", str(path), str(directory / "tree")], check=True, capture_output=True)
    return path


def _layers(program: Path) -> list[bytes]:
    return [busybox_layer({_PROGRAM: program.read_bytes()}), _layer(PYTHON, program)]


def _layer(python: Path, program: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for source, target in _content(python, program):
            tar.add(source, str(target)[1:], recursive=False)
    return out.getvalue()


def _content(python: Path, program: Path) -> Iterator[tuple[Path, Path]]:
    """(where a file is, where it is to be)."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    command = [str(python), "-S", "-B", "-c", _LIST_IMPORTS, str(program), packages]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    modules = sorted({Path(line) for line in told.splitlines()} - {program})
    binaries = [python, *(path for path in modules if path.suffix == ".so")]
    for path in (python, *_libraries(binaries)):
        yield path.resolve(), path
    for path in modules:
        own = path.is_relative_to(packages)
        yield path, _MODULES / path.relative_to(packages) if own else path


def _libraries(binaries: list[Path]) -> set[Path]:
    """What the dynamic linker loads for them."""
    told = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=True).stdout
    return {Path(found) for found in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, re.MULTILINE)}
