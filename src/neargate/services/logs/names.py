"""Names, ARNs and paging tokens of CloudWatch Logs, and the look-ups every operation begins with.

Used by the other modules of services/logs only.
"""

from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.logs import LogGroup, LogStream, group_id
from neargate.model.record import Scope
from neargate.services import paging
from neargate.services.call import Call, Params
from neargate.state import log_events
from neargate.state.catalog import LOG_GROUP
from neargate.state.store import Tx

LAST_MOMENT = 10**15


def invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)


def no_group() -> ApiError:
    return ApiError("ResourceNotFoundException", "The specified log group does not exist.")


def no_stream() -> ApiError:
    return ApiError("ResourceNotFoundException", "The specified log stream does not exist.")


def now_ms(call: Call) -> int:
    return int(call.now() * 1000)


def need_group(tx: Tx, scope: Scope, name: str) -> LogGroup:
    group = tx.get(LOG_GROUP, group_id(scope.account, scope.region, name))
    if group is None:
        raise no_group()
    return group


def need_stream(tx: Tx, group: LogGroup, name: str) -> LogStream:
    stream = log_events.get_stream(tx, group.number, name)
    if stream is None:
        raise no_stream()
    return stream


def group_name(call: Call, params: Params) -> str:
    """The group meant by `logGroupName` or `logGroupIdentifier` (a name, or an ARN with or without `:*`)."""
    name, identifier = params.get("logGroupName"), params.get("logGroupIdentifier")
    if name is not None and identifier is not None:
        raise invalid("LogGroupName and LogGroupIdentifier cannot be specified together.")
    if name is not None:
        return str(name)
    if identifier is None:
        raise invalid("Either LogGroupName or LogGroupIdentifier must be specified.")
    return name_of(call.scope, str(identifier))


def name_of(scope: Scope, identifier: str) -> str:
    """The name in an ARN of this account and region, or the identifier itself if it is a name."""
    if not identifier.startswith("arn:"):
        return identifier
    parts = identifier.split(":")
    if len(parts) == 8 and parts[7] == "*":
        parts.pop()
    if len(parts) != 7 or parts[2] != "logs" or parts[5] != "log-group":
        raise invalid(f"'{identifier}' is not the ARN of a log group.")
    if (parts[3], parts[4]) != (scope.region, scope.account):
        raise no_group()
    return parts[6]


token = paging.token_of


def untoken(text: str, kinds: tuple[type, ...]) -> list[Any]:
    """The list in a token made by `token`, its items of these types. Raises InvalidParameterException."""
    value = paging.parts(text, bad_token)
    if [type(item) for item in value] != list(kinds):
        raise bad_token()
    if any(isinstance(item, int) and not 0 <= item <= LAST_MOMENT for item in value):
        raise bad_token()
    return value


def bad_token() -> ApiError:
    return invalid("The specified nextToken is invalid.")


def moment(params: Params, name: str, default: int) -> int:
    """A time member in milliseconds, within what a store can hold."""
    return min(max(int(params.get(name, default)), 0), LAST_MOMENT)
