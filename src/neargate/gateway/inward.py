"""Operations that the daemon calls itself, in its own name: held against the model like anybody's.

Made by main, which hands them to the loops that may not know services (control/events).
"""

import json
from collections.abc import Mapping
from typing import Any

from neargate.model.record import Scope
from neargate.services.call import Call, House, Operation, Result
from neargate.wire import protocols
from neargate.wire.http import Request
from neargate.wire.models import Catalogue


class Inward:
    """One operation of a service that speaks JSON. caller -- whose name it is called in."""

    def __init__(self, house: House, service: str, name: str, operation: Operation, caller: str) -> None:
        self._house = house
        self._service = Catalogue().service(service)
        self._target = f"{self._service.metadata.target_prefix}.{name}"
        self._operation = operation
        self._caller = caller

    async def __call__(self, scope: Scope, params: Mapping[str, Any]) -> Result:
        """Raise ApiError."""
        headers = {"x-amz-target": self._target}
        request = Request("POST", "/", "", headers, json.dumps(params).encode())
        parsed = protocols.parse(self._service, request)
        call = Call(self._house, scope, self._caller, "", self._house.ids.uuid())
        return await self._operation(call, parsed.params)
