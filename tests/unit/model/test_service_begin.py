"""How a service goes to another revision begins."""

from msgspec.structs import replace

from neargate.kit.ids import SeededIds
from neargate.model import service_begin
from neargate.model.service import Service
from neargate.model.service_rules import deployment_configuration

PREFIX = "arn:aws:ecs:us-east-1:123456789012:"


def made(count: int = 2) -> Service:
    return Service(
        account="123456789012",
        region="us-east-1",
        arn=f"{PREFIX}service/c/web",
        name="web",
        cluster_arn=f"{PREFIX}cluster/c",
        desired_count=count,
        definition_arn=f"{PREFIX}task-definition/web:1",
        revision_arn="",
        body={"deploymentConfiguration": deployment_configuration({"strategy": "CANARY"})},
        steady_at=1.0,
    )


def test_a_first_and_a_second_deployment() -> None:
    ids = SeededIds(1)
    service = made()
    first = service_begin.revision(service, {"a": 1}, ids, 10.0)
    assert first.arn.startswith(f"{PREFIX}service-revision/c/web/")
    assert (first.definition_arn, first.body) == (service.definition_arn, {"a": 1})
    begun, process = service_begin.begin(service, first, ids, 10.0)
    (deployment,) = begun.deployments
    assert (deployment.status, deployment.desired, deployment.rollout_state) == ("PRIMARY", 2, "IN_PROGRESS")
    assert deployment.process_arn == process.arn
    assert process.arn.startswith(f"{PREFIX}service-deployment/c/web/")
    assert (process.status, process.strategy, process.deployment_id) == ("PENDING", "CANARY", deployment.id)
    assert (process.source_revisions, process.target_revision) == ((), first.arn)
    assert (begun.revision_arn, begun.steady_at) == (first.arn, None)

    moved = replace(begun, definition_arn=f"{PREFIX}task-definition/web:2")
    second = service_begin.revision(moved, {"a": 2}, ids, 20.0)
    after, process = service_begin.begin(moved, second, ids, 20.0)
    new, old = after.deployments
    assert (new.status, new.definition_arn, new.created_at) == ("PRIMARY", second.definition_arn, 20.0)
    assert (old.id, old.status, old.desired, old.updated_at) == (deployment.id, "ACTIVE", 2, 20.0)
    assert process.source_revisions == (first.arn,)


def test_what_was_under_way_is_over() -> None:
    ids = SeededIds(1)
    service = made()
    revision = service_begin.revision(service, {}, ids, 10.0)
    _, process = service_begin.begin(service, revision, ids, 10.0)
    (stopped,) = service_begin.superseded([process], 30.0)
    assert (stopped.status, stopped.stopped_at, stopped.finished_at) == ("STOPPED", 30.0, 30.0)
    assert stopped.status_reason == "A newer service deployment was started."
