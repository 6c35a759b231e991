"""Dashboards: documents, their bodies checked as AWS does. Called by gateway/dispatch."""

import json
import re
from typing import Any

from neargate.kit.errors import ApiError
from neargate.model.alarm import Dashboard
from neargate.model.dashboard import Finding, findings
from neargate.services.call import Call, Params, Result
from neargate.services.cloudwatch.names import invalid, prose, read_tags, text, token, untoken
from neargate.state.catalog_alarms import DASHBOARD
from neargate.state.store import Tx

_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_MOST_BYTES = 1024 * 1024
_PAGE = 1000


def dashboard_arn(account: str, name: str) -> str:
    """Dashboards are of no region."""
    return f"arn:aws:cloudwatch::{account}:dashboard/{name}"


async def put_dashboard(call: Call, params: Params) -> Result:
    name, body = params["DashboardName"], params["DashboardBody"]
    if not _NAME.fullmatch(name):
        text(name, "DashboardName")
        raise invalid(
            f"The value {name} for field DashboardName contains invalid characters. It can only contain"
            " alphanumerics, dash (-) and underscore (_)."
        )
    prose(body, "DashboardBody")
    if len(body) > _MOST_BYTES:
        raise invalid(f"The parameter DashboardBody must be at most {_MOST_BYTES} bytes.")
    errors, warnings = _checked(body)
    if errors:
        raise ApiError(
            "DashboardInvalidInputError",
            "The field DashboardBody must be a valid JSON object"
            if errors[0].path == ""
            else f"The dashboard body is invalid, there are {len(errors)} validation errors",
            fields={"dashboardValidationMessages": [_message(it) for it in errors[:50]]},
        )
    arn, now = dashboard_arn(call.scope.account, name), call.now()

    def write(tx: Tx) -> None:
        old = tx.get(DASHBOARD, arn)
        tags = read_tags(params.get("Tags"), old.tags if old else {})
        tx.put(
            DASHBOARD,
            Dashboard(
                account=call.scope.account,
                region=call.scope.region,
                arn=arn,
                name=name,
                body=body,
                modified_at=now,
                tags=tags,
            ),
        )

    await call.store.write(write)
    return {"DashboardValidationMessages": [_message(it) for it in warnings[:50]]}


def _checked(body: str) -> tuple[list[Finding], list[Finding]]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    return findings(document)


def _message(finding: Finding) -> dict[str, str]:
    return {"DataPath": finding.path or "/", "Message": finding.message}


async def get_dashboard(call: Call, params: Params) -> Result:
    name = params.get("DashboardName") or ""
    arn = dashboard_arn(call.scope.account, text(name, "DashboardName"))
    found = await call.store.read(lambda tx: tx.get(DASHBOARD, arn))
    if found is None:
        raise _no_dashboard(name)
    return {"DashboardArn": arn, "DashboardName": name, "DashboardBody": found.body}


async def delete_dashboards(call: Call, params: Params) -> Result:
    names = [text(name, "DashboardNames") for name in params["DashboardNames"]]

    def write(tx: Tx) -> None:
        for name in dict.fromkeys(names):
            if not tx.delete(DASHBOARD, dashboard_arn(call.scope.account, name)):
                raise _no_dashboard(name)

    await call.store.write(write)
    return {}


async def list_dashboards(call: Call, params: Params) -> Result:
    prefix = text(params.get("DashboardNamePrefix") or "", "DashboardNamePrefix")
    first = dashboard_arn(call.scope.account, "")
    after = max(untoken(params.get("NextToken"), str) or "", first)
    found = await call.store.read(lambda tx: tx.all(DASHBOARD, after=after))
    ours = [it for it in found if it.account == call.scope.account and it.name.startswith(prefix)]
    answer: Result = {"DashboardEntries": [_entry(it) for it in ours[:_PAGE]]}
    return {**answer, "NextToken": token(ours[_PAGE - 1].arn)} if len(ours) > _PAGE else answer


def _entry(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "DashboardName": dashboard.name,
        "DashboardArn": dashboard.arn,
        "LastModified": dashboard.modified_at,
        "Size": len(dashboard.body.encode()),
    }


def _no_dashboard(name: str) -> ApiError:
    return ApiError("DashboardNotFoundError", f"Dashboard {name} does not exist")
