"""Operations, by which clients wait for changes that are over already. Called by gateway/dispatch.

control/retention forgets them after a day.
"""

from neargate.kit.errors import ApiError
from neargate.services.call import Call, Params, Result
from neargate.services.servicediscovery.names import filters, is_of, is_text, page, without_none
from neargate.state.catalog_discovery import OPERATION

_EXACT, _SOME, _SPAN = frozenset({"EQ"}), frozenset({"EQ", "IN"}), frozenset({"BETWEEN"})
_FILTERS = {
    "NAMESPACE_ID": (lambda r: r.targets.get("NAMESPACE", ""), _EXACT),
    "SERVICE_ID": (lambda r: r.targets.get("SERVICE", ""), _EXACT),
    "STATUS": (lambda r: r.status, _SOME),
    "TYPE": (lambda r: r.type, _SOME),
    "UPDATE_DATE": (lambda r: str(r.at), _SPAN),
}


async def get_operation(call: Call, params: Params) -> Result:
    id, owner = params["OperationId"], params.get("OwnerAccount", call.scope.account)
    found = await call.store.read(lambda tx: tx.get(OPERATION, id)) if is_text(id) else None
    if found is None or not is_of(call.scope, found) or owner != found.account:
        raise ApiError("OperationNotFound", f"Operation not found: {id if is_text(id) else ascii(id)}")
    return {
        "Operation": without_none(
            {
                "Id": found.id,
                "OwnerAccount": found.account,
                "Type": found.type,
                "Status": found.status,
                "ErrorCode": found.error_code or None,
                "ErrorMessage": found.error_message or None,
                "CreateDate": found.at,
                "UpdateDate": found.at,
                "Targets": found.targets,
            }
        )
    }


async def list_operations(call: Call, params: Params) -> Result:
    wanted = filters(params.get("Filters"), _FILTERS)
    every = await call.store.scan(lambda tx: tx.all(OPERATION, call.scope))
    token, limit = params.get("NextToken"), params.get("MaxResults")
    found = [operation for operation in every if wanted(operation)]
    return page(found, lambda o: o.id, token, limit, lambda o: {"Id": o.id, "Status": o.status}, "Operations")
