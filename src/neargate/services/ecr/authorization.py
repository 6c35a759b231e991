"""GetAuthorizationToken: the login of docker, skopeo and the like at the registry (gateway/registry).

Called by gateway/dispatch.
"""

import base64

from neargate.model import registry_token
from neargate.model.registry_token import LOGIN_SECONDS, USER, Grant
from neargate.services.call import Call, Params, Result
from neargate.services.ecr import names


async def get_authorization_token(call: Call, params: Params) -> Result:
    for account in params.get("registryIds") or ():
        if account != call.scope.account:
            raise names.invalid("registryIds", f"must be the id of your own registry, not '{account[:20]}'")
    expires = registry_token.ends(call.now(), LOGIN_SECONDS, call.session)
    grant = Grant(
        account=call.scope.account,
        region=call.scope.region,
        principal=call.principal_arn,
        session=call.session if call.session is not None and call.session.role_arn else None,
        expires_at=expires,
    )
    password = registry_token.mint(call.house.signing_key, grant)
    token = base64.b64encode(f"{USER}:{password}".encode()).decode()
    data = {"authorizationToken": token, "expiresAt": float(expires), "proxyEndpoint": call.house.endpoint}
    return {"authorizationData": [data]}
