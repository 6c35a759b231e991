"""Repository policies and lifecycle policies: checked for being what they say, kept and returned.

Called by gateway/dispatch. Nothing evaluates them yet.
"""

import json
from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.registry import Repository
from neargate.services.call import Call, Params, Result
from neargate.services.ecr import names
from neargate.state.catalog import REPOSITORY
from neargate.state.store import Tx


async def set_repository_policy(call: Call, params: Params) -> Result:
    text = params["policyText"]
    if not isinstance(_document(text).get("Statement"), list | dict):
        raise names.invalid("PolicyText", "Invalid repository policy provided")

    def body(tx: Tx) -> Repository:
        return tx.put(REPOSITORY, replace(names.need_repository(tx, call, params), policy=text))

    return {**names.named(await call.store.write(body)), "policyText": text}


async def get_repository_policy(call: Call, params: Params) -> Result:
    repository = await call.store.read(lambda tx: names.need_repository(tx, call, params))
    return {**names.named(repository), "policyText": _need_policy(repository)}


async def delete_repository_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> tuple[Repository, str]:
        repository = names.need_repository(tx, call, params)
        text = _need_policy(repository)
        return tx.put(REPOSITORY, replace(repository, policy=None)), text

    repository, text = await call.store.write(body)
    return {**names.named(repository), "policyText": text}


def _need_policy(repository: Repository) -> str:
    if repository.policy is None:
        message = f"Repository policy does not exist for {names.where(repository)}"
        raise ApiError("RepositoryPolicyNotFoundException", message)
    return repository.policy


async def put_lifecycle_policy(call: Call, params: Params) -> Result:
    text = params["lifecyclePolicyText"]
    rules = _document(text).get("rules")
    if not isinstance(rules, list) or not rules or not all(_is_rule(rule) for rule in rules):
        raise names.invalid("LifecyclePolicyText", "Lifecycle policy validation failure: rules are not valid")
    if len({rule["rulePriority"] for rule in rules}) != len(rules):
        raise names.invalid(
            "LifecyclePolicyText", "Lifecycle policy validation failure: a rulePriority is given twice"
        )

    def body(tx: Tx) -> Repository:
        return tx.put(REPOSITORY, replace(names.need_repository(tx, call, params), lifecycle_policy=text))

    return {**names.named(await call.store.write(body)), "lifecyclePolicyText": text}


def _is_rule(rule: Any) -> bool:
    return (
        isinstance(rule, dict)
        and type(rule.get("rulePriority")) is int
        and rule["rulePriority"] >= 1
        and isinstance(rule.get("selection"), dict)
        and rule["selection"].get("tagStatus") in ("tagged", "untagged", "any")
        and isinstance(rule.get("action"), dict)
    )


async def get_lifecycle_policy(call: Call, params: Params) -> Result:
    repository = await call.store.read(lambda tx: names.need_repository(tx, call, params))
    return {**names.named(repository), "lifecyclePolicyText": _need_lifecycle(repository)}


async def delete_lifecycle_policy(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> tuple[Repository, str]:
        repository = names.need_repository(tx, call, params)
        text = _need_lifecycle(repository)
        return tx.put(REPOSITORY, replace(repository, lifecycle_policy=None)), text

    repository, text = await call.store.write(body)
    return {**names.named(repository), "lifecyclePolicyText": text}


def _need_lifecycle(repository: Repository) -> str:
    if repository.lifecycle_policy is None:
        message = f"Lifecycle policy does not exist for {names.where(repository)}"
        raise ApiError("LifecyclePolicyNotFoundException", message)
    return repository.lifecycle_policy


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise names.invalid("PolicyText", "Invalid repository policy provided")
    return document
