"""PutParameter, GetParameter(s), DeleteParameter(s). Called by gateway/dispatch."""

from typing import Any, get_args

import re2
from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model import parameter as model
from neargate.model.parameter import OldVersion, Parameter, Revision, Tier, Type
from neargate.model.sealed import NONCE_BYTES
from neargate.services.call import Call, Params, Result
from neargate.services.ssm import names
from neargate.state import parameters as state
from neargate.state.catalog import PARAMETER, PARAMETER_VERSION
from neargate.state.store import Tx

_PATTERNS = re2.Options()  # patterns are the caller's: RE2 matches any of them in linear time
_PATTERNS.log_errors = False
_PATTERNS.max_mem = 1 << 20
_DATA_TYPES = ("text", "aws:ec2:image", "aws:ssm:integration")
_QUOTA_PAGE = (
    "For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/"
    "parameter-store-advanced-parameters.html"
)


async def put_parameter(call: Call, params: Params) -> Result:
    name, value = params["Name"], params["Value"]
    problem = model.name_problem(name)
    if problem is not None:
        raise ApiError(*problem)
    if not value:
        raise names.invalid(
            "1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have "
            "length greater than or equal to 1"
        )
    if params.get("Policies"):
        raise ApiError("InvalidPolicyTypeException", "Parameter policies are not built into neargate.")
    overwrite = bool(params.get("Overwrite"))
    if overwrite and params.get("Tags"):
        raise names.invalid(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, "
            "please remove overwrite flag. To update tags for an existing parameter, please use "
            "AddTagsToResource or RemoveTagsFromResource."
        )
    tags = names.read_tags(params.get("Tags"), {})
    given = _given(params)
    nonce = bytes.fromhex(call.ids.hex(2 * NONCE_BYTES))

    def body(tx: Tx) -> Revision:
        old = state.find(tx, call.scope, name)
        if old is not None and not overwrite:
            raise ApiError(
                "ParameterAlreadyExists",
                "The parameter already exists. To overwrite this value, set the overwrite option in the "
                "request to true.",
            )
        merged = _merged(given, old)
        _check(value, merged)
        merged["tier"] = _tier(value, params.get("Tier"), old)
        number = old.latest.number + 1 if old is not None else 1
        id = model.parameter_id(call.scope.account, call.scope.region, name)
        made = Revision(
            number=number,
            sealed=model.seal(call.house.signing_key, id, number, value, nonce),
            modified_at=call.now(),
            modified_by=call.principal_arn,
            **merged,
        )
        if old is None:
            scope = call.scope
            tx.put(
                PARAMETER,
                Parameter(account=scope.account, region=scope.region, name=name, latest=made, tags=tags),
            )
        else:
            _supersede(tx, old, made)
        return made

    made = await call.store.write(body)
    return {"Version": made.number, "Tier": made.tier}


def _given(params: Params) -> dict[str, Any]:
    """What the request says of a version; None where it leaves it as it was."""
    data_type = names.text_of(params, "DataType") or None
    if data_type is not None and data_type not in _DATA_TYPES:
        raise names.invalid(
            f"The following data type is not supported: {data_type} (Data type names are all lowercase.)"
        )
    described = params.get("Description")
    return {
        "type": params.get("Type"),
        "data_type": data_type,
        "description": described,
        "allowed_pattern": names.text_of(params, "AllowedPattern") or None,
        "key_id": names.text_of(params, "KeyId") or None,
    }


def _merged(given: dict[str, Any], old: Parameter | None) -> dict[str, Any]:
    """The version's members but for value and tier. A pattern is never inherited, as on AWS."""
    if old is None:
        if given["type"] is None:
            raise names.invalid("A parameter type is required when you create a parameter.")
        kept: dict[str, Any] = {}
    else:
        latest = old.latest
        kept = {"type": latest.type, "description": latest.description, "data_type": latest.data_type}
        if (given["type"] or latest.type) == "SecureString":
            kept["key_id"] = latest.key_id
    merged = kept | {name: value for name, value in given.items() if value is not None}
    if merged["type"] != "SecureString" and "key_id" in merged:
        raise names.invalid("KeyId is required for SecureString type parameter only.")
    return merged


