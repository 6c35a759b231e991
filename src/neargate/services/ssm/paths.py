"""Lists: GetParametersByPath, DescribeParameters, GetParameterHistory. Called by gateway/dispatch."""

from collections.abc import Collection, Iterable

from neargate.kit.errors import ApiError
from neargate.model.parameter import Parameter, Revision, is_below
from neargate.services.call import Call, Params, Result
from neargate.services.ssm import filters, names
from neargate.state import parameters as state
from neargate.state.store import Tx

_BY_PATH, _PAGE = 10, 50


async def get_parameters_by_path(call: Call, params: Params) -> Result:
    path = params["Path"]
    if not path.startswith("/") or "//" in path:
        raise names.invalid(
            "The parameter path: a hierarchy must begin with a forward slash (/) and have no empty levels."
        )
    recursive, decrypt = bool(params.get("Recursive")), bool(params.get("WithDecryption"))
    given = params.get("ParameterFilters") or ()
    wanted, labels = filters.by_path(given), filters.labels(given)
    limit, after = params.get("MaxResults") or _BY_PATH, names.untoken(params)
    # At the root stand names with a slash at their head and those without one.
    start = "" if path == "/" else path.rstrip("/") + "/"

    def body(tx: Tx) -> tuple[list[tuple[Parameter, Revision]], bool]:
        rows = state.below(tx, call.scope, start, after)
        page, more = _page((p for p in rows if is_below(p.name, path, recursive) and wanted(p)), limit)
        return [(parameter, _meant(tx, parameter, labels)) for parameter in page], more

    rows, more = await call.store.scan(body)
    result: Result = {"Parameters": [names.shown_value(call, p, r, decrypt) for p, r in rows]}
    return result | ({"NextToken": names.token(rows[-1][0].name)} if more else {})


def _meant(tx: Tx, parameter: Parameter, labels: Collection[str]) -> Revision:
    """The version that has one of the labels, the latest such; without labels the latest of all."""
    number = max((n for label, n in parameter.labels.items() if label in labels), default=0)
    return state.revision(tx, parameter, number) or parameter.latest


async def describe_parameters(call: Call, params: Params) -> Result:
    if params.get("Shared"):
        raise names.invalid("Parameters shared by other accounts are not built into neargate.")
    wanted = filters.described(params.get("ParameterFilters") or (), params.get("Filters") or ())
    limit, after = params.get("MaxResults") or _PAGE, names.untoken(params)

    def body(tx: Tx) -> tuple[list[Parameter], bool]:
        return _page((p for p in state.below(tx, call.scope, "", after) if wanted(p)), limit)

    rows, more = await call.store.scan(body)
    shown = [names.shown_details(p, p.latest) | {"ARN": state.arn(p)} for p in rows]
    return {"Parameters": shown} | ({"NextToken": names.token(rows[-1].name)} if more else {})


def _page(rows: Iterable[Parameter], limit: int) -> tuple[list[Parameter], bool]:
    """The first `limit` rows, and whether there are more."""
    page: list[Parameter] = []
    for row in rows:
        if len(page) == limit:
            return page, True
        page.append(row)
    return page, False


async def get_parameter_history(call: Call, params: Params) -> Result:
    name, decrypt = params["Name"], bool(params.get("WithDecryption"))
    limit, place = params.get("MaxResults") or _PAGE, names.untoken(params)
    if place and not (place.isascii() and place.isdigit()):
        raise ApiError("InvalidNextToken", "The specified token isn't valid.")
    after = int(place[:18] or 0)

    def body(tx: Tx) -> tuple[Parameter, list[Revision]]:
        parameter = state.need(tx, call.scope, name)
        return parameter, [r for r in state.revisions(tx, parameter) if r.number > after]

    parameter, rows = await call.store.read(body)
    shown = []
    for revision in rows[:limit]:
        labels = sorted(label for label, number in parameter.labels.items() if number == revision.number)
        value = names.value_of(call, parameter, revision, decrypt)
        shown.append(names.shown_details(parameter, revision) | {"Value": value, "Labels": labels})
    more = len(rows) > limit
    return {"Parameters": shown} | ({"NextToken": names.token(str(rows[limit - 1].number))} if more else {})
