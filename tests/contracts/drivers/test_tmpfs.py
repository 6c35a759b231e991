"""Mount options of a container's tmpfs: where two contradict each other, the last counts."""

import pytest

from neargate.model.sandbox import Tmpfs
from tests.contracts.drivers.rig import Rig

_MIB = 1 << 20


@pytest.mark.parametrize(
    ("options", "runs"),
    [((), False), (("exec",), True), (("noexec", "exec"), True), (("exec", "mode=755", "noexec"), False)],
)
async def test_programs_run_from_a_tmpfs_as_its_options_say(
    rig: Rig, options: tuple[str, ...], runs: bool
) -> None:
    text = await rig.output(
        "cp /bin/busybox /t/sh && { /t/sh -c 'echo runs' || echo refused; } 2>&1",
        tmpfs=(Tmpfs(target="/t", size=8 * _MIB, options=options),),
    )
    assert ("runs" in text, "refused" in text) == (runs, not runs)
