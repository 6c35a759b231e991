"""What callers call things: repositories by registry id and name, images by tag or digest; pages; errors.

Used by the other modules of services/ecr only.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.record import Scope
from neargate.model.registry import DIGEST_PATTERN, Image, Repository
from neargate.oci import reference
from neargate.services import paging
from neargate.services.call import Call, Params
from neargate.state import registry
from neargate.state.store import Tx

_DIGEST = re.compile(DIGEST_PATTERN)
_NAME_PATTERN = r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*"  # as AWS's message has it
_PAGE = 100
_MAX_TAGS = 50


def invalid(where: str, what: str) -> ApiError:
    return ApiError(
        "InvalidParameterException", f"Invalid parameter at '{where}' failed to satisfy constraint: '{what}'"
    )


def scope_of(call: Call, params: Params) -> Scope:
    """The registry meant: the caller's own unless `registryId` says another."""
    return Scope(params.get("registryId") or call.scope.account, call.scope.region)


def name_of(params: Params) -> str:
    name: str = params["repositoryName"]
    if len(name) < 2 or not reference.check_repository(name):
        raise invalid("repositoryName", f"must satisfy regular expression '{_NAME_PATTERN}'")
    return name


def need_repository(tx: Tx, call: Call, params: Params) -> Repository:
    """Raise RepositoryNotFoundException."""
    return registry.need_repository(tx, scope_of(call, params), name_of(params))


def named(repository: Repository) -> dict[str, str]:
    """What most answers begin with."""
    return {"registryId": repository.account, "repositoryName": repository.name}


def where(repository: Repository) -> str:
    return f"the repository with name '{repository.name}' in the registry with id '{repository.account}'"


class ImageFailure(Exception):
    """Why one of a batch of image ids names nothing."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

    def shown(self, image_id: Mapping[str, str]) -> dict[str, Any]:
        return {"imageId": dict(image_id), "failureCode": self.code, "failureReason": self.reason}


def find_image(tx: Tx, repository: Repository, image_id: Mapping[str, str]) -> Image:
    """The image of an ImageIdentifier. Raise ImageFailure."""
    digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
    if not digest and not tag:
        message = "Invalid request parameters: both tag and digest cannot be null"
        raise ImageFailure("MissingDigestAndTag", message)
    if digest and not _DIGEST.fullmatch(digest):
        message = f"Invalid request parameters: image digest should satisfy the regex '{DIGEST_PATTERN}'"
        raise ImageFailure("InvalidImageDigest", message)
    if tag:
        found = registry.find_tag(tx, repository, tag)
        if found is None:
            raise ImageFailure("ImageNotFound", "Requested image not found")
        if digest and digest != found.digest:
            raise ImageFailure("ImageTagDoesNotMatchDigest", "Requested tag does not match requested digest")
        digest = found.digest
    image = registry.find_image(tx, repository, digest or "")
    if image is None:
        raise ImageFailure("ImageNotFound", "Requested image not found")
    return image


def page(params: Params, default: int = _PAGE) -> tuple[list[str], int]:
    """(after which place the list goes on, how many to give) of nextToken and maxResults."""
    limit = params.get("maxResults") or default
    text = params.get("nextToken")
    return untoken(text) if text else [], int(limit)


token = paging.token_of


def untoken(text: str) -> list[str]:
    parts = paging.parts(text, _bad_token)
    if not parts or not all(isinstance(part, str) for part in parts):
        raise _bad_token()
    return parts


def _bad_token() -> ApiError:
    return invalid("nextToken", "must be a token of an earlier answer")


def read_tags(
    given: Sequence[Mapping[str, str]] | None, old: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Tags of a request on top of old ones. Raise InvalidTagParameterException, TooManyTagsException."""
    tags: dict[str, str] = {}
    for item in given or ():
        key, value = item.get("Key", ""), item.get("Value", "")
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise ApiError(
                "InvalidTagParameterException",
                "Invalid parameter at 'tags' failed to satisfy constraint: "
                "'a key must have 1 to 128 characters and a value 256 at most'",
            )
        if key.lower().startswith("aws:"):
            raise ApiError("InvalidTagParameterException", "Tag keys must not begin with 'aws:'")
        if key in tags:
            raise ApiError("InvalidTagParameterException", f"Tag key '{key}' is given twice")
        tags[key] = value
    merged = {**(old or {}), **tags}
    if len(merged) > _MAX_TAGS:
        raise ApiError(
            "TooManyTagsException",
            f"The maximum number of tags per repository is {_MAX_TAGS}, got {len(merged)}",
        )
    return merged
