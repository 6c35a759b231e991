"""STS: who calls."""

from pathlib import Path

from neargate.services.sts.identity import get_caller_identity
from tests.support.ecs import SCOPE, opened


async def test_the_root_credential_is_the_account(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        assert await get_caller_identity(house.call, {}) == {
            "Account": SCOPE.account,
            "UserId": SCOPE.account,
            "Arn": f"arn:aws:iam::{SCOPE.account}:root",
        }
