"""How a service goes to another revision begins: the records of it, as CreateService and UpdateService write
them. Pure; called by services/ecs, and where a deployment is rolled back. control/services carries it out.

The new deployment is the PRIMARY one, what was PRIMARY is ACTIVE, and what was under way is STOPPED: a
service is never led to two revisions at once.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from neargate.kit.ids import Ids
from neargate.model.record import Scope
from neargate.model.service import Deployment, Service, ServiceDeployment, ServiceRevision

_SUPERSEDED = "A newer service deployment was started."


def place(service_arn: str) -> str:
    """`<cluster>/<service>`, as the ARNs of all that is a service's have it."""
    return service_arn.split("/", 1)[1]


def revision(service: Service, body: dict[str, Any], ids: Ids, now: float) -> ServiceRevision:
    """A new revision of the service, with its definition. body -- as DescribeServiceRevisions shows it."""
    scope = Scope(service.account, service.region)
    return ServiceRevision(
        account=service.account,
        region=service.region,
        arn=scope.arn("ecs", f"service-revision/{place(service.arn)}/{ids.digits(19)}"),
        service_arn=service.arn,
        cluster_arn=service.cluster_arn,
        definition_arn=service.definition_arn,
        body=body,
        created_at=now,
    )


def begin(
    service: Service, target: ServiceRevision, ids: Ids, now: float
) -> tuple[Service, ServiceDeployment]:
    """The service with a new PRIMARY deployment of `target`, and the ServiceDeployment that stands for it.

    Older deployments keep the number of tasks that they had; model/deployments says how they hand over.
    """
    scope = Scope(service.account, service.region)
    configuration = service.body["deploymentConfiguration"]
    process = ServiceDeployment(
        account=service.account,
        region=service.region,
        arn=scope.arn("ecs", f"service-deployment/{place(service.arn)}/{ids.hex(21)}"),
        service_arn=service.arn,
        cluster_arn=service.cluster_arn,
        strategy=configuration["strategy"],
        configuration=configuration,
        target_revision=target.arn,
        source_revisions=tuple(dict.fromkeys(d.revision_arn for d in service.deployments)),
        deployment_id=f"ecs-svc/{ids.digits(19)}",
        alarms_enabled=bool(configuration.get("alarms", {}).get("enable")),
        created_at=now,
        updated_at=now,
    )
    deployment = Deployment(
        id=process.deployment_id,
        revision_arn=target.arn,
        definition_arn=target.definition_arn,
        process_arn=process.arn,
        desired=service.desired_count,
        created_at=now,
        updated_at=now,
    )
    older = tuple(replace(d, status="ACTIVE", updated_at=now) for d in service.deployments)
    service = replace(
        service,
        definition_arn=target.definition_arn,
        revision_arn=target.arn,
        deployments=(deployment, *older),
        steady_at=None,
    )
    return service, process


def superseded(under_way: Sequence[ServiceDeployment], now: float) -> list[ServiceDeployment]:
    return [stopped(process, _SUPERSEDED, now) for process in under_way]


def stopped(process: ServiceDeployment, reason: str, now: float) -> ServiceDeployment:
    """Ended before its time: by a newer one, or by the end of its service."""
    return replace(
        process,
        status="STOPPED",
        status_reason=reason,
        paused=None,
        stopped_at=now,
        finished_at=now,
        updated_at=now,
    )
