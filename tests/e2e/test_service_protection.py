"""A task of a service that protects itself from within: it is not the one that scaling in stops."""

import json
from typing import Any

from tests.e2e.conftest import Stack
from tests.support.real import eventually

ROLE = "arn:aws:iam::000000000000:role/worker"
SCRIPT = r"""
path=${ECS_AGENT_URI#http://169.254.170.2}/task-protection/v1/state
for minutes in 0 60; do
    body='{"ProtectionEnabled":true,"ExpiresInMinutes":'$minutes'}'
    printf 'PUT %s HTTP/1.1\r\nHost: 169.254.170.2\r\nContent-Type: application/json\r\n' "$path" > /tmp/put
    printf 'Content-Length: %d\r\nConnection: close\r\n\r\n%s' "${#body}" "$body" >> /tmp/put
    nc 169.254.170.2 80 < /tmp/put | tail -n 1
    echo
done
sleep 600
"""


def test_tasks_protect_themselves(stack: Stack) -> None:
    where = {"cluster": "e2e", "service": "worker"}
    made = stack.ecs.register_task_definition(
        family="worker",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn=ROLE,
        taskRoleArn=ROLE,
        containerDefinitions=[stack.container(SCRIPT)],
    )
    stack.ecs.create_service(
        cluster="e2e",
        serviceName="worker",
        taskDefinition=made["taskDefinition"]["taskDefinitionArn"],
        desiredCount=2,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": stack.subnets}},
    )

    def running() -> list[str]:
        return list(stack.ecs.list_tasks(cluster="e2e", serviceName="worker")["taskArns"])

    def status() -> str:
        (found,) = stack.ecs.describe_services(cluster="e2e", services=["worker"])["services"]
        return str(found["status"])

    def unprotect(arn: str) -> None:
        stack.ecs.update_task_protection(cluster="e2e", tasks=[arn], protectionEnabled=False)

    eventually(lambda: len(running()) == 2, "two tasks", 90)
    kept, other = running()
    for arn in (kept, other):
        said = lambda arn=arn: (lines := stack.lines(arn))[1:] and lines  # noqa: E731
        refused, told = eventually(said, "two answers", 90)
        assert json.loads(refused)["error"]["Message"] == "expiresInMinutes must be between 1 and 2880."
        protection: dict[str, Any] = json.loads(told)["protection"]
        assert (protection["ProtectionEnabled"], protection["TaskArn"]) == (True, arn)
    unprotect(other)
    stack.ecs.update_service(**where, desiredCount=0)
    stack.wait(other, "STOPPED")
    assert running() == [kept]
    unprotect(kept)
    assert stack.wait(kept, "STOPPED")["stopCode"] == "ServiceSchedulerInitiated"
    stack.ecs.delete_service(**where)
    eventually(lambda: status() == "INACTIVE", "the service is gone", 90)
