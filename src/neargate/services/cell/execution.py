"""What ECS does for a task with its execution role: whether the role may, asked before it is done.

Used by services/cell's LocalCell for injected.py, pulls.py and log_intake.py. Errors are AWS's ApiErrors,
with the ends that its clients print behind them, and CellErrors. Sandboxes without such a role, and the
daemon itself (an empty sandbox), may do everything.
"""

from collections.abc import Sequence

from neargate.kit.errors import ApiError, CellError
from neargate.model import endpoints, session
from neargate.model.action_resources import bucket_arn, parameter_arn, secret_arn, stream_arn
from neargate.model.actions import TASKS, Need
from neargate.model.environment import ParameterSource, SecretSource
from neargate.model.record import Scope
from neargate.model.registry import repository_arn
from neargate.model.rights import UNABLE_TO_ASSUME, refused
from neargate.model.session import Session
from neargate.services.call import House
from neargate.state import rights
from neargate.state.catalog import TASK, TASK_DEFINITION
from neargate.state.rights import Caller, NoRole
from neargate.state.store import Tx

_KEPT = 4096


class Execution:
    def __init__(self, house: House) -> None:
        self._house = house
        self._sessions: dict[str, tuple[Session, str] | None] = {}
        """By sandbox, with its region. Which role a task has never changes, only what it may do."""

    async def check(self, sandbox: str, scope: Scope, *needs: Need) -> None:
        """Raise ApiError AccessDeniedException (S3: AccessDenied), CellError where the role cannot be had.

        scope -- of what is asked for.
        """
        iam, now = self._house.settings.iam, self._house.clock.now()
        found = await self._session(sandbox) if sandbox and iam != "off" else None
        if found is None:
            return
        held, home = found
        caller = Caller(now, scope.region)

        def body(tx: Tx) -> tuple[Need, str] | None:
            if not rights.trusts_service(tx, iam, held.account, home, held.role_arn, TASKS):
                raise NoRole(held.role_arn)
            return rights.refusal(tx, iam, held, scope, needs, caller)

        try:
            refusal = await self._house.store.read(body)
        except NoRole:
            raise CellError(UNABLE_TO_ASSUME.format(held.role_arn)) from None
        if refusal is not None:
            raise self._refused(held, *refusal)

    async def _session(self, sandbox: str) -> tuple[Session, str] | None:
        if sandbox not in self._sessions:
            if len(self._sessions) >= _KEPT:
                self._sessions.clear()
            self._sessions[sandbox] = await self._house.store.read(lambda tx: _session_of(tx, sandbox))
        return self._sessions[sandbox]

    def _refused(self, held: Session, need: Need, why: str) -> ApiError:
        id = self._house.ids.uuid()
        if need.action.startswith("s3:"):
            told = refused(held.principal_arn, need, why, quoted=True)
            return ApiError("AccessDenied", f"{told} status code: 403, request id: {id}")
        told = refused(held.principal_arn, need, why)
        return ApiError("AccessDeniedException", f"{told} status code: 400, request id: {id}")


def _session_of(tx: Tx, sandbox: str) -> tuple[Session, str] | None:
    task = next(iter(tx.find(TASK, "id", sandbox)), None)
    definition = tx.get(TASK_DEFINITION, task.definition_arn) if task is not None else None
    if task is None or definition is None:
        return None
    role = endpoints.execution_role_arn(task, definition)
    if session.parse_role(role) is None:
        return None
    return endpoints.in_name_of(task, role), task.region


def for_secret(scope: Scope, source: SecretSource) -> Need:
    context = {"secretsmanager:VersionStage": source.stage or "AWSCURRENT"}
    return Need("secretsmanager:GetSecretValue", secret_arn(scope, source.arn), context)


def for_login_secret(scope: Scope, parameter: str) -> Need:
    """Of `repositoryCredentials`."""
    return Need("secretsmanager:GetSecretValue", secret_arn(scope, parameter))


def for_parameter(scope: Scope, source: ParameterSource) -> Need:
    return Need("ssm:GetParameters", parameter_arn(scope, source.name))


def for_file(bucket: str, key: str) -> Sequence[Need]:
    return (
        Need("s3:GetBucketLocation", bucket_arn(bucket)),
        Need("s3:GetObject", bucket_arn(bucket, key)),
    )


LOGIN = Need("ecr:GetAuthorizationToken", "*")


def for_pull(scope: Scope, repository: str) -> Sequence[Need]:
    arn = repository_arn(scope, repository)
    return Need("ecr:BatchGetImage", arn), Need("ecr:GetDownloadUrlForLayer", arn)


def for_new_group(scope: Scope, group: str) -> Need:
    return Need("logs:CreateLogGroup", stream_arn(scope, group))


def for_new_stream(scope: Scope, group: str, stream: str) -> Need:
    return Need("logs:CreateLogStream", stream_arn(scope, group, stream))


def for_lines(scope: Scope, group: str, stream: str) -> Need:
    return Need("logs:PutLogEvents", stream_arn(scope, group, stream))
