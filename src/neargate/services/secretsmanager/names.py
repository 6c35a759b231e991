"""What requests hold: names, values, tags, paging tokens; and a value on its way into a record.

Used by the other modules of services/secretsmanager only.
"""

import re
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.secret import CURRENT, NONCE_BYTES, Secret, Value, Version, moved, seal, version_id
from neargate.services import paging
from neargate.services.call import Call, Params
from neargate.state import secrets
from neargate.state.catalog import SECRET, SECRET_VERSION
from neargate.state.store import Tx

_NAME = re.compile(r"[A-Za-z0-9/_+=.@!-]{1,512}")
_MAX_TAGS = 50
_MAX_VALUE = 65_536


def invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)


def secret_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ApiError(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: "
            "-/_+=.@!",
        )
    return text


def text_of(params: Params, name: str) -> str | None:
    value: str | None = params.get(name)
    return value


def secret_id(params: Params) -> str:
    return text_of(params, "SecretId") or ""


def value_of(params: Params) -> Value | None:
    """The value of a request, if it has one."""
    text, data = text_of(params, "SecretString"), params.get("SecretBinary")
    if text is not None and data is not None:
        raise invalid(
            "You can't specify both a binary secret value and a string secret value in the same secret."
        )
    if text is None and data is None:
        return None
    value = Value(text.encode()) if text is not None else Value(bytes(data or b""), binary=True)
    if not 1 <= len(value.data) <= _MAX_VALUE:
        raise invalid(f"A secret value must have 1 to {_MAX_VALUE} bytes.")
    return value


def request_token(call: Call, params: Params) -> str:
    """The id of a version to be made: the caller's token, so that a repeated call makes one version."""
    return text_of(params, "ClientRequestToken") or call.ids.uuid()


def add_version(tx: Tx, call: Call, secret: Secret, id: str, value: Value, labels: Sequence[str]) -> Secret:
    """Keep a value as version `id` with these labels; the first of all is the current one whatever they are.
    Raise ResourceExistsException on another value.
    """
    key = call.house.signing_key
    old = tx.get(SECRET_VERSION, version_id(secret.arn, id))
    if old is not None:
        if secrets.opened(key, old) != value:
            raise ApiError("ResourceExistsException", "A resource with the ID you requested already exists.")
        return secret
    nonce = bytes.fromhex(call.ids.hex(2 * NONCE_BYTES))
    version = Version(
        account=secret.account,
        region=secret.region,
        secret=secret.arn,
        id=id,
        created_at=call.now(),
        sealed=seal(key, secret.arn, id, value, nonce),
        binary=value.binary,
    )
    tx.put(SECRET_VERSION, version)
    taken = labels if CURRENT in secret.stages else [*labels, CURRENT]
    changed = replace(secret, stages=moved(secret.stages, id, taken), changed_at=call.now())
    secrets.trim(tx, changed)
    return tx.put(SECRET, changed)


def read_tags(
    given: Sequence[Mapping[str, str]] | None, old: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Tags of a request on top of old ones."""
    tags: dict[str, str] = {}
    for item in given or ():
        key, value = text_of(item, "Key") or "", text_of(item, "Value") or ""
        if not key or key.lower().startswith("aws:"):
            raise invalid("Tag keys must have 1 to 128 characters and not begin with aws:.")
        if key in tags:
            raise invalid(f"The tag key {key} is given twice.")
        tags[key] = value
    merged = {**(old or {}), **tags}
    if len(merged) > _MAX_TAGS:
        raise invalid(f"A secret can have {_MAX_TAGS} tags at most.")
    return merged


token = paging.token_of


def untoken(text: str) -> tuple[float | str, str]:
    """The place in a sorted list that `token` wrote. Raise InvalidNextTokenException."""
    parts = paging.parts(text, _bad_token)
    if len(parts) != 2 or not isinstance(parts[1], str):
        raise _bad_token()
    return parts[0], parts[1]


def _bad_token() -> ApiError:
    return ApiError("InvalidNextTokenException", "The NextToken value is invalid.")
