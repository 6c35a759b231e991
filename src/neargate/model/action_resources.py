"""The ARNs that a call is about, read off its parameters. Pure; called by model/actions.py.

Each is made of the same parts of a name or ARN as the operation goes by, so that nobody is judged by one
resource and acts on another. `*` stands for actions that are on no resource; None for one that parameters do
not name.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from neargate.model.efs import bare_id
from neargate.model.record import Scope

Params = Mapping[str, Any]
Rule = Callable[[str, Params, Scope], Sequence[str | None]]
NONE = ("*",)
_LISTS = re.compile(r"(?:List|Describe|Get).*")
_DEFAULT_BUS = "default"


def resources(service: str, operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    """Never empty: a call about several resources has one each."""
    tagged = next((params[name] for name in _TAGGED if params.get(name)), None)
    if tagged is not None:
        return [tagged] if isinstance(tagged, str) else list(tagged)
    rule = _RULES.get(service)
    return (rule(operation, params, scope) if rule else None) or (None,)


_TAGGED = ("resourceArn", "ResourceArn", "ResourceARN", "ResourceArns")
"""Members that are a resource's ARN, whatever the service."""


def bucket_arn(bucket: str, key: str = "") -> str:
    return f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"


def parameter_arn(scope: Scope, name: str) -> str:
    """`name` -- or an ARN; with its selector."""
    if name.startswith("arn:"):
        head, colon, tail = name.rpartition(":parameter")
        return f"{head}{colon}{tail.partition(':')[0]}"
    bare = name.partition(":")[0]
    return scope.arn("ssm", f"parameter{'' if bare.startswith('/') else '/'}{bare}")


def stream_arn(scope: Scope, group: str, stream: str = "") -> str:
    """A log stream; of the group itself without one: that is how CloudWatch Logs asks for groups."""
    return scope.arn("logs", f"log-group:{group}:log-stream:{stream}")


def secret_arn(scope: Scope, id: str) -> str:
    return id if id.startswith("arn:") else scope.arn("secretsmanager", f"secret:{id}")


def cluster_of(params: Params) -> str:
    return _last(params.get("cluster") or "default")


def _last(text: str) -> str:
    """What stands behind the last slash of an ARN, old or new, or of a name."""
    return text.rpartition("/")[2]


def _named(params: Params, *members: str) -> list[str]:
    """The values of the members that are there, lists taken apart."""
    found: list[str] = []
    for value in (params.get(member) for member in members):
        found += [str(one) for one in value] if isinstance(value, (list, tuple)) else [value] if value else []
    return found


