"""What every Describe operation of EC2 does alike: pick by id, by filter and by tag, then cut into pages.

Pure: works on items as the API shows them. Called by the other modules of services/ec2 only.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from neargate.kit.errors import ApiError
from neargate.services import paging
from neargate.services.call import Params, Result

Json = dict[str, Any]
Path = str | Callable[[Json], Any]
"""Where a filter finds its values in an item: dotted members, through lists; or a function of the item."""
_MAX_FILTERS: Final = 50
_MAX_VALUES: Final = 200
_PAGE_SIZES: Final = (5, 1000)
_TOKENS: Final = re.compile(r"\\.|[*?\\]|[^*?\\]+", re.S)


@dataclass(frozen=True, slots=True)
class Named:
    """A parameter that lists the wanted items by one of their members.

    code, message -- the error if one is not there; `{}` in the message stands for it.
    """

    member: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One Describe operation: the answer's member, an item's identity, and how items may be picked."""

    member: str
    key: Path
    named: Mapping[str, Named]
    filters: Mapping[str, Path]
    tags: Callable[[Json], Sequence[Json]] | None = lambda item: item["Tags"]
    """An item's tags, for the filters that every kind of tagged thing has."""


def invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterValue", message)


def check_dry_run(params: Params) -> None:
    """Everything that a dry run checks has been checked at the door."""
    if params.get("DryRun"):
        message = "Request would have succeeded, but DryRun flag is set."
        raise ApiError("DryRunOperation", message, status=412)


def select(listing: Listing, params: Params, items: Iterable[Json]) -> Result:
    """The answer: the items that were asked for, in the order of their identity, one page of them."""
    wanted = _named(listing, params, list(items))
    filters = _read_filters(listing, params.get("Filters") or ())
    found = [item for item in wanted if all(_passes(item, path, values) for path, values in filters)]
    return _page(listing, params, sorted(found, key=lambda item: _key(listing, item)))


def _named(listing: Listing, params: Params, items: list[Json]) -> list[Json]:
    for parameter, named in listing.named.items():
        asked = params.get(parameter) or ()
        there = {item[named.member] for item in items}
        for name in asked:
            if name not in there:
                raise ApiError(named.code, named.message.format(name))
        if asked:
            items = [item for item in items if item[named.member] in asked]
    return items


def _read_filters(listing: Listing, filters: Sequence[Json]) -> list[tuple[Path, list[re.Pattern[str]]]]:
    if len(filters) > _MAX_FILTERS:
        raise ApiError("FilterLimitExceeded", f"The maximum number of filters is {_MAX_FILTERS}.")
    read = []
    for filter in filters:
        name, values = filter.get("Name") or "null", filter.get("Values") or ()
        path = _filter_path(listing, name)
        if not values:
            raise ApiError("MissingParameter", f"The filter '{name}' must have at least one value.")
        if len(values) > _MAX_VALUES:
            raise ApiError("FilterLimitExceeded", f"The maximum number of filter values is {_MAX_VALUES}.")
        read.append((path, [_pattern(value) for value in values]))
    return read


def _filter_path(listing: Listing, name: str) -> Path:
    if name in listing.filters:
        return listing.filters[name]
    tags = listing.tags
    if tags is not None:
        if name == "tag-key":
            return lambda item: [tag["Key"] for tag in tags(item)]
        if name == "tag-value":
            return lambda item: [tag["Value"] for tag in tags(item)]
        if name.startswith("tag:"):
            key = name.removeprefix("tag:")
            return lambda item: [tag["Value"] for tag in tags(item) if tag["Key"] == key]
    raise invalid(f"The filter '{name}' is invalid")


@lru_cache(1024)
def _pattern(value: str) -> re.Pattern[str]:
    r"""A filter's value: `*` is any text, `?` one character, and `\` takes the next one as it is.

    All stars but the last take the first match for good (an atomic group): no value makes matching slow.
    """
    chunks = [""]
    for token in _TOKENS.findall(value):
        if token == "*":
            chunks.append("")
        elif token == "?":
            chunks[-1] += "."
        else:
            chunks[-1] += re.escape(token[1:] or token if token[0] == "\\" else token)
    first, *rest = chunks
    middle = "".join(f"(?>.*?{chunk})" for chunk in rest[:-1])
    return re.compile(first + middle + (f".*{rest[-1]}" if rest else ""), re.S)


def _passes(item: Json, path: Path, patterns: Sequence[re.Pattern[str]]) -> bool:
    return any(pattern.fullmatch(value) for value in values_at(item, path) for pattern in patterns)


def values_at(item: Json, path: Path) -> list[str]:
    """The texts that a filter compares with: none if the item has nothing there."""
    found: list[Any] = [item]
    for member in path.split(".") if isinstance(path, str) else ():
        found = [value[member] for value in found if member in value]
        found = [v for value in found for v in (value if isinstance(value, list) else [value])]
    if not isinstance(path, str):
        value = path(item)
        found = value if isinstance(value, list) else [value]
    return [str(value).lower() if isinstance(value, bool) else str(value) for value in found]


def _key(listing: Listing, item: Json) -> str:
    return values_at(item, listing.key)[0]


def _page(listing: Listing, params: Params, found: list[Json]) -> Result:
    size = params.get("MaxResults")
    if size is not None:
        _check_size(size)
    if params.get("NextToken"):
        after = _untoken(listing, params["NextToken"])
        found = [item for item in found if _key(listing, item) > after]
    if size is None or len(found) <= size:
        return {listing.member: found}
    return {listing.member: found[:size], "NextToken": _token(listing, _key(listing, found[size - 1]))}


def _check_size(size: int) -> None:
    least, most = _PAGE_SIZES
    if not least <= size <= most:
        right = f"greater than {least}" if size < least else f"less than {most}"
        raise invalid(f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value {right}.")


def _token(listing: Listing, after: str) -> str:
    return paging.token_of([listing.member, after])


def _untoken(listing: Listing, token: str) -> str:
    parts = paging.parts(token, _bad_token)
    if len(parts) != 2 or parts[0] != listing.member or not isinstance(parts[1], str):
        raise _bad_token()
    return parts[1]


def _bad_token() -> ApiError:
    return invalid("Unable to parse pagination token")


def tag_list(tags: Mapping[str, str]) -> list[Json]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
