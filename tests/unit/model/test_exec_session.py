"""Tokens of a session, and commands as people write them."""

import pytest
from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import exec_session
from neargate.model.exec_session import ExecSession

SESSION = ExecSession(
    account="123456789012",
    region="us-east-1",
    id="ecs-execute-command-1",
    kind=exec_session.INTERACTIVE,
    cluster_arn="arn:aws:ecs:us-east-1:123456789012:cluster/blue_green",
    task_arn="arn:aws:ecs:us-east-1:123456789012:task/blue_green/1",
    sandbox="1",
    node="n",
    container="web",
    runtime_id="1-2",
    command="sh -c 'echo \"a b\"'",
    principal_arn="arn:aws:iam::123456789012:root",
    token_digest=exec_session.digest("secret"),
    token_expires_at=100.0,
    created_at=0.0,
)


@pytest.mark.parametrize(
    ("session", "token", "now", "takes"),
    [
        (SESSION, "secret", 99.9, True),
        (SESSION, "secret", 100.0, False),
        (SESSION, "secret2", 0.0, False),
        (SESSION, "", 0.0, False),
        (SESSION, "\udcff", 0.0, False),
        (replace(SESSION, token_digest=""), "", 0.0, False),
        (replace(SESSION, ended_at=1.0), "secret", 0.0, False),
    ],
)
def test_tokens(session: ExecSession, token: str, now: float, takes: bool) -> None:
    assert exec_session.takes(session, token, now) is takes


def test_a_command_is_split_as_a_shell_would() -> None:
    assert SESSION.argv == ("sh", "-c", 'echo "a b"')
    assert SESSION.target == "ecs:blue_green_1_1-2"


@pytest.mark.parametrize("command", ["", "   ", "''", "sh -c 'x", 'a "', "a\\", "a\0b"])
def test_commands_refused(command: str) -> None:
    with pytest.raises(ApiError, match="InvalidParameterException"):
        exec_session.check_command(command)