def _s3(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    bucket = params.get("Bucket")
    if not bucket:
        return NONE
    if operation == "DeleteObjects":
        objects = (params.get("Delete") or {}).get("Objects") or ()
        return [bucket_arn(bucket, one.get("Key") or "") for one in objects]
    return [bucket_arn(bucket, params.get("Key") or "")]


def _secretsmanager(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    if operation == "CreateSecret":
        return [scope.arn("secretsmanager", f"secret:{params.get('Name') or ''}-??????")]
    return [secret_arn(scope, id) for id in _named(params, "SecretId")] or NONE


def _ssm(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    if params.get("ResourceType") == "Parameter":
        return [parameter_arn(scope, params.get("ResourceId") or "")]
    if "Parameter" not in operation:
        return (None,)
    names = _named(params, "Name", "Names", "Path")
    return [parameter_arn(scope, name) for name in names] or [scope.arn("ssm", "*")]


def _logs(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    groups = _named(params, "logGroupName", "logGroupIdentifier", "logGroupIdentifiers")
    named = [group.split(":")[6] if group.count(":") > 5 else group for group in groups]
    stream = params.get("logStreamName") or ""
    return [stream_arn(scope, group, stream) for group in named or [""]]


def _ecr(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    if operation in ("GetAuthorizationToken", "DescribeRegistry"):
        return NONE
    names = _named(params, "repositoryName", "repositoryNames") or ["*"]
    return [scope.arn("ecr", f"repository/{name}") for name in names]


def _ecs(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    cluster = cluster_of(params)
    if operation in ("RunTask", "StartTask", "DeleteTaskDefinitions"):
        definitions = _named(params, "taskDefinition", "taskDefinitions")
        return [scope.arn("ecs", f"task-definition/{_last(text)}") for text in definitions]
    if operation == "RegisterTaskDefinition":
        return [scope.arn("ecs", f"task-definition/{params.get('family') or ''}:*")]
    if "TaskSet" in operation:
        service = f"{cluster}/{_last(params.get('service') or '')}"
        if operation == "CreateTaskSet":
            return [scope.arn("ecs", f"task-set/{service}/*")]
        sets = _named(params, "taskSet", "taskSets", "primaryTaskSet") or ["*"]
        return [scope.arn("ecs", f"task-set/{service}/{_last(one)}") for one in sets]
    if "ServiceDeployment" in operation or "ServiceRevision" in operation:
        arns = _named(params, "serviceDeploymentArn", "serviceDeploymentArns", "serviceRevisionArns")
        services = [scope.arn("ecs", f"service/{cluster}/{_last(s)}") for s in _named(params, "service")]
        return arns or services
    if operation.startswith(("List", "PutAccount", "DeleteAccount")) or "TaskDefinition" in operation:
        return NONE
    if operation == "CreateCluster":
        return [scope.arn("ecs", f"cluster/{params.get('clusterName') or 'default'}")]
    return _in_cluster(operation, cluster, params, scope)


def _in_cluster(operation: str, cluster: str, params: Params, scope: Scope) -> Sequence[str | None]:
    own = scope.arn("ecs", f"cluster/{cluster}")
    tasks = [scope.arn("ecs", f"task/{cluster}/{_last(id)}") for id in _named(params, "task", "tasks")]
    if tasks:
        return [own, *tasks] if operation == "ExecuteCommand" else tasks
    if operation in ("GetTaskProtection", "UpdateTaskProtection"):
        return [scope.arn("ecs", f"task/{cluster}/*")]
    services = _named(params, "service", "services", "serviceName")
    if services:
        return [scope.arn("ecs", f"service/{cluster}/{_last(name)}") for name in services]
    clusters = _named(params, "clusters")
    return [scope.arn("ecs", f"cluster/{_last(name)}") for name in clusters] or [own]


def _sqs(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    try:
        names = [_last(urlsplit(url).path) for url in _named(params, "QueueUrl")]
    except ValueError:  # what is no URL names no queue; the operation says so
        names = []
    return [scope.arn("sqs", name) for name in (*names, *_named(params, "QueueName"))] or NONE


def _efs(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    points = _named(params, "AccessPointId")
    ids = points or _named(params, "FileSystemId", "ResourceId")
    if not ids:
        return (None,) if params.get("MountTargetId") else [scope.arn("elasticfilesystem", "file-system/*")]
    bare = [bare_id(id) for id in ids]
    kinds = [("access-point" if id.startswith("fsap-") else "file-system", id) for id in bare]
    return [scope.arn("elasticfilesystem", f"{kind}/{id}") for kind, id in kinds]


def _sts(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    return _named(params, "RoleArn") or NONE


def _iam(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    policies = _named(params, "PolicyArn") if "Role" not in operation else []
    if policies:
        return policies
    roles = _named(params, "RoleName")
    if roles:
        return [f"arn:aws:iam::{scope.account}:role/{name}" for name in roles]
    return NONE


def _elbv2(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    if operation.startswith("Describe"):
        return NONE
    name = params.get("Name") or ""
    if operation == "CreateTargetGroup":
        return [scope.arn("elasticloadbalancing", f"targetgroup/{name}/*")]
    if operation == "CreateLoadBalancer":
        kind = {"network": "net", "gateway": "gwy"}.get(params.get("Type") or "", "app")
        return [scope.arn("elasticloadbalancing", f"loadbalancer/{kind}/{name}/*")]
    priorities = params.get("RulePriorities") or ()
    rules = [str(one["RuleArn"]) for one in priorities if one.get("RuleArn")]
    return rules or _named(params, "RuleArn", "ListenerArn", "TargetGroupArn", "LoadBalancerArn")


def _events(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    def bus(name: str | None) -> str:
        return _last(name or _DEFAULT_BUS)

    if operation == "PutEvents":
        buses = dict.fromkeys(bus(entry.get("EventBusName")) for entry in params.get("Entries") or ())
        return [scope.arn("events", f"event-bus/{name}") for name in buses]
    if "ApiDestination" in operation or "Connection" in operation:
        kind = "api-destination" if "ApiDestination" in operation else "connection"
        return [scope.arn("events", f"{kind}/{name}") for name in _named(params, "Name")] or NONE
    if "EventBus" in operation or "Permission" in operation:
        name = params.get("Name") or params.get("EventBusName")
        return NONE if operation == "ListEventBuses" else [scope.arn("events", f"event-bus/{bus(name)}")]
    where = bus(params.get("EventBusName"))
    path = "" if where == _DEFAULT_BUS else f"{where}/"
    return [scope.arn("events", f"rule/{path}{name}") for name in _named(params, "Name", "Rule")] or NONE


def _scheduler(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    names = _named(params, "Name")
    if "Group" in operation:
        return [scope.arn("scheduler", f"schedule-group/{name}") for name in names] or NONE
    group = params.get("GroupName") or "default"
    return [scope.arn("scheduler", f"schedule/{group}/{name}") for name in names or ["*"]]


def _cloudwatch(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    if "Dashboard" in operation:
        names = _named(params, "DashboardName", "DashboardNames") or ["*"]
        return [f"arn:aws:cloudwatch::{scope.account}:dashboard/{name}" for name in names]
    if "Alarm" in operation and operation != "DescribeAlarmsForMetric":
        names = _named(params, "AlarmName", "AlarmNames") or ["*"]
        return [scope.arn("cloudwatch", f"alarm:{name}") for name in names]
    return NONE


def _acm(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    if operation == "ImportCertificate":
        return _named(params, "CertificateArn") or [scope.arn("acm", "certificate/*")]
    return _named(params, "CertificateArn") or NONE


def _listed(operation: str, params: Params, scope: Scope) -> Sequence[str | None]:
    """Services whose reads have no resource, and whose resources have ids that only their records tell."""
    return NONE if _LISTS.fullmatch(operation) and not params.get("Id") else (None,)


_RULES: dict[str, Rule] = {
    "acm": _acm, "cloudwatch": _cloudwatch, "ec2": _listed, "ecr": _ecr, "ecs": _ecs, "efs": _efs,
    "elbv2": _elbv2, "events": _events, "iam": _iam, "logs": _logs, "s3": _s3, "scheduler": _scheduler,
    "secretsmanager": _secretsmanager, "sqs": _sqs, "ssm": _ssm, "sts": _sts,
}  # fmt: skip
