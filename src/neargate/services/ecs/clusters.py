"""Clusters: create, describe, list, update, delete. Counts come from the store's indexes.

Called by gateway/dispatch. Capacity providers of a cluster are in capacity_providers.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from neargate.kit.errors import ApiError
from neargate.model.capacity import check_providers, check_strategy
from neargate.model.task import Cluster
from neargate.services.call import Call, Params, Result
from neargate.services.ecs import account_settings, names, pages, render, service_discovery
from neargate.state.catalog import CLUSTER, TASK
from neargate.state.catalog_services import SERVICE
from neargate.state.store import Tx

_INSIGHTS = ("enabled", "enhanced", "disabled")
_MAX_DESCRIBED = 100
_ALL = frozenset(("ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS"))


def counts(tx: Tx, arn: str) -> tuple[int, int]:
    """(running, pending) tasks of a cluster."""
    return tx.count(TASK, "load", f"{arn}/running"), tx.count(TASK, "load", f"{arn}/pending")


def services(tx: Tx, arn: str) -> tuple[int, int]:
    """(active, draining) services of a cluster."""
    active = tx.count(SERVICE, "active", arn)
    return active, tx.count(SERVICE, "cluster", arn) - active


def shown(tx: Tx, cluster: Cluster, include: frozenset[str] = _ALL) -> dict[str, Any]:
    running, pending = counts(tx, cluster.arn)
    active, draining = services(tx, cluster.arn)
    result = render.cluster(cluster, running, pending, active)
    if "TAGS" in include:
        result["tags"] = render.tag_list(cluster.tags)
    if "SETTINGS" in include:
        result["settings"] = [{"name": name, "value": value} for name, value in cluster.settings.items()]
    if "STATISTICS" in include:
        result["statistics"] = _statistics(running, pending, active, draining)
    if "CONFIGURATIONS" in include and cluster.configuration:
        result["configuration"] = cluster.configuration
    if "ATTACHMENTS" in include:
        result["attachments"] = []
    if cluster.service_connect_defaults:
        result["serviceConnectDefaults"] = cluster.service_connect_defaults
    return result


def _statistics(running: int, pending: int, active: int, draining: int) -> list[dict[str, str]]:
    values: dict[str, int] = {}
    for kind in ("EC2", "Fargate", "External"):
        fargate = kind == "Fargate"
        values[f"running{kind}TasksCount"] = running if fargate else 0
        values[f"pending{kind}TasksCount"] = pending if fargate else 0
        values[f"active{kind}ServiceCount"] = active if fargate else 0
        values[f"draining{kind}ServiceCount"] = draining if fargate else 0
    return [{"name": name, "value": str(value)} for name, value in values.items()]


async def create_cluster(call: Call, params: Params) -> Result:
    """Idempotent by name: what exists is returned, unless other properties are asked for."""
    names.storable(params)
    name = params.get("clusterName") or names.DEFAULT_CLUSTER
    if name.startswith("arn:"):
        raise names.invalid("Invalid cluster name: an ARN is not a name.")
    arn = names.cluster_arn(name, call.scope)
    settings = _read_settings(params.get("settings"))
    tags = names.read_tags(params.get("tags"))
    providers = check_providers(params.get("capacityProviders") or ())
    strategy = check_strategy(params.get("defaultCapacityProviderStrategy") or (), providers)
    configuration = _read_configuration(params.get("configuration"))

    def body(tx: Tx) -> Result:
        existing = tx.get(CLUSTER, arn)
        asked = Cluster(
            account=call.scope.account,
            region=call.scope.region,
            arn=arn,
            name=name,
            settings=settings or {"containerInsights": account_settings.value(tx, call, "containerInsights")},
            configuration=configuration,
            service_connect_defaults=_namespace(tx, call, params.get("serviceConnectDefaults")),
            capacity_providers=providers,
            default_strategy=strategy,
            tags=tags,
            created_at=call.now(),
        )
        if existing is not None and existing.status == "ACTIVE":
            _check_same(existing, asked, params)
            return {"cluster": shown(tx, existing)}
        return {"cluster": shown(tx, tx.put(CLUSTER, asked))}

    return await call.store.write(body)


_COMPARED = {
    "settings": "settings",
    "tags": "tags",
    "configuration": "configuration",
    "capacityProviders": "capacity_providers",
    "defaultCapacityProviderStrategy": "default_strategy",
    "serviceConnectDefaults": "service_connect_defaults",
}


def _check_same(existing: Cluster, asked: Cluster, params: Params) -> None:
    for member, field in _COMPARED.items():
        if params.get(member) and getattr(existing, field) != getattr(asked, field):
            raise names.invalid(
                "Arguments on this idempotent request are inconsistent with arguments used in previous"
                " request(s)."
            )


def _read_settings(given: Sequence[Mapping[str, Any]] | None) -> dict[str, str]:
    settings: dict[str, str] = {}
    for item in given or ():
        name, value = item.get("name"), item.get("value")
        if name != "containerInsights" or value not in _INSIGHTS:
            raise names.invalid(
                f"Invalid cluster setting {str(name)[:100]}={str(value)[:100]}: containerInsights is one of"
                f" {', '.join(_INSIGHTS)}."
            )
        settings[name] = value
    return settings


def _read_configuration(given: Mapping[str, Any] | None) -> dict[str, Any]:
    command = (given or {}).get("executeCommandConfiguration") or {}
    own = command.get("logConfiguration")
    if own and command.get("logging") != "OVERRIDE":
        raise names.invalid("You must set logging to 'OVERRIDE' when you supply a log configuration.")
    if command.get("logging") == "OVERRIDE" and not any(
        (own or {}).get(name) for name in ("cloudWatchLogGroupName", "s3BucketName")
    ):
        raise names.invalid(
            "A CloudWatch log group name or S3 bucket name must be specified when overriding the default log"
            " configuration."
        )
    return dict(given or {})


def _namespace(tx: Tx, call: Call, given: Mapping[str, Any] | None) -> dict[str, Any]:
    if not given or not given["namespace"]:
        return {}
    return {"namespace": service_discovery.default_namespace(tx, call, given["namespace"])}


async def describe_clusters(call: Call, params: Params) -> Result:
    asked = params.get("clusters") or [names.DEFAULT_CLUSTER]
    if len(asked) > _MAX_DESCRIBED:
        raise names.invalid(f"Clusters can have at most {_MAX_DESCRIBED} items.")
    arns = [_described_arn(call, text) for text in asked]
    include = frozenset(params.get("include") or ())

    def body(tx: Tx) -> Result:
        found = {arn: tx.get(CLUSTER, arn) for arn in dict.fromkeys(arns)}
        return {
            "clusters": [shown(tx, cluster, include) for cluster in found.values() if cluster is not None],
            "failures": [names.missing(arn) for arn, cluster in found.items() if cluster is None],
        }

    return await call.store.read(body)


def _described_arn(call: Call, text: str) -> str:
    """An ARN of elsewhere is a cluster that is missing, not an error."""
    try:
        return names.cluster_arn(text, call.scope)
    except ApiError as error:
        if error.code != "ClusterNotFoundException":
            raise
        names.storable({"arn": text})
        return text


async def list_clusters(call: Call, params: Params) -> Result:
    page = pages.read(call, params, "ListClusters")

    def body(tx: Tx) -> list[str]:
        clusters = tx.all(CLUSTER, call.scope, after=page.after)
        return [cluster.arn for cluster in clusters if cluster.status == "ACTIVE"]

    return page.listed("clusterArns", await call.store.read(body))


async def update_cluster(call: Call, params: Params) -> Result:
    names.storable(params)
    arn = names.cluster_arn(params["cluster"], call.scope)
    settings = _read_settings(params.get("settings"))
    changed: dict[str, Any] = {}
    if params.get("configuration"):
        changed["configuration"] = _read_configuration(params["configuration"])

    def body(tx: Tx) -> Result:
        cluster = names.need_cluster(tx, arn)
        if params.get("serviceConnectDefaults"):
            changed["service_connect_defaults"] = _namespace(tx, call, params["serviceConnectDefaults"])
        cluster = replace(cluster, settings={**cluster.settings, **settings}, **changed)
        return {"cluster": shown(tx, tx.put(CLUSTER, cluster))}

    return await call.store.write(body)


async def update_cluster_settings(call: Call, params: Params) -> Result:
    arn = names.cluster_arn(params["cluster"], call.scope)
    settings = _read_settings(params["settings"])
    if not settings:
        raise names.invalid("Settings cannot be empty.")

    def body(tx: Tx) -> Result:
        cluster = names.need_cluster(tx, arn)
        cluster = replace(cluster, settings={**cluster.settings, **settings})
        return {"cluster": shown(tx, tx.put(CLUSTER, cluster))}

    return await call.store.write(body)


async def delete_cluster(call: Call, params: Params) -> Result:
    """The cluster goes INACTIVE, stays describable for a while (control/retention), and its name is free."""
    arn = names.cluster_arn(params["cluster"], call.scope)

    def body(tx: Tx) -> Result:
        cluster = names.need_cluster(tx, arn)
        if any(services(tx, arn)):
            raise ApiError(
                "ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active."
            )
        if any(tx.count(TASK, "load", f"{arn}/{load}") for load in ("running", "pending", "stopping")):
            raise ApiError(
                "ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active."
            )
        cluster = replace(cluster, status="INACTIVE", inactive_at=call.now())
        return {"cluster": shown(tx, tx.put(CLUSTER, cluster))}

    return await call.store.write(body)
