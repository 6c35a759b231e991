"""Repositories: create, describe, delete, and their settings; DescribeRegistry.

Called by gateway/dispatch.
"""

import re
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.registry import Repository, repository_arn
from neargate.services.call import Call, Params, Result
from neargate.services.ecr import names
from neargate.state import registry
from neargate.state.catalog import IMAGE, REPOSITORY
from neargate.state.store import Tx

_FILTER = re.compile(r"[0-9a-zA-Z._*-]{1,128}")
_MAX_FILTERS = 5
_MAX_WILDCARDS = 2


async def create_repository(call: Call, params: Params) -> Result:
    name = names.name_of(params)
    _own(call, params)
    mutability = params.get("imageTagMutability") or "MUTABLE"
    encryption = params.get("encryptionConfiguration") or {}
    record = Repository(
        account=call.scope.account,
        region=call.scope.region,
        name=name,
        created_at=call.now(),
        tag_mutability=mutability,
        exclusion_filters=_filters(mutability, params.get("imageTagMutabilityExclusionFilters")),
        scan_on_push=bool((params.get("imageScanningConfiguration") or {}).get("scanOnPush")),
        encryption_type=encryption.get("encryptionType") or "AES256",
        kms_key=encryption.get("kmsKey"),
        tags=names.read_tags(params.get("tags")),
    )

    def body(tx: Tx) -> None:
        if tx.get(REPOSITORY, record.arn) is not None:
            raise ApiError(
                "RepositoryAlreadyExistsException",
                f"The repository with name '{name}' already exists "
                f"in the registry with id '{record.account}'",
            )
        tx.put(REPOSITORY, record)

    await call.store.write(body)
    return {"repository": _shown(record)}


def _own(call: Call, params: Params) -> None:
    given = params.get("registryId")
    if given and given != call.scope.account:
        raise names.invalid("registryId", "must be the id of your own registry")


def _filters(mutability: str, given: Sequence[dict[str, str]] | None) -> tuple[str, ...]:
    filters = tuple(item["filter"] for item in given or ())
    if mutability.endswith("_WITH_EXCLUSION") != bool(filters):
        raise names.invalid(
            "imageTagMutabilityExclusionFilters",
            "must be given with a mutability WITH_EXCLUSION, and only then",
        )
    if len(filters) > _MAX_FILTERS:
        raise names.invalid("imageTagMutabilityExclusionFilters", f"must have {_MAX_FILTERS} filters at most")
    for text in filters:
        if not _FILTER.fullmatch(text) or text.count("*") > _MAX_WILDCARDS:
            raise names.invalid(
                "imageTagMutabilityExclusionFilters",
                f"must be 128 letters, digits, '.', '_', '-' at most, and {_MAX_WILDCARDS} '*' at most",
            )
    return filters


async def describe_repositories(call: Call, params: Params) -> Result:
    scope = names.scope_of(call, params)
    wanted = params.get("repositoryNames")
    if wanted:
        if "maxResults" in params or "nextToken" in params:
            raise names.invalid("maxResults", "must not be given together with repositoryNames")
        for name in wanted:
            names.name_of({"repositoryName": name})
        found = await call.store.read(lambda tx: [registry.need_repository(tx, scope, n) for n in wanted])
        return {"repositories": [_shown(record) for record in found]}
    place, limit = names.page(params)
    after = repository_arn(scope, place[0]) if place else ""
    found = await call.store.scan(lambda tx: tx.all(REPOSITORY, scope, after=after, limit=limit + 1))
    result: Result = {"repositories": [_shown(record) for record in found[:limit]]}
    if len(found) > limit:
        result["nextToken"] = names.token([found[limit - 1].name])
    return result


async def delete_repository(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> Repository:
        repository = names.need_repository(tx, call, params)
        if not params.get("force") and tx.count(IMAGE, "repository", repository.arn):
            raise ApiError(
                "RepositoryNotEmptyException",
                f"The repository with name '{repository.name}' in registry with id '{repository.account}' "
                "cannot be deleted because it still contains images",
            )
        registry.delete_repository(tx, repository)
        return repository

    shown = _shown(await call.store.write(body))
    for member in (
        "imageTagMutabilityExclusionFilters",
        "imageScanningConfiguration",
        "encryptionConfiguration",
    ):
        shown.pop(member, None)
    return {"repository": shown}


async def put_image_tag_mutability(call: Call, params: Params) -> Result:
    mutability = params["imageTagMutability"]
    filters = _filters(mutability, params.get("imageTagMutabilityExclusionFilters"))

    def body(tx: Tx) -> Repository:
        repository = names.need_repository(tx, call, params)
        return tx.put(REPOSITORY, replace(repository, tag_mutability=mutability, exclusion_filters=filters))

    record = await call.store.write(body)
    return {**names.named(record), **_mutability(record)}


async def put_image_scanning_configuration(call: Call, params: Params) -> Result:
    scan = bool(params["imageScanningConfiguration"].get("scanOnPush"))

    def body(tx: Tx) -> Repository:
        return tx.put(REPOSITORY, replace(names.need_repository(tx, call, params), scan_on_push=scan))

    record = await call.store.write(body)
    return {**names.named(record), "imageScanningConfiguration": {"scanOnPush": scan}}


async def describe_registry(call: Call, params: Params) -> Result:
    return {"registryId": call.scope.account, "replicationConfiguration": {"rules": []}}


def _shown(record: Repository) -> dict[str, Any]:
    encryption: dict[str, Any] = {"encryptionType": record.encryption_type}
    if record.kms_key:
        encryption["kmsKey"] = record.kms_key
    return {
        "repositoryArn": record.arn,
        **names.named(record),
        "repositoryUri": record.uri,
        "createdAt": record.created_at,
        **_mutability(record),
        "imageScanningConfiguration": {"scanOnPush": record.scan_on_push},
        "encryptionConfiguration": encryption,
    }


def _mutability(record: Repository) -> dict[str, Any]:
    shown: dict[str, Any] = {"imageTagMutability": record.tag_mutability}
    if record.exclusion_filters:
        shown["imageTagMutabilityExclusionFilters"] = [
            {"filterType": "WILDCARD", "filter": text} for text in record.exclusion_filters
        ]
    return shown
