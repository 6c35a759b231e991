"""Every kind of record that the store keeps, with its indexes. A new kind is one entry here: no migration.

Imported by services/ and control/.
"""

from neargate.model.bucket import Bucket, Object, Part, Upload, object_id, part_id
from neargate.model.efs import AccessPoint, FileSystem, Measured, MountTarget
from neargate.model.exec_session import ExecSession
from neargate.model.logs import LogGroup, group_id
from neargate.model.network import Interface, SecurityGroup, Subnet, Vpc
from neargate.model.parameter import OldVersion, Parameter
from neargate.model.parameter import version_id as parameter_version_id
from neargate.model.placement import size_of
from neargate.model.record import Scope
from neargate.model.registry import Image, Link, Repository, Tag, image_id, tag_id
from neargate.model.secret import Secret, Version, version_id
from neargate.model.task import AccountSetting, Cluster, Family, Node, Task, TaskDefinition, TokenUse, Usage
from neargate.state.store import Kind


def minute(at: float) -> str:
    """Index value of a moment: minutes since the epoch, in an order that text sorts by."""
    return f"{int(at) // 60:012d}"


_STARTING = frozenset(("PROVISIONING", "PENDING", "ACTIVATING"))


def task_load(task: Task) -> str | None:
    """Index value by which a cluster's tasks are counted: running, pending or stopping; not the STOPPED."""
    if task.last_status == "STOPPED":
        return None
    if task.last_status == "RUNNING":
        return f"{task.cluster_arn}/running"
    return f"{task.cluster_arn}/{'pending' if task.last_status in _STARTING else 'stopping'}"


def deployment_load(task: Task) -> str | None:
    """Index value by which the tasks of a service's deployment are counted; not the STOPPED."""
    load = task_load(task)
    if load is None or not task.service_arn:
        return None
    return f"{task.service_arn}/{task.started_by}/{load.rpartition('/')[2]}"


CLUSTER = Kind("cluster", Cluster, lambda r: r.arn)
TASK_DEFINITION = Kind(
    "task-definition",
    TaskDefinition,
    lambda r: r.arn,
    {
        "family": lambda r: f"{r.account}/{r.region}/{r.family}",
        "status": lambda r: f"{r.account}/{r.region}/{r.status}",
    },
)
FAMILY = Kind("family", Family, lambda r: f"{r.account}/{r.region}/{r.name}")
TASK = Kind(
    "task",
    Task,
    lambda r: r.arn,
    {
        "id": lambda r: r.id,
        "cluster": lambda r: r.cluster_arn,
        "desired": lambda r: f"{r.cluster_arn}/{r.desired_status}",
        "load": task_load,
        "size": size_of,
        "definition": lambda r: r.definition_arn,
        # Of a service: those that a loop still has work with, and counts by deployment and load.
        "service": lambda r: None if r.accounted or not r.service_arn else r.service_arn,
        "deployment": deployment_load,
        # Tasks that a loop still has work with; the rest is history.
        "open": lambda r: None if r.released else "yes",
        "node": lambda r: r.node if r.node and not r.released else None,
        "placement": lambda r: "waiting" if not r.node and r.desired_status == "RUNNING" else None,
        # History, by the minute it ended in: what retention looks through.
        "stopped": lambda r: minute(r.stopped_at or 0.0) if r.released else None,
    },
)
TOKEN_USE = Kind("token-use", TokenUse, lambda r: r.id, {"minute": lambda r: minute(r.at)})
ACCOUNT_SETTING = Kind(
    "account-setting", AccountSetting, lambda r: f"{r.account}/{r.region}/{r.principal_arn}/{r.name}"
)
USAGE = Kind(
    "usage",
    Usage,
    lambda r: r.task_arn,
    {
        "cluster": lambda r: r.cluster,
        "family": lambda r: r.family,
        "ended": lambda r: minute(r.stopped_at),
    },
)
NODE = Kind("node", Node, lambda r: r.id)

