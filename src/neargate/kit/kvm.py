"""Does KVM run a guest here? Asked of the kernel itself, by a guest of five bytes: some machines have a
/dev/kvm on which every guest hangs, or that one may not open.

Called by `neargate doctor` and by node/drivers/microvm, which boots a real guest after it.
"""

import ctypes
import fcntl
import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path

DEVICE = Path("/dev/kvm")
_MODULES, _MAKERS = Path("/sys/module"), ("intel", "amd")
_SECONDS = 3
_API, _CREATE_VM, _MMAP_SIZE, _CREATE_VCPU, _RUN = 0xAE00, 0xAE01, 0xAE04, 0xAE41, 0xAE80
_SET_MEMORY, _GET_SREGS, _SET_SREGS, _SET_REGS = 0x4020AE46, 0x8138AE83, 0x4138AE84, 0x4090AE82
_SREGS_BYTES, _REGS_BYTES, _RIP_AT, _RFLAGS_AT = 312, 144, 128, 136
_EXIT_IO, _EXIT_HLT, _EXIT_REASON_AT = 2, 5, 8
_CODE = bytes.fromhex("b02ae610f4")  # mov al, 42; out 0x10, al; hlt
_PAGE, _AT = 4096, 0x1000


def remark() -> str:
    """What is to be known of the kind of KVM that is here, to be put behind a cause; mostly nothing."""
    if (_MODULES / "kvm_pvm").exists() and not any((_MODULES / f"kvm_{maker}").exists() for maker in _MAKERS):
        return " (KVM here is kvm_pvm, which runs only kernels that were built for it: Debian's are not)"
    return ""


def failure() -> str | None:
    """Why KVM cannot be used on this machine; None if it ran the guest."""
    if not DEVICE.exists():
        return f"there is no {DEVICE}: enable virtualization, nested if this is a virtual machine"
    command = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    try:
        # a process of its own, as a guest that hangs takes its thread with it
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{DEVICE} is there, but a guest of five bytes hangs on it (for {_SECONDS} s)"
    if done.returncode:
        return (done.stdout or done.stderr).strip().splitlines()[-1]
    return None


def _run_guest() -> str | None:
    """Raise OSError with the call that failed."""
    kvm = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    if fcntl.ioctl(kvm, _API, 0) != 12:
        return f"{DEVICE} speaks another version of its interface"
    vm = fcntl.ioctl(kvm, _CREATE_VM, 0)
    memory = mmap.mmap(-1, _PAGE)
    memory[: len(_CODE)] = _CODE
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(vm, _SET_MEMORY, struct.pack("=IIQQQ", 0, 0, _AT, _PAGE, address))
    cpu = fcntl.ioctl(vm, _CREATE_VCPU, 0)
    state = mmap.mmap(cpu, fcntl.ioctl(kvm, _MMAP_SIZE, 0))
    special = bytearray(fcntl.ioctl(cpu, _GET_SREGS, bytes(_SREGS_BYTES)))
    struct.pack_into("=QIH", special, 0, 0, 0xFFFF, 0)  # the code segment begins at 0
    fcntl.ioctl(cpu, _SET_SREGS, bytes(special))
    registers = bytearray(_REGS_BYTES)
    struct.pack_into("=QQ", registers, _RIP_AT, _AT, 2)
    fcntl.ioctl(cpu, _SET_REGS, bytes(registers))
    for expected in (_EXIT_IO, _EXIT_HLT):
        fcntl.ioctl(cpu, _RUN, 0)
        (reason,) = struct.unpack_from("=I", state, _EXIT_REASON_AT)
        if reason != expected:
            return f"a guest of five bytes ended with KVM's exit reason {reason}"
    return None


if __name__ == "__main__":
    try:
        cause = _run_guest()
    except OSError as error:
        cause = f"{DEVICE}: {error.strerror}"
    if cause:
        print(cause)
        raise SystemExit(1)
