"""What requests hold: ids, tags, filters, paging; and the records that they name. For this package only."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from neargate.kit.errors import ApiError
from neargate.model.discovery import DiscoveryService, Instance, Namespace, Operation, bare_id, instance_key
from neargate.model.discovery_rules import bad
from neargate.model.record import Record, Scope
from neargate.services import paging
from neargate.services.call import Call, Result
from neargate.state.catalog_discovery import DISCOVERY_SERVICE, INSTANCE, NAMESPACE, OPERATION
from neargate.state.store import Tx

R = TypeVar("R")
_MAX_TAGS = 50
_PAGE = 100


def is_of(scope: Scope, record: Record) -> bool:
    return (record.account, record.region) == (scope.account, scope.region)


def need_namespace(tx: Tx, scope: Scope, given: str) -> Namespace:
    found = tx.get(NAMESPACE, bare_id(given)) if is_text(given) else None
    if found is None or not is_of(scope, found):
        raise ApiError("NamespaceNotFound", f"Namespace not found: {_shown(given)}")
    return found


def need_service(tx: Tx, scope: Scope, given: str) -> DiscoveryService:
    found = tx.get(DISCOVERY_SERVICE, bare_id(given)) if is_text(given) else None
    if found is None or not is_of(scope, found):
        raise ApiError("ServiceNotFound", f"Service not found: {_shown(given)}")
    return found


def need_instance(tx: Tx, service: DiscoveryService, given: str) -> Instance:
    found = tx.get(INSTANCE, instance_key(service.id, given)) if is_text(given) else None
    if found is None:
        raise ApiError("InstanceNotFound", f"Instance not found: {_shown(given)}")
    return found


def is_text(value: str) -> bool:
    """One that a name in DNS or in a file can hold."""
    return "\0" not in value


def _shown(value: str) -> str:
    return value if is_text(value) else ascii(value)


def text(value: str | None, member: str) -> str:
    if value is not None and not is_text(value):
        raise bad(f"{member} is not valid text.")
    return value or ""


def read_tags(
    given: Iterable[Mapping[str, str]] | None, arn: str, old: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Tags of a request on top of old ones."""
    tags = dict(old or {})
    seen: set[str] = set()
    for item in given or ():
        key, value = text(item["Key"], "A tag's key"), text(item["Value"], "A tag's value")
        if key.lower().startswith("aws:"):
            raise bad("Tag keys must not begin with aws:.")
        if key in seen:
            raise bad(f"The tag key {key} is given twice.")
        seen.add(key)
        tags[key] = value
    if len(tags) > _MAX_TAGS:
        message = f"A resource can have at most {_MAX_TAGS} tags."
        raise ApiError("TooManyTagsException", message, fields={"ResourceName": arn})
    return tags


def done(
    call: Call, tx: Tx, type: str, targets: Mapping[str, str], *, failure: tuple[str, str] | None = None
) -> Operation:
    """Keep that a change was made. failure -- (code, message) where it could not be."""
    code, message = failure or ("", "")
    operation = Operation(
        account=call.scope.account,
        region=call.scope.region,
        id=f"{call.ids.hex(32)}-{call.ids.hex(8)}",
        type=type,
        status="FAIL" if failure else "SUCCESS",
        targets=dict(targets),
        error_code=code,
        error_message=message,
        at=call.now(),
    )
    return tx.insert(OPERATION, operation)


Test = Callable[[Any], bool]


def filters(
    given: Sequence[Mapping[str, Any]] | None,
    members: Mapping[str, tuple[Callable[[Any], str], frozenset[str]]],
) -> Test:
    """The filters of a request as one test of a record.

    members -- filter name -> (what of a record it is held against, the conditions that it may have).
    """
    tests: list[Test] = []
    for item in given or ():
        read, conditions = members[item["Name"]]
        condition, values = item.get("Condition", "EQ"), item["Values"]
        if condition not in conditions:
            raise bad(f"The condition {condition} is not supported by the filter {item['Name']}.")
        if not values or (condition != "IN" and len(values) != (2 if condition == "BETWEEN" else 1)):
            raise bad(f"The filter {item['Name']} has a number of values that {condition} does not take.")
        tests.append(_test(read, condition, values))
    return lambda record: all(test(record) for test in tests)


def _test(read: Callable[[Any], str], condition: str, values: Sequence[str]) -> Test:
    if condition == "BEGINS_WITH":
        return lambda record: read(record).startswith(values[0])
    if condition == "BETWEEN":
        try:
            first, last = float(values[0]), float(values[1])
        except ValueError:
            raise bad("The values of a BETWEEN filter must be times in seconds since 1970.") from None
        return lambda record: first <= float(read(record)) <= last
    return lambda record: read(record) in values


def page(
    rows: Iterable[R],
    key: Callable[[R], str],
    token: str | None,
    limit: int | None,
    show: Callable[[R], Any],
    member: str,
) -> Result:
    """A page of a list, and where the next begins."""
    after = paging.place(token, lambda: bad("NextToken is not valid."))
    shown, more = paging.page(rows, key, after, limit or _PAGE, show)
    return {member: shown} | ({"NextToken": more} if more else {})


def without_none(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if value is not None}