EXEC_SESSION = Kind(
    "exec-session",
    ExecSession,
    lambda r: r.id,
    {
        "account": lambda r: f"{r.account}/{r.region}/{'History' if r.ended_at is not None else 'Active'}",
        # Over, or never begun: history, by the minute of that.
        "over": lambda r: None if r.started_at and not r.ended_at else minute(r.ended_at or r.created_at),
    },
)

VPC = Kind("vpc", Vpc, lambda r: r.id)
SUBNET = Kind("subnet", Subnet, lambda r: r.id, {"vpc": lambda r: r.vpc_id})
SECURITY_GROUP = Kind("security-group", SecurityGroup, lambda r: r.id, {"vpc": lambda r: r.vpc_id})
INTERFACE = Kind(
    "interface",
    Interface,
    lambda r: r.id,
    {
        "address": lambda r: None if r.status == "released" else f"{r.subnet_id}/{r.address}",
        "subnet": lambda r: None if r.status == "released" else r.subnet_id,
    },
)

LOG_GROUP = Kind("log-group", LogGroup, lambda r: group_id(r.account, r.region, r.name))
"""In the store of logs, beside its streams and events (state/log_events.py)."""

REPOSITORY = Kind("repository", Repository, lambda r: r.arn)
LINK = Kind(
    "blob-link",
    Link,
    lambda r: image_id(r.repository, r.digest),
    {
        "digest": lambda r: r.digest,
        "repository": lambda r: r.repository,
        # Uploaded, but named by no image: collected some time after it was last asked for.
        "unused": lambda r: None if r.uses else minute(r.touched_at),
    },
)
IMAGE = Kind(
    "image",
    Image,
    lambda r: image_id(r.repository, r.digest),
    {
        "digest": lambda r: r.digest,
        "repository": lambda r: r.repository,
        "index": lambda r: r.repository if r.children else None,
        "subject": lambda r: image_id(r.repository, r.subject) if r.subject else None,
    },
)
IMAGE_TAG = Kind(
    "image-tag",
    Tag,
    lambda r: tag_id(r.repository, r.name),
    {"repository": lambda r: r.repository, "image": lambda r: image_id(r.repository, r.digest)},
)

SECRET = Kind(
    "secret",
    Secret,
    lambda r: r.arn,
    {
        "name": lambda r: f"{r.account}/{r.region}/{r.name}",
        # Deleted: gone when its recovery window ends.
        "due": lambda r: minute(r.deleted_at) if r.deleted_at is not None else None,
    },
)
SECRET_VERSION = Kind(
    "secret-version", Version, lambda r: version_id(r.secret, r.id), {"secret": lambda r: r.secret}
)

PARAMETER = Kind("parameter", Parameter, lambda r: r.id)
PARAMETER_VERSION = Kind(
    "parameter-version",
    OldVersion,
    lambda r: parameter_version_id(r.parameter, r.revision.number),
    {"parameter": lambda r: r.parameter},
)

BUCKET = Kind("bucket", Bucket, lambda r: r.name)
OBJECT = Kind("object", Object, lambda r: object_id(r.bucket, r.key), {"file": lambda r: r.file})
UPLOAD = Kind("object-upload", Upload, lambda r: r.id, {"bucket": lambda r: r.bucket})
PART = Kind(
    "object-part",
    Part,
    lambda r: part_id(r.upload, r.number),
    {"upload": lambda r: r.upload, "file": lambda r: r.file},
)


def efs_token(scope: Scope, token: str) -> str:
    """Index value of the token that a file system or an access point was made with."""
    return f"{scope.account}/{scope.region}/{token}"


EFS_FILE_SYSTEM = Kind(
    "efs-file-system",
    FileSystem,
    lambda r: r.id,
    {"token": lambda r: efs_token(Scope(r.account, r.region), r.token)},
)
EFS_SIZE = Kind("efs-size", Measured, lambda r: r.file_system)
EFS_MOUNT_TARGET = Kind(
    "efs-mount-target", MountTarget, lambda r: r.id, {"file-system": lambda r: r.file_system}
)
EFS_ACCESS_POINT = Kind(
    "efs-access-point",
    AccessPoint,
    lambda r: r.id,
    {
        "file-system": lambda r: r.file_system,
        "token": lambda r: efs_token(Scope(r.account, r.region), r.token),
    },
)
