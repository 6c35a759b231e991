"""Log configuration of containers, firelens included. Pure; called by definition and definition_fargate."""

from typing import Any

from neargate.model.assembly_containers import parse_size
from neargate.model.definition_containers import refuse
from neargate.model.multiline import MultilineError, line_starts

Json = dict[str, Any]
FARGATE_DRIVERS = ("awslogs", "splunk", "awsfirelens")
_REQUIRED = ("awslogs-region", "awslogs-group")
_OPTIONS = frozenset(
    (
        *_REQUIRED,
        "awslogs-stream-prefix",
        "awslogs-create-group",
        "awslogs-datetime-format",
        "awslogs-multiline-pattern",
        "mode",
        "max-buffer-size",
    )
)


def check_logs(body: Json) -> None:
    """Rules of log drivers that hold everywhere."""
    containers: list[Json] = body["containerDefinitions"]
    routers = [c for c in containers if "firelensConfiguration" in c]
    if len(routers) > 1:
        refuse("Only one container with a firelens configuration is allowed per task definition")
    for container in containers:
        log = container.get("logConfiguration")
        if log is None:
            continue
        if log["logDriver"] == "awsfirelens" and not routers:
            refuse(
                "When awsfirelens log driver is specified in log configuration, a firelens configuration"
                " object must be specified"
            )
        if log["logDriver"] == "awslogs":
            _check_awslogs(log.get("options", {}))
    for router in routers:
        _check_router(router["name"], router["firelensConfiguration"].get("options") or {})


def _check_router(name: str, options: dict[str, str]) -> None:
    kind = options.get("config-file-type")
    if kind is None:
        return
    if kind not in ("file", "s3"):
        refuse(f"Invalid firelens option config-file-type '{kind[:100]}' of container '{name}'")
    if not options.get("config-file-value"):
        refuse(
            f"The firelens option config-file-type of container '{name}' is specified but config-file-value"
            " is not specified"
        )


def _check_awslogs(options: dict[str, str]) -> None:
    missing = [name for name in _REQUIRED if not options.get(name)]
    if missing:
        refuse(f"Log driver awslogs requires options: {', '.join(missing)}")
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        refuse(f"Log driver awslogs disallows options: {', '.join(unknown)[:1000]}")
    if options.get("mode", "blocking") not in ("blocking", "non-blocking"):
        refuse(f"Invalid log option mode '{options['mode'][:100]}': it must be blocking or non-blocking")
    if "max-buffer-size" in options and parse_size(options["max-buffer-size"]) is None:
        refuse(f"Invalid log option max-buffer-size '{options['max-buffer-size'][:100]}'")
    if options.get("awslogs-create-group", "true").lower() not in ("true", "false"):
        refuse("Invalid log option awslogs-create-group: it must be true or false")
    try:
        line_starts(options.get("awslogs-datetime-format", ""), options.get("awslogs-multiline-pattern", ""))
    except MultilineError as error:
        refuse(str(error))


def check_fargate_logs(container: Json, body: Json) -> None:
    """Rules of log drivers on Fargate, before those that hold everywhere."""
    router = container.get("firelensConfiguration") or {}
    if (router.get("options") or {}).get("config-file-type") == "s3":
        refuse("Fargate only supports the firelens option config-file-type 'file'.")
    log = container.get("logConfiguration")
    if log is None:
        return
    driver = log["logDriver"]
    if driver not in FARGATE_DRIVERS:
        refuse(f"{driver} is not a valid log driver. Must be one of [{', '.join(FARGATE_DRIVERS)}]")
    if driver == "awslogs":
        options = log.get("options", {})
        _check_awslogs(options)
        if not options.get("awslogs-stream-prefix"):
            refuse("Fargate requires log configuration options to include awslogs-stream-prefix")
        if not body.get("executionRoleArn"):
            refuse(
                "Fargate requires task definition to have execution role ARN to support log driver awslogs."
            )
