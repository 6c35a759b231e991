"""Labels of versions, and tags. Called by gateway/dispatch."""

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import parameter as model
from neargate.model.parameter import Parameter
from neargate.services.call import Call, Params, Result
from neargate.services.ssm import names
from neargate.state import parameters as state
from neargate.state.catalog import PARAMETER
from neargate.state.store import Tx


async def label_parameter_version(call: Call, params: Params) -> Result:
    """Put labels on a version, off whichever had them."""
    name = params["Name"]
    asked = list(dict.fromkeys(params["Labels"]))
    good = [label for label in asked if model.is_label(label)]

    def body(tx: Tx) -> int:
        parameter, number = _version(tx, call, name, params.get("ParameterVersion"))
        labels = parameter.labels | dict.fromkeys(good, number)
        if sum(1 for held in labels.values() if held == number) > model.MAX_LABELS:
            raise ApiError(
                "ParameterVersionLabelLimitExceeded",
                f"A parameter version can have maximum {model.MAX_LABELS} labels. Move one or more labels to "
                "another version and try again.",
            )
        tx.put(PARAMETER, replace(parameter, labels=labels))
        return number

    number = await call.store.write(body)
    return {"InvalidLabels": [label for label in asked if label not in good], "ParameterVersion": number}


async def unlabel_parameter_version(call: Call, params: Params) -> Result:
    name = params["Name"]
    asked = list(dict.fromkeys(params["Labels"]))

    def body(tx: Tx) -> list[str]:
        parameter, number = _version(tx, call, name, params["ParameterVersion"])
        gone = [label for label in asked if parameter.labels.get(label) == number]
        kept = {label: held for label, held in parameter.labels.items() if label not in gone}
        tx.put(PARAMETER, replace(parameter, labels=kept))
        return gone

    gone = await call.store.write(body)
    return {"RemovedLabels": gone, "InvalidLabels": [label for label in asked if label not in gone]}


def _version(tx: Tx, call: Call, name: str, number: int | None) -> tuple[Parameter, int]:
    parameter = state.need(tx, call.scope, name)
    wanted = parameter.latest.number if number is None else number
    if state.revision(tx, parameter, wanted) is None:
        raise state.version_not_found(parameter.name, f"version {wanted}")
    return parameter, wanted


async def add_tags_to_resource(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> None:
        parameter = _resource(tx, call, params)
        tx.put(PARAMETER, replace(parameter, tags=names.read_tags(params["Tags"], parameter.tags)))

    await call.store.write(body)
    return {}


async def remove_tags_from_resource(call: Call, params: Params) -> Result:
    gone = frozenset(params["TagKeys"])

    def body(tx: Tx) -> None:
        parameter = _resource(tx, call, params)
        tx.put(PARAMETER, replace(parameter, tags={k: v for k, v in parameter.tags.items() if k not in gone}))

    await call.store.write(body)
    return {}


async def list_tags_for_resource(call: Call, params: Params) -> Result:
    parameter = await call.store.read(lambda tx: _resource(tx, call, params))
    return {"TagList": [{"Key": key, "Value": value} for key, value in parameter.tags.items()]}


def _resource(tx: Tx, call: Call, params: Params) -> Parameter:
    kind, id = params["ResourceType"], names.text_of(params, "ResourceId")
    if kind != "Parameter":
        message = f"The resource type {kind} is not built into neargate; Parameter is."
        raise ApiError("InvalidResourceType", message)
    parameter = state.find(tx, call.scope, id)
    if parameter is None:
        raise ApiError("InvalidResourceId", f"The resource ID {id[:300]} is not valid: no such parameter.")
    return parameter
