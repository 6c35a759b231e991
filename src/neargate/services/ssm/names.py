"""What requests hold: names, texts, tags, paging tokens; and a version as answers show it.

Used by the other modules of services/ssm only.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.parameter import Parameter, Revision
from neargate.services import paging
from neargate.services.call import Call, Params
from neargate.state import parameters

_MAX_TAGS = 50
_ALIAS = "alias/aws/ssm"


def invalid(message: str) -> ApiError:
    return ApiError("ValidationException", message)


def text_of(params: Params, member: str) -> str:
    """A text member; empty where it is missing."""
    return params.get(member) or ""


def read_tags(given: Sequence[Mapping[str, str]] | None, old: Mapping[str, str]) -> dict[str, str]:
    """Tags of a request on top of old ones."""
    tags = dict(old)
    for item in given or ():
        key = text_of(item, "Key")
        if key.lower().startswith("aws:"):
            raise invalid("Tag keys must not begin with aws:.")
        tags[key] = text_of(item, "Value")
    if len(tags) > _MAX_TAGS:
        raise ApiError("TooManyTagsError", f"A parameter can have {_MAX_TAGS} tags at most.")
    return tags


def key_id(revision: Revision) -> str | None:
    return (revision.key_id or _ALIAS) if revision.type == "SecureString" else None


def shown_value(
    call: Call, parameter: Parameter, revision: Revision, decrypt: bool, selector: str = ""
) -> dict[str, Any]:
    """A version as the Get operations show it. A SecureString's value is its ciphertext unless `decrypt`."""
    shown: dict[str, Any] = {
        "Name": parameter.name,
        "Type": revision.type,
        "Value": value_of(call, parameter, revision, decrypt),
        "Version": revision.number,
        "LastModifiedDate": revision.modified_at,
        "ARN": parameters.arn(parameter),
        "DataType": revision.data_type,
    }
    return shown | ({"Selector": selector} if selector else {})


def value_of(call: Call, parameter: Parameter, revision: Revision, decrypt: bool) -> str:
    if revision.type == "SecureString" and not decrypt:
        return base64.b64encode(revision.sealed).decode()
    return parameters.opened(call.house.signing_key, parameter, revision)


def shown_details(parameter: Parameter, revision: Revision) -> dict[str, Any]:
    """A version as DescribeParameters and GetParameterHistory show it, without its value."""
    shown: dict[str, Any] = {
        "Name": parameter.name,
        "Type": revision.type,
        "LastModifiedDate": revision.modified_at,
        "LastModifiedUser": revision.modified_by,
        "Version": revision.number,
        "Tier": revision.tier,
        "Policies": [],
        "DataType": revision.data_type,
    }
    optional = {
        "KeyId": key_id(revision),
        "Description": revision.description,
        "AllowedPattern": revision.allowed_pattern,
    }
    return shown | {name: value for name, value in optional.items() if value}


token = paging.token


def untoken(params: Params) -> str:
    """The place in a list that `token` wrote; empty without one. Raise InvalidNextToken."""
    refused = ApiError("InvalidNextToken", "The specified token isn't valid.")
    return paging.place(params.get("NextToken"), lambda: refused)
