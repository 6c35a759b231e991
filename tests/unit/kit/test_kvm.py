"""What is said of a KVM that works and yet boots no guest."""

from pathlib import Path

import pytest

from neargate.kit import kvm


@pytest.mark.parametrize(
    ("modules", "said"),
    [(("kvm", "kvm_pvm"), True), (("kvm", "kvm_amd"), False), (("kvm_pvm", "kvm_intel"), False), ((), False)],
)
def test_a_kvm_without_hardware_runs_only_kernels_built_for_it(
    modules: tuple[str, ...], said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in modules:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(kvm, "_MODULES", tmp_path)
    assert ("kvm_pvm" in kvm.remark()) == said
