"""Lists: tags of a repository, repositories (_catalog), and what refers to a manifest. Called by registry.py.

A list that does not fit one answer names the next in a Link header.
"""

import json
from typing import Any

from neargate.gateway.registry_http import Answer, Incoming, RegistryError, json_answer, next_link
from neargate.gateway.registry_visit import Visit
from neargate.model.registry import Image, image_id, repository_arn, tag_id
from neargate.oci import digest as digests
from neargate.oci.manifest import OCI_INDEX
from neargate.state import registry
from neargate.state.catalog import IMAGE, IMAGE_TAG, REPOSITORY
from neargate.state.store import Tx

_PAGE = 1000
_REFERRERS_BYTES = 2 * 1024 * 1024


async def tags(visit: Visit, _: str) -> Answer:
    limit, last = _page(visit.incoming)

    def body(tx: Tx) -> list[str]:
        repository = registry.need_repository(tx, visit.scope, visit.name)
        after = tag_id(repository.arn, last) if last else ""
        found = tx.find(IMAGE_TAG, "repository", repository.arn, after=after, limit=limit + 1)
        return [tag.name for tag in found]

    names = await visit.house.store.scan(body)
    return _listed(f"{visit.base}/tags/list", {"name": visit.name}, "tags", names, limit)


async def catalog(visit: Visit) -> Answer:
    limit, last = _page(visit.incoming)

    def body(tx: Tx) -> list[str]:
        after = repository_arn(visit.scope, last) if last else ""
        return [r.name for r in tx.all(REPOSITORY, visit.scope, after=after, limit=limit + 1)]

    names = await visit.house.store.scan(body)
    return _listed("/v2/_catalog", {}, "repositories", names, limit)


def _page(incoming: Incoming) -> tuple[int, str]:
    """(how many, after which)."""
    text = incoming.query.get("n", str(_PAGE))
    if not text.isdecimal() or len(text) > 9:
        raise RegistryError(400, "PAGINATION_NUMBER_INVALID", f"n is {text[:50]!r}: it must be a number")
    return min(int(text), _PAGE), incoming.query.get("last", "")


def _listed(path: str, head: dict[str, Any], what: str, names: list[str], limit: int) -> Answer:
    more = len(names) > limit > 0
    headers = next_link(path, [("n", str(limit)), ("last", names[limit - 1])]) if more else {}
    return json_answer({**head, what: names[:limit]}, headers=headers)


async def referrers(visit: Visit, digest: str) -> Answer:
    """An index of the images whose subject is `digest`, which itself need not be here."""
    digests.check(digest)
    kind = visit.incoming.query.get("artifactType", "")
    after = visit.incoming.query.get("after", "")

    def body(tx: Tx) -> list[Image]:
        repository = registry.need_repository(tx, visit.scope, visit.name)
        subject = image_id(repository.arn, digest)
        start = image_id(repository.arn, after) if after else ""
        return tx.find(IMAGE, "subject", subject, after=start, limit=_PAGE + 1)

    images = await visit.house.store.scan(body)
    shown, rest = _fitting([i for i in images[:_PAGE] if kind in ("", i.artifact_type)])
    stopped = shown[-1]["digest"] if rest else images[_PAGE - 1].digest if len(images) > _PAGE else ""
    headers = {"oci-filters-applied": "artifactType"} if kind else {}
    if stopped:
        parameters = [("after", stopped)] + ([("artifactType", kind)] if kind else [])
        headers |= next_link(f"{visit.base}/referrers/{digest}", parameters)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": shown}
    return json_answer(index, headers=headers, kind=OCI_INDEX)


def _fitting(images: list[Image]) -> tuple[list[dict[str, Any]], bool]:
    """(descriptors of as many as an answer may hold, True if some are left over)."""
    shown: list[dict[str, Any]] = []
    size = 0
    for image in images:
        item: dict[str, Any] = {
            "mediaType": image.media_type,
            "digest": image.digest,
            "size": image.manifest_size,
        }
        if image.artifact_type:
            item["artifactType"] = image.artifact_type
        if image.annotations:
            item["annotations"] = image.annotations
        size += len(json.dumps(item))
        if shown and size > _REFERRERS_BYTES:
            return shown, True
        shown.append(item)
    return shown, False
