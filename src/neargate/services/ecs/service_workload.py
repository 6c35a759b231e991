"""The members of a service that its tasks are made by: read, completed, and held against what there is.

Called by services.py, service_update.py and task_sets.py inside their transactions. What comes out stands in
Service.body and TaskSet.body, and in the revision that tasks are made from.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neargate.model import service_rules_tasks
from neargate.model.capacity import check_strategy
from neargate.model.service import REVISION_MEMBERS
from neargate.model.task import Cluster, TaskDefinition
from neargate.services.call import Call
from neargate.services.ecs import names
from neargate.services.ecs.network import check_network, read_network
from neargate.services.ecs.requests import check_platform, platform
from neargate.services.ecs.service_discovery import check_offers, check_registries, namespace
from neargate.services.ecs.service_targets import check_targets
from neargate.state.store import Tx

Json = dict[str, Any]
_NO_INSTANCES = "No Container Instances were found in your cluster."
_NOT_FARGATE = "Task definition does not support launch_type FARGATE."


@dataclass(frozen=True, slots=True)
class _Platform:
    platform_version: str
    enable_execute_command: bool
    overrides: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ground:
    """What a workload is held against."""

    tx: Tx
    call: Call
    cluster: Cluster
    definition: TaskDefinition
    service_arn: str
    strategy: str = "ROLLING"
    """Of deployments."""
    enable_execute_command: bool = False


def complete(ground: Ground, asked: Mapping[str, Any], given: Collection[str] = REVISION_MEMBERS) -> Json:
    """The members in full. given -- those that this request names: only they are looked up in the store.

    Raises AWS's errors, the first that is found.
    """
    body = ground.definition.body
    made = _capacity(ground.cluster, asked)
    if "FARGATE" not in body["compatibilities"]:
        raise names.invalid(_NOT_FARGATE)
    version = asked.get("platformVersion") or "LATEST"
    numbered = _Platform(platform(version), ground.enable_execute_command, {})
    spot = any(
        item["capacityProvider"] == "FARGATE_SPOT" for item in made.get("capacityProviderStrategy", ())
    )
    check_platform(numbered, body, spot=spot)
    made |= {"platformVersion": version, "platformFamily": "Linux"}
    made["networkConfiguration"] = _network(ground, asked, "networkConfiguration" in given)
    made["loadBalancers"] = service_rules_tasks.load_balancers(
        asked.get("loadBalancers") or (), body, ground.strategy
    )
    if "loadBalancers" in given:
        check_targets(ground.tx, ground.call.scope, made["loadBalancers"])
    made["serviceRegistries"] = service_rules_tasks.service_registries(
        asked.get("serviceRegistries") or (), body
    )
    if "serviceRegistries" in given:
        check_registries(ground.tx, ground.call.scope, made["serviceRegistries"])
    if asked.get("serviceConnectConfiguration"):
        made["serviceConnectConfiguration"] = _connect(ground, asked["serviceConnectConfiguration"], given)
    return made


def _capacity(cluster: Cluster, asked: Mapping[str, Any]) -> Json:
    """launchType or capacityProviderStrategy, never both."""
    launch_type = asked.get("launchType")
    strategy: Sequence[Json] = asked.get("capacityProviderStrategy") or ()
    if launch_type and strategy:
        raise names.invalid("Specifying both a launch type and capacity provider strategy is not supported")
    if not launch_type and not strategy:
        strategy = cluster.default_strategy
    if strategy:
        checked = check_strategy(strategy, cluster.capacity_providers)
        return {"capacityProviderStrategy": [dict(item) for item in checked]}
    if launch_type != "FARGATE":
        # Without either the launch type is EC2, and no cluster here has container instances.
        raise names.invalid(_NO_INSTANCES)
    return {"launchType": "FARGATE"}


def _network(ground: Ground, asked: Mapping[str, Any], given: bool) -> Json:
    network = read_network(asked)
    if given:
        check_network(ground.tx, ground.call.scope, network)
    return {
        "awsvpcConfiguration": {
            "subnets": list(network.subnets),
            "securityGroups": list(network.security_groups),
            "assignPublicIp": "ENABLED" if network.assign_public_ip else "DISABLED",
        }
    }


def _connect(ground: Ground, asked: Mapping[str, Any], given: Collection[str]) -> Json:
    default = ground.cluster.service_connect_defaults.get("namespace", "")
    made = service_rules_tasks.service_connect(asked, ground.definition.body, default)
    if made["enabled"] and "serviceConnectConfiguration" in given:
        space = namespace(ground.tx, ground.call.scope, made["namespace"])
        made["namespace"] = space.arn
        check_offers(ground.tx, space, made["services"], ground.service_arn)
    return made


def task_set_body(made: Json) -> Json:
    """What a task set shows: the platform version by its number."""
    return {**made, "platformVersion": platform(made["platformVersion"])}


def revision_body(made: Mapping[str, Any], definition: TaskDefinition) -> Json:
    """What a service revision shows, with the platform version that LATEST is now."""
    body: Json = {
        "platformVersion": platform(made["platformVersion"]),
        "platformFamily": made["platformFamily"],
        "networkConfiguration": made["networkConfiguration"],
        "loadBalancers": made["loadBalancers"],
        "serviceRegistries": made["serviceRegistries"],
        "containerImages": [
            {"containerName": container["name"], "image": container["image"]}
            for container in definition.body["containerDefinitions"]
        ],
        "guardDutyEnabled": False,
    }
    for name in ("launchType", "capacityProviderStrategy", "serviceConnectConfiguration"):
        if name in made:
            body[name] = made[name]
    return body
