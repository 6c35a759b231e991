"""Lists of task definitions and of their families.

Called by gateway/dispatch. ARNs are ordered by family, then by revision as a number.
"""

from neargate.services.call import Call, Params, Result
from neargate.services.ecs import names, pages
from neargate.state.catalog import FAMILY, TASK_DEFINITION
from neargate.state.store import Tx

Key = tuple[str, int]


def _key(arn: str) -> Key:
    family, _, revision = arn.rpartition("/")[2].rpartition(":")
    return family, int(revision)


async def list_task_definitions(call: Call, params: Params) -> Result:
    page = pages.read(call, params, "ListTaskDefinitions")
    status = params.get("status") or "ACTIVE"
    family, descending = params.get("familyPrefix"), params.get("sort") == "DESC"
    scope = call.scope

    def body(tx: Tx) -> list[str]:
        return tx.ids(TASK_DEFINITION, "status", f"{scope.account}/{scope.region}/{status}")

    ordered = sorted(await call.store.scan(body), key=_key, reverse=descending)
    if family:
        ordered = [arn for arn in ordered if _key(arn)[0] == family]
    if page.after:
        last = _key(page.after)
        ordered = [arn for arn in ordered if (_key(arn) < last if descending else _key(arn) > last)]
    return page.listed("taskDefinitionArns", ordered)


async def list_task_definition_families(call: Call, params: Params) -> Result:
    """ACTIVE families have an ACTIVE revision, INACTIVE ones only INACTIVE; with all deleted one is gone."""
    page = pages.read(call, params, "ListTaskDefinitionFamilies")
    names.storable(params)
    status, prefix = params.get("status") or "ALL", params.get("familyPrefix") or ""
    start = names.family_id(call.scope, page.after) if page.after else ""

    def body(tx: Tx) -> list[str]:
        return [
            family.name
            for family in tx.all(FAMILY, call.scope, after=start)
            if family.name.startswith(prefix)
            and family.count
            and status in ("ALL", "ACTIVE" if family.active else "INACTIVE")
        ]

    return page.listed("families", await call.store.scan(body))
