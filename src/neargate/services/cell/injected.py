"""Secrets and files of variables for containers, read for the node that starts them.

Called by services/cell's LocalCell for node/environment.py. Errors are ApiErrors, and CellErrors in the words
of ECS's agent; they never hold a value.
"""

from collections.abc import Sequence

from neargate.kit.errors import ApiError, CellError
from neargate.model import environment
from neargate.model.environment import ParameterSource, SecretSource
from neargate.model.record import Scope
from neargate.model.secret import Secret, Version
from neargate.services.call import House
from neargate.services.cell import execution
from neargate.services.cell.execution import Execution
from neargate.state import objects, parameters, secrets
from neargate.state.store import Tx

_ASM = "unable to retrieve secret from asm: service call has been retried 1 time(s)"
_SSM = "unable to retrieve secrets from ssm: service call has been retried 1 time(s)"


async def secret_values(
    house: House, role: Execution, sandbox: str, scope: Scope, sources: Sequence[str]
) -> list[str]:
    return [await _value(house, role, sandbox, scope, source) for source in sources]


async def _value(house: House, role: Execution, sandbox: str, scope: Scope, value_from: str) -> str:
    try:
        source = environment.source_of(value_from)
    except ValueError as error:
        raise CellError(f"{_ASM}: {error}") from None
    if isinstance(source, ParameterSource):
        return await _parameter(house, role, sandbox, scope, source)
    place = Scope(scope.account, source.region)
    try:
        await role.check(sandbox, place, execution.for_secret(place, source))
        text = await _secret(house, place, source)
        return environment.json_member(text, source.json_key) if source.json_key else text
    except ApiError as error:
        raise CellError(
            f"{_ASM}: failed to fetch secret {source.arn} from secrets manager: {error}"
        ) from None
    except ValueError as error:
        raise CellError(f"{_ASM}: {error}") from None


async def _secret(house: House, scope: Scope, source: SecretSource) -> str:
    now = house.clock.now()

    def body(tx: Tx) -> tuple[Secret, Version]:
        secret = secrets.need(tx, scope, source.arn, now)
        return secret, secrets.need_version(tx, secret, source.version or None, source.stage or None)

    secret, version = await house.store.read(body)
    value = secrets.opened(house.signing_key, version)
    if secrets.access_is_news(secret, now):
        await house.store.write(lambda tx: secrets.note_access(tx, secret, now))
    if value.binary:
        raise ValueError(f"secret {source.arn} holds binary data, which no environment variable can")
    return value.data.decode()


async def _parameter(
    house: House, role: Execution, sandbox: str, scope: Scope, source: ParameterSource
) -> str:
    place = Scope(scope.account, source.region or scope.region)
    try:
        await role.check(sandbox, place, execution.for_parameter(place, source))
        parameter, revision, _ = await house.store.read(lambda tx: parameters.select(tx, place, source.name))
        return parameters.opened(house.signing_key, parameter, revision)
    except ApiError as error:
        if error.code in ("ParameterNotFound", "ParameterVersionNotFound"):
            raise CellError(f"{_SSM}: invalid ssm parameters: {source.name}") from None
        raise CellError(f"{_SSM}: {error}") from None


async def environment_file(house: House, role: Execution, sandbox: str, scope: Scope, arn: str) -> bytes:
    try:
        bucket, key = environment.bucket_and_key(arn)
    except ValueError as error:
        raise CellError(str(error)) from None
    await role.check(sandbox, scope, *execution.for_file(bucket, key))
    found = await house.store.read(lambda tx: objects.need(tx, scope, bucket, key))
    if found.size > environment.MAX_FILE_BYTES:
        raise CellError(f"it has {found.size} bytes; {environment.MAX_FILE_BYTES} are the most")
    data = await house.objects.read(found.file, found.size)
    if data is None:  # deleted since it was looked up
        raise objects.no_key(key)
    return data
