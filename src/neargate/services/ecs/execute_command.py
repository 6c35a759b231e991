"""ExecuteCommand: opens a session, whose data channel the door then serves (gateway/exec).

Called by gateway/dispatch. Nothing runs before the channel is opened with the token that is answered here.
"""

from typing import Any

from neargate.model import exec_session
from neargate.model.exec_session import ExecSession
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names
from neargate.state import exec_sessions
from neargate.state.store import Tx

_ID_DIGITS = 16


async def execute_command(call: Call, params: Params) -> Result:
    if not params["interactive"]:
        raise names.invalid("Interactive is the only mode supported currently.")
    names.storable(params)
    exec_session.check_command(params["command"])
    cluster = names.cluster_name(params.get("cluster"), call.scope)
    arn = names.task_arn(params["task"], cluster, call.scope)

    def body(tx: Tx) -> dict[str, Any]:
        found = names.need_cluster(tx, call.scope.arn("ecs", f"cluster/{cluster}"))
        task = names.need_task(tx, arn)
        container = exec_session.find_container(task, params.get("container"))
        exec_session.check_enabled(task, container)
        session = ExecSession(
            account=call.scope.account,
            region=call.scope.region,
            id=f"ecs-execute-command-0{call.ids.hex(_ID_DIGITS)}",
            kind=exec_session.INTERACTIVE,
            cluster_arn=found.arn,
            task_arn=task.arn,
            sandbox=task.id,
            node=task.node,
            container=container.name,
            runtime_id=container.runtime_id,
            command=params["command"],
            principal_arn=call.principal_arn,
            source_ip=call.source_ip,
            created_at=call.now(),
        )
        kept, token = exec_sessions.opened(tx, call.ids, session, call.now())
        return {
            "clusterArn": found.arn,
            "containerArn": container.arn,
            "containerName": container.name,
            "interactive": True,
            "session": {
                "sessionId": kept.id,
                "streamUrl": exec_sessions.stream_url(call.house.endpoint, call.host, kept.id),
                "tokenValue": token,
            },
            "taskArn": task.arn,
        }

    return await call.store.write(body)
