"""Of several demands for a tier the strongest counts."""

import pytest

from neargate.model.isolation import TAG, demanded
from neargate.model.placement import Room, choose, fits


@pytest.mark.parametrize(
    ("tags", "tier"),
    [
        ([], ""),
        ([{}, {"team": "a"}], ""),
        ([{TAG: "gvisor"}], "gvisor"),
        ([{TAG: "gvisor"}, {TAG: "process"}], "gvisor"),
        ([{TAG: "process"}, {}, {TAG: "microvm"}], "microvm"),
        ([{TAG: ""}, {TAG: "process"}], "process"),
        ([{TAG: "microvm"}, {TAG: "gvsior"}], "gvsior"),
    ],
)
def test_demands(tags: list[dict[str, str]], tier: str) -> None:
    assert demanded(*tags) == tier


def test_only_a_node_that_offers_the_tier_takes_the_task() -> None:
    plain = Room("plain", "x86_64", 1024, 1024)
    strong = Room("strong", "x86_64", 512, 1024, 256, tiers=("process", "gvisor"))
    assert choose(256, 512, "x86_64", [plain, strong]) is plain
    assert choose(256, 512, "x86_64", [plain, strong], "gvisor") is strong
    assert choose(256, 512, "x86_64", [plain, strong], "microvm") is None
    assert fits(256, 512, "x86_64", 5, [plain, strong], "gvisor") == 1
