"""A session of ECS Exec: who ran what in which container, from when to when. Records and pure rules.

Opened by services/ecs (ExecuteCommand) and services/ssm (StartSession); begun and ended by services/cell,
which the gateway's data channel asks. Times are passed in.
"""

import hashlib
import hmac
import shlex

from neargate.kit.errors import ApiError
from neargate.model.record import Record
from neargate.model.task import Container, Task

AGENT = "ExecuteCommandAgent"
INTERACTIVE, SHELL = "InteractiveCommands", "Standard_Stream"
TOKEN_SECONDS = 120.0
TOKEN_BYTES = 96
_NOT_ENABLED = (
    "The execute command failed because execute command was not enabled when the task was run or the execute"
    " command agent isn’t running. Wait and try again or run a new task with execute command enabled and try"
    " again."
)


class ExecSession(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    kind: str
    """The session type that its client is told."""
    cluster_arn: str
    task_arn: str
    sandbox: str
    node: str
    container: str
    runtime_id: str
    command: str
    principal_arn: str
    source_ip: str = ""
    reason: str = ""
    """What StartSession said it is for."""
    token_digest: str = ""
    """SHA-256 of the token that opens the channel next; empty once it was used."""
    token_expires_at: float = 0.0
    created_at: float
    started_at: float | None = None
    """When its command began to run."""
    ended_at: float | None = None
    exit_code: int | None = None
    ending: str = ""
    """Why it ended, where that was not the command's own end."""
    terminate: bool = False
    """Somebody asked for its end."""

    @property
    def target(self) -> str:
        cluster = self.cluster_arn.rpartition("/")[2]
        return f"ecs:{cluster}_{self.sandbox}_{self.runtime_id}"

    @property
    def argv(self) -> tuple[str, ...]:
        return tuple(shlex.split(self.command))


def is_enabled(task: Task, container: Container) -> bool:
    """Commands can be run in it now."""
    return task.enable_execute_command and container.last_status == "RUNNING" and bool(task.node)


def find_container(task: Task, name: str | None) -> Container:
    """The one that is named, or the only one. Raise InvalidParameterException."""
    if name is None:
        if len(task.containers) > 1:
            raise _invalid("A container name is required: the task has more than one container.")
        return task.containers[0]
    for container in task.containers:
        if container.name == name:
            return container
    raise _invalid(f"The container {name[:255]} does not exist in the task.")


def check_enabled(task: Task, container: Container) -> None:
    """Raise InvalidParameterException."""
    if not is_enabled(task, container):
        raise _invalid(_NOT_ENABLED)


def check_command(command: str) -> None:
    """Raise InvalidParameterException on one that has no words, or quotation marks without an end."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise _invalid(f"The command is not valid: {error}.") from None
    if not words or not words[0]:
        raise _invalid("Command cannot be empty.")
    if any("\0" in word for word in words):
        raise _invalid("The command is not valid: it has a NUL.")


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def takes(session: ExecSession, token: str, now: float) -> bool:
    """Whether the token opens the session's channel now. It does so once."""
    fits = hmac.compare_digest(session.token_digest, digest(token))
    return fits and bool(session.token_digest) and now < session.token_expires_at and session.ended_at is None


def managed_agent(task: Task, container: Container) -> dict[str, object]:
    """The agent that AWS puts into such containers, as DescribeTasks shows it."""
    shown: dict[str, object] = {"name": AGENT, "lastStatus": container.last_status}
    if container.last_status == "RUNNING" and task.started_at is not None:
        shown["lastStartedAt"] = task.started_at
    return shown


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)
