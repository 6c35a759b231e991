"""The device program of a microVM's containers, run by a small interpreter, against its rules."""

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node import ocispec
from neargate.node.drivers.microvm.sandbox import PLACE
from neargate.node.guest import devices
from neargate.oci.manifest import ImageConfig

_KINDS, _BITS = {"b": 1, "c": 2}, {"m": 1, "r": 2, "w": 4}
_KNOWN = st.sampled_from([0, 1, 2, 3, 5, 7, 8, 9, 136])


def _rules() -> list[dict[str, Any]]:
    container = ContainerSpec(name="c", image="", runtime_id="c-1", command=("true",))
    spec = SandboxSpec(id="0" * 32, containers=(container,), interface=None, cpu=1024, memory=64 << 20)
    config, _notes = ocispec.config(spec, container, ImageConfig(), PLACE)
    found: list[dict[str, Any]] = config["linux"]["resources"]["devices"]
    return found


def _run(program: bytes, access: int, kind: int, major: int, minor: int) -> int:
    """As the kernel would: what it answers."""
    context = struct.pack("=III", access << 16 | kind, major, minor)
    code = [struct.unpack_from("=BBhi", program, at) for at in range(0, len(program), 8)]
    registers, at = [0] * 10, 0
    while True:
        operation, places, offset, value = code[at]
        to, of = places & 0xF, places >> 4
        at += 1
        match operation:
            case 0x61:
                registers[to] = struct.unpack_from("=I", context, offset)[0]
            case 0xBF:
                registers[to] = registers[of]
            case 0x57:
                registers[to] &= value
            case 0x77:
                registers[to] >>= value
            case 0xB7:
                registers[to] = value
            case 0x55:
                at += offset if registers[to] != value else 0
            case 0x5D:
                at += offset if registers[to] != registers[of] else 0
            case 0x95:
                return registers[0]


def _allowed(rules: list[dict[str, Any]], access: int, kind: int, major: int, minor: int) -> bool:
    return any(
        _KINDS[rule["type"]] == kind
        and rule.get("major", major) == major
        and rule.get("minor", minor) == minor
        and not access & ~sum(_BITS[letter] for letter in rule["access"])
        for rule in rules
        if rule["allow"]
    )


@given(
    st.integers(1, 7), st.sampled_from([1, 2]), _KNOWN | st.integers(0, 4095), _KNOWN | st.integers(0, 255)
)
def test_the_program_allows_what_the_rules_allow(access: int, kind: int, major: int, minor: int) -> None:
    rules = _rules()
    program = devices.program(rules)
    assert _run(program, access, kind, major, minor) == _allowed(rules, access, kind, major, minor)


def test_a_disk_can_be_named_but_not_opened() -> None:
    program = devices.program(_rules())
    assert _run(program, _BITS["m"], _KINDS["b"], 254, 0) == 1
    assert _run(program, _BITS["r"], _KINDS["b"], 254, 0) == 0
    assert _run(program, _BITS["r"], _KINDS["c"], 1, 3) == 1
