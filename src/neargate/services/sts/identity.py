"""Who calls: GetCallerIdentity, the first call that most tools make.

Called by gateway/dispatch with a caller whose signature holds; it needs no permission and no store.
"""

from neargate.services.call import Call, Params, Result


async def get_caller_identity(call: Call, params: Params) -> Result:
    # The root credential is the only one there is, and root's user id is its account's.
    return {"UserId": call.scope.account, "Account": call.scope.account, "Arn": call.principal_arn}
