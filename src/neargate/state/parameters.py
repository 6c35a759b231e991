"""Parameters by name, ARN, version and label: what services/ssm and services/cell share.

Each function takes a transaction. Errors are Parameter Store's own ApiErrors.
"""

from collections.abc import Iterator

from neargate.kit.errors import ApiError
from neargate.model import parameter as model
from neargate.model.parameter import Parameter, Revision
from neargate.model.record import Scope
from neargate.model.sealed import SealError
from neargate.state.catalog import PARAMETER, PARAMETER_VERSION
from neargate.state.store import Tx

_SLICE = 200
_LAST = "\U0010ffff"


def not_found(name: str) -> ApiError:
    return ApiError("ParameterNotFound", f"Parameter {name} not found.")


def arn(parameter: Parameter) -> str:
    path = parameter.name.removeprefix("/")
    return f"arn:aws:ssm:{parameter.region}:{parameter.account}:parameter/{path}"


def find(tx: Tx, scope: Scope, name: str) -> Parameter | None:
    """By name or ARN of this account and region. An ARN does not tell `/a` from `a`: the first is meant."""
    prefix = scope.arn("ssm", "parameter/")
    if not name.startswith("arn:"):
        return tx.get(PARAMETER, model.parameter_id(scope.account, scope.region, name))
    if not name.startswith(prefix):
        return None
    path = name.removeprefix(prefix)
    found = (
        tx.get(PARAMETER, model.parameter_id(scope.account, scope.region, n)) for n in (f"/{path}", path)
    )
    return next((parameter for parameter in found if parameter is not None), None)


def need(tx: Tx, scope: Scope, name: str) -> Parameter:
    """Raise ParameterNotFound."""
    parameter = find(tx, scope, name)
    if parameter is None:
        raise not_found(name)
    return parameter


def revision(tx: Tx, parameter: Parameter, number: int) -> Revision | None:
    if number == parameter.latest.number:
        return parameter.latest
    old = tx.get(PARAMETER_VERSION, model.version_id(parameter.id, number)) if number > 0 else None
    return old.revision if old is not None else None


def revisions(tx: Tx, parameter: Parameter) -> list[Revision]:
    """All that are kept, the oldest first."""
    old = tx.find(PARAMETER_VERSION, "parameter", parameter.id)
    return [*(version.revision for version in old), parameter.latest]


def select(tx: Tx, scope: Scope, text: str) -> tuple[Parameter, Revision, str]:
    """The version that `name`, `name:version` or `name:label` means, and the selector with its colon.

    Raise ParameterNotFound, ParameterVersionNotFound, ValidationException.
    """
    try:
        name, selector = model.split_selector(text)
    except ValueError:
        raise ApiError("ValidationException", f"The parameter name {text[:300]} is not valid.") from None
    parameter = need(tx, scope, name)
    if not selector:
        return parameter, parameter.latest, ""
    if selector.isascii() and selector.isdigit():
        found, what = revision(tx, parameter, int(selector[:18])), f"version {selector}"
    else:
        found, what = revision(tx, parameter, parameter.labels.get(selector, 0)), f"version label {selector}"
    if found is None:
        raise version_not_found(parameter.name, what)
    return parameter, found, f":{selector}"


def version_not_found(name: str, what: str) -> ApiError:
    return ApiError(
        "ParameterVersionNotFound",
        f"Systems Manager could not find {what} of {name}. Verify the version and try again.",
    )


def opened(key: bytes, parameter: Parameter, found: Revision) -> str:
    """The value in clear. Raise InternalServerError: nothing that the caller could do."""
    try:
        return model.unseal(key, parameter.id, found)
    except SealError as error:
        raise ApiError("InternalServerError", f"The value of {parameter.name}: {error}", status=500) from None


def below(tx: Tx, scope: Scope, path: str, after: str) -> Iterator[Parameter]:
    """Those whose names begin with `path`, in order, behind the name `after`."""
    start = model.parameter_id(scope.account, scope.region, path)  # no name ends with a slash
    place = max(model.parameter_id(scope.account, scope.region, after), start)
    while True:
        found = tx.all(PARAMETER, scope, after=place, limit=_SLICE)
        for parameter in found:
            if parameter.id > start + _LAST:
                return
            if parameter.id.startswith(start):
                yield parameter
        if len(found) < _SLICE:
            return
        place = found[-1].id


def delete(tx: Tx, parameter: Parameter) -> None:
    for id in tx.ids(PARAMETER_VERSION, "parameter", parameter.id):
        tx.delete(PARAMETER_VERSION, id)
    tx.delete(PARAMETER, parameter.id)
