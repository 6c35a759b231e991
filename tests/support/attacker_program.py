"""What a hostile task runs: system calls that it should not have, and packets that are not its own.

It does nothing but in a container: whoever makes its image runs it to see what it imports (python_image.py).
Environment: ATTACK = calls | arp | listen | spoof | flows; MINE, TO, OTHER = addresses; MAC, FLOWS.
"""

import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
import time

_CALLS = {
    "add_key": (248, b"user", b"k", b"v", 1, -3), "bpf": (321, 0, b"\0" * 128, 128),
    "delete_module": (176, b"veth", 0), "fanotify_init": (300, 0, 0), "finit_module": (313, 0, b"", 0),
    "fsopen": (430, b"tmpfs", 0), "init_module": (175, b"\0" * 64, 64, b""),
    "io_uring_setup": (425, 8, b"\0" * 120),
    "iopl": (172, 3), "ioperm": (173, 0, 1, 1), "kexec_load": (246, 0, 0, 0, 0), "keyctl": (250, 0, -3, 0),
    "mount": (165, b"none", b"/tmp", b"tmpfs", 0, 0), "open_by_handle_at": (304, 3, b"\0" * 64, 0),
    "open_tree": (428, -100, b"/", 1), "perf_event_open": (298, b"\0" * 112, 0, -1, -1, 0),
    "pidfd_getfd": (438, 0, 0, 0), "quotactl": (179, 0, 0, 0, 0), "setns": (308, 0, 0),
    "sethostname": (170, b"x", 1), "swapon": (167, b"/program.py", 0), "syslog": (103, 10, 0, 0),
    "umount2": (166, b"/proc", 2), "unshare_mount": (272, 0x20000), "unshare_network": (272, 0x40000000),
    "unshare_user": (272, 0x10000000), "userfaultfd": (323, 1), "vsock": (41, 40, 1, 0),
}  # fmt: skip
_ABSENT = (errno.EPERM, errno.ENOSYS, errno.EACCES, errno.EAFNOSUPPORT, errno.ENODEV, errno.EOPNOTSUPP)
_I386_SOCKETCALL, _I386_SOCKET, _AF_VSOCK = 102, 359, 40
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def calls() -> None:
    """Names of the calls that this kernel, or a filter before it, did not refuse."""
    found = []
    for name, (number, *arguments) in _CALLS.items():
        ctypes.set_errno(0)
        if _libc.syscall(number, *arguments) >= 0 or ctypes.get_errno() not in _ABSENT:
            found.append(name)
    found += _socketcall()
    print("open:", *found)


def _socketcall() -> list[str]:
    """The 32-bit way to a vsock; a child tries it, as a kernel may have no such way."""
    read, write = os.pipe()
    if not os.fork():
        low = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC, flags=0x62)
        address = ctypes.addressof(ctypes.c_char.from_buffer(low))
        low[:12] = struct.pack("=III", _AF_VSOCK, 1, 0)
        low[64:81] = bytes.fromhex("5389f889f34189c889d14489c2cd805bc3")
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)(
            address + 64
        )
        made = {
            "i386_socketcall": call(_I386_SOCKETCALL, 1, address, 0),
            "i386_vsock": call(_I386_SOCKET, 40, 1, 0),
        }
        found = [name for name, result in made.items() if result == 0 or 2 < result < 100]
        os.write(write, " ".join(found).encode())
        os._exit(0)
    os.close(write)
    os.wait()
    return os.read(read, 1000).decode().split()


def arp() -> None:
    """Ask for the gateway in the names of three thousand others."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0806)
    link.bind(("eth0", 0x0806))
    mac = bytes.fromhex(os.environ["MAC"].replace(":", ""))
    head = b"\xff" * 6 + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac
    start = struct.unpack("!I", socket.inet_aton("198.18.0.0"))[0]
    try:
        for number in range(3000):
            claimed = struct.pack("!I", start + number)
            link.send(head + claimed + bytes(6) + socket.inet_aton(os.environ["TO"]) + bytes(18))
            if number % 50 == 0:
                time.sleep(0.001)
    except OSError as error:
        print(error.strerror)
    print("end")


def listen() -> None:
    """Say what is sent to us, and in whose name."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 7777))
    print("listens", flush=True)
    while True:
        data, (address, _port) = server.recvfrom(1000)
        print(data.decode(), address, flush=True)


def spoof() -> None:
    """To a neighbour, in others' names and then in our own."""
    for source in ("192.0.2.77", "127.0.0.1", "169.254.170.2", os.environ["TO"], os.environ["OTHER"]):
        _datagram(source, 4000, 7777, b"spoofed")
    _datagram(os.environ["MINE"], 4000, 7777, b"honest")
    print("sent")


def flows() -> None:
    """As many flows to a neighbour as there is time for."""
    for number in range(int(os.environ["FLOWS"])):
        _datagram(os.environ["MINE"], 1024 + number % 60_000, 8000 + number // 60_000, b"x")
        if number % 100 == 0:
            time.sleep(0.0005)
    print("sent")


_raw: list[socket.socket] = []


def _datagram(source: str, source_port: int, port: int, data: bytes) -> None:
    if not _raw:
        _raw.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    udp = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    addresses = socket.inet_aton(source) + socket.inet_aton(os.environ["TO"])
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + addresses
    while True:
        try:
            _raw[0].sendto(head + udp, (os.environ["TO"], 0))
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                return print(source, error)
            time.sleep(0.001)


if __name__ == "__main__" and "ATTACK" in os.environ:
    {"calls": calls, "arp": arp, "listen": listen, "spoof": spoof, "flows": flows}[os.environ["ATTACK"]]()
    sys.stdout.flush()
