"""What a role's login may do at the registry: ECR's actions behind the paths of /v2/.

Called by registry.py before a request's handler. A login made by the account itself may do everything.
"""

from collections.abc import Mapping

from neargate.gateway import rights
from neargate.gateway.registry_http import Incoming, RegistryError
from neargate.model.actions import Need
from neargate.model.registry import repository_arn
from neargate.model.registry_token import Grant
from neargate.model.rights import refused
from neargate.services.call import House
from neargate.state.rights import Caller, NoRole

_EXPIRED = "Your authorization token has expired. Reauthenticate and try again."
_ACTIONS: Mapping[str, Mapping[str, str]] = {
    "uploads": {
        "POST": "ecr:InitiateLayerUpload",
        "GET": "ecr:UploadLayerPart",
        "PATCH": "ecr:UploadLayerPart",
        "PUT": "ecr:CompleteLayerUpload",
        "DELETE": "ecr:UploadLayerPart",
    },
    "blobs": {
        "GET": "ecr:GetDownloadUrlForLayer",
        "HEAD": "ecr:BatchCheckLayerAvailability",
        "DELETE": "ecr:BatchDeleteImage",
    },
    "manifests": {
        "GET": "ecr:BatchGetImage",
        "HEAD": "ecr:BatchGetImage",
        "PUT": "ecr:PutImage",
        "DELETE": "ecr:BatchDeleteImage",
    },
    "tags": {"GET": "ecr:ListImages"},
    "referrers": {"GET": "ecr:BatchGetImage"},
    "_catalog": {"GET": "ecr:DescribeRepositories"},
}


async def check_alive(house: House, grant: Grant) -> None:
    """A login made by a task ends with the task. Raise RegistryError 403."""
    if await rights.ended(house, grant.session):
        raise RegistryError(403, "DENIED", _EXPIRED)


async def check(house: House, grant: Grant, incoming: Incoming, name: str) -> None:
    """Raise RegistryError 403. name -- of the repository; empty where the path has none."""
    session = grant.session
    if session is None:
        return
    kind = _kind(incoming.path.removeprefix("/v2/").removeprefix(name).strip("/"))
    needs = [Need(_ACTIONS[kind][incoming.method], repository_arn(grant.scope, name or "*"))]
    if kind == "uploads" and "mount" in incoming.query:  # of any repository, where none is named
        source = repository_arn(grant.scope, incoming.query.get("from") or "*")
        needs.append(Need("ecr:GetDownloadUrlForLayer", source))
    caller = Caller(house.clock.now(), grant.region, incoming.client)
    try:
        found = await rights.refusal(house, session, grant.scope, needs, caller)
    except NoRole:
        raise RegistryError(403, "DENIED", _EXPIRED) from None
    if found is not None:
        raise RegistryError(403, "DENIED", refused(session.principal_arn, *found))


def _kind(rest: str) -> str:
    if rest == "blobs/uploads" or rest.startswith("blobs/uploads/"):
        return "uploads"
    return rest.partition("/")[0]
