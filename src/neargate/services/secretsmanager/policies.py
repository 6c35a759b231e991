"""Resource policies of secrets: kept here, asked by state/rights. Called by gateway/dispatch."""

import json
from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.policy_document import parse_resource
from neargate.model.secret import Secret
from neargate.services.call import Call, Params, Result
from neargate.services.secretsmanager import names
from neargate.state import secrets
from neargate.state.catalog import SECRET
from neargate.state.store import Tx


async def put_resource_policy(call: Call, params: Params) -> Result:
    text = names.text_of(params, "ResourcePolicy") or ""
    problem = _problem(text)
    if problem:
        raise ApiError("MalformedPolicyDocumentException", problem)
    if params.get("BlockPublicPolicy") and _is_public(json.loads(text)):
        message = "The resource policy grants access to everybody, which BlockPublicPolicy forbids."
        raise ApiError("PublicPolicyException", message)

    def body(tx: Tx) -> Secret:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now())
        return tx.put(SECRET, replace(secret, policy=text))

    return _shown(await call.store.write(body))


async def get_resource_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Secret:
        return secrets.need(tx, call.scope, names.secret_id(params), call.now(), deleted=True)

    secret = await call.store.read(body)
    return _shown(secret) | ({"ResourcePolicy": secret.policy} if secret.policy else {})


async def delete_resource_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Secret:
        secret = secrets.need(tx, call.scope, names.secret_id(params), call.now())
        return tx.put(SECRET, replace(secret, policy=""))

    return _shown(await call.store.write(body))


async def validate_resource_policy(call: Call, params: Params) -> Result:
    if params.get("SecretId"):
        await call.store.read(lambda tx: secrets.need(tx, call.scope, names.secret_id(params), call.now()))
    problem = _problem(names.text_of(params, "ResourcePolicy") or "")
    errors = [{"CheckName": "POLICY_SYNTAX", "ErrorMessage": problem}] if problem else []
    return {"PolicyValidationPassed": not errors, "ValidationErrors": errors}


def _shown(secret: Secret) -> Result:
    return {"ARN": secret.arn, "Name": secret.name}


def _problem(text: str) -> str:
    """Why a text is no policy; empty for one that is."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return "This resource policy contains invalid Json"
    if not isinstance(document, dict) or not _statements(document):
        return "This resource policy has no Statement."
    for statement in _statements(document):
        if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
            return "Each Statement of a resource policy must have the Effect Allow or Deny."
        if "Principal" not in statement and "NotPrincipal" not in statement:
            return "Each Statement of a resource policy must have a Principal."
    try:
        parse_resource(text)
    except ApiError as error:
        return error.message
    return ""


def _statements(document: dict[str, Any]) -> list[Any]:
    found = document.get("Statement")
    return found if isinstance(found, list) else [found] if found else []


def _is_public(document: dict[str, Any]) -> bool:
    return any(
        statement["Effect"] == "Allow" and statement.get("Principal") in ("*", {"AWS": "*"})
        for statement in _statements(document)
        if not statement.get("Condition")
    )
