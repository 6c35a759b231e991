"""Tags of alarms and dashboards, by ARN. Called by gateway/dispatch."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.services.call import Call, Params, Result
from neargate.services.cloudwatch.names import read_tags, text
from neargate.state.catalog_alarms import ALARM, DASHBOARD
from neargate.state.store import Tx

Change = Callable[[Mapping[str, str]], dict[str, str]]


async def tag_resource(call: Call, params: Params) -> Result:
    return await _change(call, params["ResourceARN"], lambda old: read_tags(params["Tags"], old))


async def untag_resource(call: Call, params: Params) -> Result:
    gone = frozenset(params["TagKeys"])
    return await _change(
        call, params["ResourceARN"], lambda old: {key: v for key, v in old.items() if key not in gone}
    )


async def list_tags_for_resource(call: Call, params: Params) -> Result:
    arn = text(params["ResourceARN"], "ResourceARN")

    def body(tx: Tx) -> dict[str, str]:
        found = tx.get(ALARM, arn) or tx.get(DASHBOARD, arn)
        if found is None or found.account != call.scope.account:
            raise _unknown(arn)
        return found.tags

    tags = await call.store.read(body)
    return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


async def _change(call: Call, given: str, change: Change) -> Result:
    arn = text(given, "ResourceARN")

    def body(tx: Tx) -> None:
        alarm, dashboard = tx.get(ALARM, arn), tx.get(DASHBOARD, arn)
        if alarm is not None and alarm.account == call.scope.account:
            tx.put(ALARM, replace(alarm, tags=change(alarm.tags)))
        elif dashboard is not None and dashboard.account == call.scope.account:
            tx.put(DASHBOARD, replace(dashboard, tags=change(dashboard.tags)))
        else:
            raise _unknown(arn)

    await call.store.write(body)
    return {}


def _unknown(arn: str) -> ApiError:
    fields = {"ResourceType": "Alarm" if ":alarm:" in arn else "Dashboard", "ResourceId": arn.split(":")[-1]}
    return ApiError("ResourceNotFoundException", f"The resource {arn} does not exist.", fields=fields)
