"""What requests hold: ids, tags, paging markers; and the records that they name. For services/efs only."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from neargate.kit.errors import ApiError
from neargate.model.efs import AccessPoint, FileSystem, MountTarget, bare_id
from neargate.model.record import Record, Scope
from neargate.services import paging
from neargate.services.call import Result
from neargate.state.catalog import EFS_ACCESS_POINT, EFS_FILE_SYSTEM, EFS_MOUNT_TARGET
from neargate.state.store import Tx

R = TypeVar("R", bound=Record)
_MAX_TAGS = 50
_PAGE = 100


def error(code: str, message: str, **fields: Any) -> ApiError:
    """An error as EFS shapes them: the code is also a member."""
    return ApiError(code, message, fields={"ErrorCode": code, **fields})


def bad(message: str) -> ApiError:
    return error("BadRequest", message)


def is_of(scope: Scope, record: Record) -> bool:
    return (record.account, record.region) == (scope.account, scope.region)


def need_file_system(tx: Tx, scope: Scope, given: str) -> FileSystem:
    found = tx.get(EFS_FILE_SYSTEM, bare_id(given))
    if found is None or not is_of(scope, found):
        raise error("FileSystemNotFound", f"File system '{given}' does not exist.")
    return found


def need_mount_target(tx: Tx, scope: Scope, given: str) -> MountTarget:
    found = tx.get(EFS_MOUNT_TARGET, given)
    if found is None or not is_of(scope, found):
        raise error("MountTargetNotFound", f"Mount target '{given}' does not exist.")
    return found


def need_access_point(tx: Tx, scope: Scope, given: str) -> AccessPoint:
    found = tx.get(EFS_ACCESS_POINT, bare_id(given))
    if found is None or not is_of(scope, found):
        raise error("AccessPointNotFound", f"Access point '{given}' does not exist.")
    return found


def read_tags(
    given: Iterable[Mapping[str, str]] | None, old: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Tags of a request on top of old ones."""
    tags = dict(old or {})
    seen: set[str] = set()
    for item in given or ():
        key, value = item.get("Key", ""), item.get("Value", "")
        if not key or key.lower().startswith("aws:") or not _is_text(key + value):
            raise bad("Tag keys must have 1 to 128 characters and not begin with aws:.")
        if key in seen:
            raise bad(f"The tag key {key} is given twice.")
        seen.add(key)
        tags[key] = value
    if len(tags) > _MAX_TAGS:
        raise bad(f"A resource can have {_MAX_TAGS} tags at most.")
    return tags


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def text(value: str, member: str) -> str:
    """A text that a store can keep."""
    if not _is_text(value):
        raise bad(f"{member} is not valid text.")
    return value


def page(
    rows: Sequence[R],
    key: Callable[[R], str],
    marker: str | None,
    limit: int | None,
    show: Callable[[R], dict[str, Any]],
    *,
    names: tuple[str, str],
) -> Result:
    """A page of a list, and where the next begins. names -- of the list, and of the next marker."""
    after = paging.place(marker, lambda: bad("The marker is invalid."))
    shown, more = paging.page(rows, key, after, limit or _PAGE, show)
    return {names[0]: shown} | ({names[1]: more} if more else {})
