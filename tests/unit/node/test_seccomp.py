"""The compiled filter of system calls, run here as the kernel would: its verdicts, and how long it takes."""

import base64
import errno
import platform
import struct
from collections.abc import Iterator

import pytest

from neargate.node import ocispec, seccomp

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86_64's calls")

X86_64, I386, X32 = 0xC000003E, 0x40000003, 0x40000000
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
_MOST_STEPS = 64
_ARGUMENTS = (
    0, 1, 2, 3, 8, 16, 40, 0x20000, 0x20008, 0xFFFFFFFF, 0x7E020000, 0x10000000, 0x40000000, 0x80000000,
    0x01200011, 1 << 32, (1 << 32) + 40, (1 << 64) - 1,
)  # fmt: skip
"""Of what rules ask for: families of sockets, personalities, flags of clone; and others beside them."""

Program = list[tuple[int, int, int, int]]


def _compiled(capabilities: frozenset[str]) -> Program:
    return list(struct.iter_unpack("=HBBI", base64.b64decode(seccomp.bpf(capabilities))))


def _run(program: Program, number: int, architecture: int, argument: int) -> tuple[int, int, bool]:
    """(verdict, steps, whether it looked at an argument). All six are `argument`."""
    words = struct.unpack("=16I", struct.pack("=IIQ6Q", number, architecture, 0, *[argument] * 6))
    at = accumulator = steps = 0
    looked = False
    while True:
        code, when_true, when_false, value = program[at]
        at, steps = at + 1, steps + 1
        match code:
            case 0x20:  # load a word
                accumulator, looked = words[value // 4], looked or value >= 16
            case 0x54:
                accumulator &= value
            case 0x05:
                at += value
            case 0x15:
                at += when_true if accumulator == value else when_false
            case 0x25:
                at += when_true if accumulator > value else when_false
            case 0x35:
                at += when_true if accumulator >= value else when_false
            case 0x45:
                at += when_true if accumulator & value else when_false
            case 0x06:
                return value, steps, looked
            case _:
                raise AssertionError(f"an instruction that seccomp does not have: {code:#x}")


def _calls() -> Iterator[tuple[int, int]]:
    for number in range(601):
        yield from ((number, X86_64), (X32 | number, X86_64), (number, I386))
    yield from ((0xFFFFFFFF, X86_64), (1, 0xC00000B7), (1 << 20, I386))


_SETS = {
    "default": ocispec.CAPABILITIES,
    "none": frozenset[str](),
    "admin": ocispec.CAPABILITIES | {"CAP_SYS_ADMIN", "CAP_SYSLOG", "CAP_BPF"},
}


@pytest.mark.parametrize("name", _SETS)
def test_a_verdict_takes_few_steps_and_is_the_one_without_a_tree(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tree = _compiled(_SETS[name])
    monkeypatch.setattr(seccomp, "_BINARY_TREE", 1)
    seccomp.bpf.cache_clear()
    one_by_one = _compiled(_SETS[name])
    seccomp.bpf.cache_clear()
    most = longest = 0
    for number, architecture in _calls():
        for argument in _ARGUMENTS:
            verdict, steps, looked = _run(with_tree, number, architecture, argument)
            expected, others, also_looked = _run(one_by_one, number, architecture, argument)
            assert verdict == expected, (number, hex(architecture), argument)
            most, longest = max(most, steps), max(longest, others)
            if not (looked or also_looked):
                break  # other arguments make no difference
    assert most <= _MOST_STEPS < longest


@pytest.mark.parametrize(
    ("number", "architecture", "argument", "verdict"),
    [
        (0, X86_64, 0, ALLOW),  # read
        (41, X86_64, 2, ALLOW),  # socket
        (41, X86_64, 40, ERRNO | errno.ENOSYS),
        (359, I386, 40, ERRNO | errno.ENOSYS),
        (102, I386, 1, ERRNO | errno.EPERM),  # socketcall
        (56, X86_64, 0x01200011, ALLOW),  # clone
        (56, X86_64, 0x10000000, ERRNO | errno.ENOSYS),
        (435, X86_64, 0, ERRNO | errno.ENOSYS),  # clone3
        (165, X86_64, 0, ERRNO | errno.EPERM),  # mount
        (250, X86_64, 0, ERRNO | errno.EPERM),  # keyctl
        (600, X86_64, 0, ERRNO | errno.ENOSYS),
    ],
)
def test_verdicts_for_any_container(number: int, architecture: int, argument: int, verdict: int) -> None:
    assert _run(_compiled(ocispec.CAPABILITIES), number, architecture, argument)[0] == verdict


@pytest.mark.parametrize("name", _SETS)
@pytest.mark.parametrize("number", [41, X32 | 41])
def test_no_vsock_is_made_with_anything_above_its_family(name: str, number: int) -> None:
    """The kernel takes the lower half of what a filter sees."""
    program = _compiled(_SETS[name])
    for family in (40, (1 << 32) + 40, (0xFFFFFFFF << 32) + 40):
        assert _run(program, number, X86_64, family)[0] == ERRNO | errno.ENOSYS
    if number == 41:
        assert _run(program, number, X86_64, (1 << 32) + 2)[0] == ALLOW
        assert _run(program, number, X86_64, 2)[0] == ALLOW