def _check(value: str, merged: dict[str, Any]) -> None:
    kind: Type = merged["type"]
    if kind == "StringList" and not all(value.split(",")):
        raise names.invalid("Parameter value, a list, must not have empty items.")
    pattern = merged.get("allowed_pattern")
    if pattern is None:
        return
    try:
        compiled = re2.compile(pattern, _PATTERNS)
    except re2.error:
        raise ApiError("InvalidAllowedPatternException", f"Invalid allowed pattern: {pattern}") from None
    for item in value.split(",") if kind == "StringList" else [value]:
        if compiled.fullmatch(item) is None:
            raise ApiError(
                "ParameterPatternMismatchException",
                f"Parameter value, cannot be validated against allowedPattern: {pattern}",
            )


def _tier(value: str, asked: str | None, old: Parameter | None) -> Tier:
    size = len(value.encode())
    before: Tier = old.latest.tier if old is not None else "Standard"
    if asked == "Intelligent-Tiering":
        tier: Tier = "Advanced" if before == "Advanced" or size > model.LIMITS["Standard"] else "Standard"
    else:
        tier = next((t for t in get_args(Tier) if t == asked), before)
    if before == "Advanced" and tier == "Standard":
        raise names.invalid(
            "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the "
            "advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the "
            "advanced parameter and recreate it as a standard parameter."
        )
    if size > model.LIMITS[tier]:
        text = f"{tier} tier parameters support a maximum parameter value of {model.LIMITS[tier]} characters."
        more = (
            " To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. "
            + _QUOTA_PAGE
        )
        raise names.invalid(text + (more if tier == "Standard" else ""))
    return tier


def _supersede(tx: Tx, old: Parameter, made: Revision) -> None:
    """Make a new version the latest; the oldest one beyond a hundred goes, if no label holds it."""
    held = state.revisions(tx, old)
    if len(held) >= model.MAX_VERSIONS:
        oldest = held[0]
        if oldest.number in old.labels.values():
            raise ApiError(
                "ParameterMaxVersionLimitExceeded",
                f"You attempted to create a new version of {old.name} by calling the PutParameter API with "
                f"the overwrite flag. Version {oldest.number}, the oldest version, can't be deleted because "
                "it has a label associated with it. Move the label to another version of the parameter, and "
                "try again.",
            )
        tx.delete(PARAMETER_VERSION, model.version_id(old.id, oldest.number))
    record = OldVersion(account=old.account, region=old.region, parameter=old.id, revision=old.latest)
    tx.put(PARAMETER_VERSION, record)
    tx.put(PARAMETER, replace(old, latest=made))


async def get_parameter(call: Call, params: Params) -> Result:
    name, decrypt = params["Name"], bool(params.get("WithDecryption"))
    found = await call.store.read(lambda tx: state.select(tx, call.scope, name))
    parameter, revision, selector = found
    return {"Parameter": names.shown_value(call, parameter, revision, decrypt, selector)}


async def get_parameters(call: Call, params: Params) -> Result:
    """Those that are there; the others' names in InvalidParameters."""
    wanted = params["Names"]
    decrypt = bool(params.get("WithDecryption"))
    if len(set(wanted)) < len(wanted):
        raise names.invalid("Duplicate parameter names are not allowed in one request.")

    def body(tx: Tx) -> tuple[list[tuple[Parameter, Revision, str]], list[str]]:
        found, missing = [], []
        for name in wanted:
            try:
                found.append(state.select(tx, call.scope, name))
            except ApiError:
                missing.append(name)
        return found, missing

    found, missing = await call.store.read(body)
    return {
        "Parameters": [names.shown_value(call, p, r, decrypt, selector) for p, r, selector in found],
        "InvalidParameters": missing,
    }


async def delete_parameter(call: Call, params: Params) -> Result:
    name = params["Name"]
    await call.store.write(lambda tx: state.delete(tx, state.need(tx, call.scope, name)))
    return {}


async def delete_parameters(call: Call, params: Params) -> Result:
    wanted = list(dict.fromkeys(params["Names"]))

    def body(tx: Tx) -> Result:
        deleted: list[str] = []
        missing: list[str] = []
        for name in wanted:
            parameter = state.find(tx, call.scope, name)
            (missing if parameter is None else deleted).append(name)
            if parameter is not None:
                state.delete(tx, parameter)
        return {"DeletedParameters": deleted, "InvalidParameters": missing}

    return await call.store.write(body)
