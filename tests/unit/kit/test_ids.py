"""Shapes of ids, the same whether the system or a seed makes them."""

import re
import uuid

import pytest

from neargate.kit.ids import Ids, SeededIds, SystemIds


@pytest.mark.parametrize("ids", [SystemIds(), SeededIds(7)], ids=["system", "seeded"])
class TestShapes:
    @pytest.mark.parametrize("digits", [1, 8, 17, 32])
    def test_hex(self, ids: Ids, digits: int) -> None:
        for _ in range(200):
            assert re.fullmatch(rf"[0-9a-f]{{{digits}}}", ids.hex(digits))

    @pytest.mark.parametrize("count", [1, 2, 12, 19])
    def test_digits(self, ids: Ids, count: int) -> None:
        for _ in range(200):
            assert re.fullmatch(rf"[1-9][0-9]{{{count - 1}}}", ids.digits(count))

    def test_uuid(self, ids: Ids) -> None:
        made = ids.uuid()
        assert str(uuid.UUID(made)) == made and uuid.UUID(made).version == 4

    def test_token(self, ids: Ids) -> None:
        assert re.fullmatch(r"[A-Za-z0-9_-]{40,}", ids.token(32))

    def test_none_comes_twice(self, ids: Ids) -> None:
        made = [
            make() for _ in range(1000) for make in (ids.uuid, lambda: ids.hex(17), lambda: ids.token(16))
        ]
        assert len(set(made)) == len(made)


def test_the_same_seed_makes_the_same_ids() -> None:
    def some(seed: int) -> list[str]:
        ids = SeededIds(seed)
        return [ids.hex(17), ids.digits(19), ids.uuid(), ids.token(8)]

    assert some(1) == some(1) != some(2)
