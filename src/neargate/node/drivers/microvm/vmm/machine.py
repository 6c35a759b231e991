"""QEMU's command line: pure. Called by qemu.py.

A template and its clones have the same devices, in the same places; they differ in what stands behind them.
QEMU opens no path of the host: disks come as descriptors, the memory's is found in its own /proc.
"""

from dataclasses import dataclass

QEMU = "/usr/bin/qemu-system-x86_64"
SCRATCH_SLOT, IMAGE_SLOTS, REHEARSAL_SLOT = 0, 10, 11
"""Disks. One image for each of a task's containers, of which ECS knows ten."""
_SLOT_BYTES = 1 << 40
"""What an image's slot looks like while nothing is in it."""
_LEFT_OUT = (
    "mitigations=off lsm= psi=0 init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off numa=off "
    "noautogroup nowatchdog preempt=none cgroup.memory=nokmem,nosocket sysctl.net.core.bpf_jit_enable=0 "
    "cgroup_disable=cpuset,hugetlb,rdma,misc "
)
_FIRST_BUS = 1  # interrupts of the first transport do not arrive with Debian 12's QEMU


@dataclass(frozen=True, slots=True)
class Size:
    cpus: int
    memory: int
    """MiB, of the whole machine."""
    images: int = IMAGE_SLOTS
    """How many disks of images it can have. Each costs a machine of QEMU's a quarter of a megabyte."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Descriptors that QEMU inherits."""

    memory: int
    monitor: int
    port: int
    scratch: int
    tap: int
    files: int
    """Of what the guest asks of its shared volumes (files.py)."""


def command(size: Size, ends: Ends, accelerator: str, boot: list[str] | None) -> list[str]:
    """boot -- `-kernel` and what goes with it, for a boot whose memory is to become a template; None for a
    clone, which waits for its device state."""
    share = "on" if boot else "off"
    machine = "microvm,rtc=off,pcie=off,usb=off,ioapic2=on,x-option-roms=off,memory-backend=ram"
    memory = f"memory-backend-file,id=ram,mem-path=/proc/self/fd/{ends.memory},size={size.memory}M"
    arguments = [
        QEMU, "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-machine", machine, "-accel", _acceleration(accelerator), "-cpu", _processor(accelerator),
        "-smp", str(size.cpus), "-m", f"{size.memory}M",
        "-object", f"{memory},share={share}",
        "-global", "virtio-mmio.force-legacy=false",
        "-serial", "stdio" if boot else "null",
        "-chardev", f"socket,id=monitor,fd={ends.monitor}", "-mon", "chardev=monitor,mode=control",
        "-chardev", f"socket,id=port,fd={ends.port}",
        "-chardev", f"socket,id=files,fd={ends.files}",
        *_device("virtio-serial-device,max_ports=3", 0),
        "-device", "virtserialport,chardev=port,nr=1", "-device", "virtserialport,chardev=files,nr=2",
        "-netdev", f"tap,id=net,fd={ends.tap}",
        *_device("virtio-net-device,netdev=net,guest_announce=off", 1),
        *_disks(ends.scratch, size.images),
    ]  # fmt: skip
    return arguments + (boot if boot else ["-incoming", "defer"])


def _device(what: str, place: int) -> list[str]:
    return ["-device", f"{what},bus=virtio-mmio-bus.{_FIRST_BUS + place}"]


def _disks(scratch: int, images: int) -> list[str]:
    file = "file.driver=file,file.filename=/dev/fdset/0,file.locking=off,file.discard=unmap"
    found = ["-add-fd", f"fd={scratch},set=0"]
    found += ["-blockdev", f"driver=raw,node-name={slot_node(0)},discard=unmap,{file}"]
    found += _device(f"virtio-blk-device,drive={slot_node(0)}", 2)
    for slot in range(1, images + 2):  # and the rehearsal's
        empty = f"file.driver=null-co,file.read-zeroes=on,file.size={_SLOT_BYTES}"
        found += ["-blockdev", f"driver=raw,node-name={slot_node(slot)},read-only=on,{empty}"]
        found += _device(f"virtio-blk-device,drive={slot_node(slot)}", 2 + slot)
    return found


def slot_node(slot: int) -> str:
    return f"slot{slot}"


def _acceleration(accelerator: str) -> str:
    return "kvm" if accelerator == "kvm" else "tcg,thread=multi,tb-size=64"


def kernel_command_line(tsc_khz: int, accelerator: str) -> str:
    """Without the three about the clock, boots under software emulation hang when the machine is busy.
    Mitigations are of no use there; expedited grace periods halve what namespaces and mounts wait for. Where
    each path's first time is dear, the kernel also leaves out what no container here has: profiles of
    security modules, pressure accounting, unused controllers, pages zeroed before they are wanted so."""
    clock = f"tsc_early_khz={tsc_khz} tsc=reliable no_timer_check"
    more = _LEFT_OUT if accelerator == "tcg" else ""
    return (
        f"console=ttyS0 quiet rdinit=/init panic=-1 {clock} {more}rcupdate.rcu_expedited=1 audit=0 "
        "random.trust_cpu=on cgroup_no_v1=all"
    )


def _processor(accelerator: str) -> str:
    """Emulated, wide vector registers cost much at each change of context, and compute no faster. On AMD's
    processors the kernel loads the stack's segment at each change of process; without, an emulator would
    translate what runs after an interrupt twice. (They also lack the register that QEMU 7.2 would set for
    `host`.)"""
    if accelerator == "kvm":
        return "host,-arch-capabilities"
    return "Westmere,+rdrand,+fsgsbase,vendor=AuthenticAMD"
