"""Tags of scalable targets. Called by gateway/dispatch; `read` by RegisterScalableTarget."""

from collections.abc import Mapping

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.scaling import ScalableTarget
from neargate.model.scaling_policy import invalid
from neargate.services.call import Call, Params, Result
from neargate.state.catalog_scaling import SCALABLE_TARGET
from neargate.state.store import Tx

_MOST = 50


def read(given: Mapping[str, str], old: Mapping[str, str], arn: str = "") -> dict[str, str]:
    """Tags of a request on top of old ones."""
    for key, value in given.items():
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise invalid("A tag's key has 1 to 128 characters, its value 256 at most")
        if key.lower().startswith("aws:"):
            raise invalid("Tag keys cannot start with aws:")
    tags = {**old, **given}
    if len(tags) > _MOST:
        raise ApiError(
            "TooManyTagsException", f"A resource can have {_MOST} tags at most", fields={"ResourceName": arn}
        )
    return tags


async def tag_resource(call: Call, params: Params) -> Result:

    def body(tx: Tx) -> None:
        target = _target(tx, call, params)
        tx.put(SCALABLE_TARGET, replace(target, tags=read(params["Tags"], target.tags, target.arn)))

    await call.store.write(body)
    return {}


async def untag_resource(call: Call, params: Params) -> Result:
    gone = frozenset(params["TagKeys"])

    def body(tx: Tx) -> None:
        target = _target(tx, call, params)
        tx.put(SCALABLE_TARGET, replace(target, tags={k: v for k, v in target.tags.items() if k not in gone}))

    await call.store.write(body)
    return {}


async def list_tags_for_resource(call: Call, params: Params) -> Result:
    target = await call.store.read(lambda tx: _target(tx, call, params))
    return {"Tags": target.tags}


def _target(tx: Tx, call: Call, params: Params) -> ScalableTarget:
    arn = params["ResourceARN"]
    found = tx.find(SCALABLE_TARGET, "arn", arn, limit=1)
    if not found or (found[0].account, found[0].region) != (call.scope.account, call.scope.region):
        raise ApiError(
            "ResourceNotFoundException",
            f"The resource doesn't exist: {arn[:300]}",
            fields={"ResourceName": arn},
        )
    return found[0]
