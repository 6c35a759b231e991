"""Who calls: GetCallerIdentity, the first call that most tools make.

Called by gateway/dispatch with a caller whose signature holds; it needs no permission and no store.
"""

from neargate.services.call import Call, Params, Result


async def get_caller_identity(call: Call, params: Params) -> Result:
    # Without a session it is the root credential, and root's user id is its account's.
    user = call.session.user_id if call.session is not None else call.scope.account
    return {"UserId": user, "Account": call.scope.account, "Arn": call.principal_arn}
