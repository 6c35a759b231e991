"""CreateService's and UpdateService's parameters, read and checked as far as they can be without the store.

Called by services.py and service_update.py. Raises AWS's errors.
"""

import hashlib
import re
from typing import Any, Final

from neargate.kit.errors import ApiError
from neargate.model import service_rules
from neargate.services.call import Params
from neargate.services.ecs import names

_TOKEN: Final = re.compile(r"[!-~]{1,64}")
_RESOLUTIONS: Final = (20, 60)
_METRICS: Final = ("CPUUtilization", "MemoryUtilization")
# Members that the external controller leaves to its task sets -> AWS's word for them.
_OF_TASK_SETS: Final = {
    "taskDefinition": "TaskDefinition must be blank",
    "loadBalancers": "LoadBalancers must be empty or null",
    "serviceRegistries": "ServiceRegistries must be empty or null",
    "launchType": "LaunchType must be empty or null",
    "capacityProviderStrategy": "CapacityProviderStrategy must be empty or null",
    "platformVersion": "PlatformVersion must be empty or null",
    "networkConfiguration": "NetworkConfiguration must be empty or null",
    "serviceConnectConfiguration": "ServiceConnectConfiguration must be empty or null",
}
# What UpdateService cannot change of such a service -> what it is called in the refusal.
_UPDATED_BY_TASK_SETS: Final = {
    "taskDefinition": "task definition",
    "loadBalancers": "load balancers",
    "serviceRegistries": "service registries",
    "capacityProviderStrategy": "capacity provider strategy",
    "platformVersion": "platform version",
    "networkConfiguration": "network configuration",
    "serviceConnectConfiguration": "service connect configuration",
}


def check_common(params: Params) -> None:
    """What is refused in both requests."""
    names.storable(params)
    for member, what in (("placementConstraints", "constraints"), ("placementStrategy", "strategies")):
        if params.get(member):
            raise names.invalid(f"Placement {what} are not supported with FARGATE launch type.")
    for member, what in (
        ("volumeConfigurations", "volumes that are configured at launch"),
        ("vpcLatticeConfigurations", "VPC Lattice"),
        ("gatewayConnectors", "gateway connectors"),
    ):
        if params.get(member):
            service_rules.unsupported(f"{member} are not available: there are no {what} here.")
    for item in (params.get("monitoring") or {}).get("metricConfigurations") or ():
        if item["resolutionSeconds"] not in _RESOLUTIONS:
            raise names.invalid("The resolution of a metric must be 20 or 60 seconds.")
        if any(name not in _METRICS for name in item["metricNames"]):
            raise names.invalid(f"The metrics of a service are {' and '.join(_METRICS)}.")
    service_rules.check_grace(params.get("healthCheckGracePeriodSeconds"))


def check_create(params: Params) -> None:
    check_common(params)
    service_rules.check_name(params["serviceName"])
    check_token(params)
    if params.get("schedulingStrategy") == "DAEMON":
        _refuse_daemon(params)
    kind = controller(params)
    if kind == "EXTERNAL":
        for member, message in _OF_TASK_SETS.items():
            if params.get(member):
                raise names.invalid(message)
        return
    if params.get("role"):
        raise names.invalid("You cannot specify an IAM role for services that require a service linked role.")
    if not params.get("taskDefinition"):
        raise names.invalid("TaskDefinition can not be blank.")
    if params.get("desiredCount") is None:
        raise names.invalid("desiredCount must be specified when the scheduling strategy is REPLICA.")


def check_token(params: Params) -> None:
    if params.get("clientToken") is not None and not _TOKEN.fullmatch(params["clientToken"]):
        raise names.invalid("clientToken can have 1 to 64 characters in the range of 33-126.")


def _refuse_daemon(params: Params) -> None:
    if params.get("desiredCount") is not None:
        raise names.invalid(
            "The daemon scheduling strategy does not support a desired count for services. Remove the desired"
            " count value and try again"
        )
    if params.get("capacityProviderStrategy"):
        raise names.invalid(
            "Specifying a capacity provider strategy is not supported when you create a service using the"
            " DAEMON scheduling strategy."
        )
    if params.get("availabilityZoneRebalancing") == "ENABLED":
        raise names.invalid("Availability Zone Rebalancing does not support DAEMON services")
    raise names.invalid("The DAEMON scheduling strategy is not supported with the FARGATE launch type.")


def controller(params: Params) -> str:
    """ECS or EXTERNAL. Raises UnsupportedFeatureException."""
    kind: str = (params.get("deploymentController") or {}).get("type") or "ECS"
    if kind == "CODE_DEPLOY":
        service_rules.unsupported(
            "The deployment controller CODE_DEPLOY is not available: there is no CodeDeploy here. Use the ECS"
            " deployment controller with the strategy BLUE_GREEN."
        )
    return kind


def check_update(params: Params, kind: str) -> None:
    """kind -- the service's deployment controller."""
    asked = (params.get("deploymentController") or {}).get("type")
    if asked and asked != kind:
        controller(params)
        service_rules.unsupported(
            f"The deployment controller of a service cannot be changed here: it is {kind}."
        )
    if kind != "EXTERNAL":
        return
    for member, what in _UPDATED_BY_TASK_SETS.items():
        if params.get(member):
            raise names.invalid(
                f"Unable to update {what} on services with a {kind} deployment controller. Use a task set to"
                " trigger a new deployment."
            )
    if params.get("forceNewDeployment"):
        raise names.invalid(f"Cannot force a new deployment on services with a {kind} deployment controller.")


def digest(params: Params) -> str:
    """Of what was asked for (not of whom: that may be spelt by name or ARN), to tell a repeated request."""
    names_only = ("clientToken", "cluster", "service")
    rest = {name: value for name, value in params.items() if name not in names_only and value is not None}
    return hashlib.sha256(names.storable(rest)).hexdigest()


def not_idempotent() -> ApiError:
    return names.invalid("Creation of service was not idempotent.")


def settings(params: Params, before: dict[str, Any]) -> dict[str, Any]:
    """The members that take hold without a new deployment. before -- as the service has them."""
    configuration = service_rules.deployment_configuration(
        params.get("deploymentConfiguration"), before.get("deploymentConfiguration")
    )
    made = {
        "deploymentConfiguration": configuration,
        "availabilityZoneRebalancing": service_rules.rebalancing(
            params.get("availabilityZoneRebalancing"),
            configuration,
            before.get("availabilityZoneRebalancing", ""),
        ),
    }
    for member, default in (
        ("enableECSManagedTags", False),
        ("enableExecuteCommand", False),
        ("propagateTags", "NONE"),
    ):
        asked = params.get(member)
        made[member] = before.get(member, default) if asked is None else asked
    grace = params.get("healthCheckGracePeriodSeconds")
    if grace is None:
        grace = before.get("healthCheckGracePeriodSeconds")
    if grace is not None:
        made["healthCheckGracePeriodSeconds"] = grace
    monitoring = params.get("monitoring", before.get("monitoring"))
    if monitoring is not None:
        made["monitoring"] = monitoring
    return made
