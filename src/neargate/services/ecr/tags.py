"""Tags of repositories, by ARN. Called by gateway/dispatch."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from neargate.model.registry import Repository
from neargate.services.call import Call, Params, Result
from neargate.services.ecr import names
from neargate.state import registry
from neargate.state.catalog import REPOSITORY
from neargate.state.store import Tx


async def tag_resource(call: Call, params: Params) -> Result:
    return await _change(call, params, lambda old: names.read_tags(params["tags"], old))


async def untag_resource(call: Call, params: Params) -> Result:
    gone = frozenset(params["tagKeys"])
    return await _change(call, params, lambda old: {k: v for k, v in old.items() if k not in gone})


async def list_tags_for_resource(call: Call, params: Params) -> Result:
    repository = await call.store.read(lambda tx: _by_arn(tx, call, params["resourceArn"]))
    return {"tags": [{"Key": key, "Value": value} for key, value in repository.tags.items()]}


async def _change(
    call: Call, params: Params, change: Callable[[Mapping[str, str]], dict[str, str]]
) -> Result:
    def body(tx: Tx) -> None:
        repository = _by_arn(tx, call, params["resourceArn"])
        tx.put(REPOSITORY, replace(repository, tags=change(repository.tags)))

    await call.store.write(body)
    return {}


def _by_arn(tx: Tx, call: Call, arn: str) -> Repository:
    prefix = call.scope.arn("ecr", "repository/")
    if not arn.startswith("arn:aws:ecr:") or ":repository/" not in arn:
        raise names.invalid("resourceArn", "must be the ARN of a repository")
    name = arn.partition(":repository/")[2]
    if not arn.startswith(prefix):
        raise registry.no_repository(call.scope, name)
    return registry.need_repository(tx, call.scope, name)
