"""The door as tasks find it, at 169.254.170.2:4566: AWS's APIs for signed requests, and nothing else of it.

Served by main beside the door itself. Neither /_neargate nor the registry is there, whoever signs.
"""

from collections.abc import Callable

from neargate.gateway.app import App
from neargate.gateway.asgi import ASGIApp
from neargate.kit.errors import ApiError
from neargate.wire.http import Request, Response


class TaskDoor:
    def __init__(self, app: App, is_task: Callable[[str], bool]) -> None:
        """is_task -- whether an address is a task's of this machine."""
        self._app = app
        self._is_task = is_task

    @property
    def registry(self) -> ASGIApp:
        return self._app.registry

    def is_registry(self, path: str) -> bool:
        return False

    def refuse(self, request: Request, error: ApiError) -> Response:
        return self._app.refuse(request, error)

    async def answer(self, request: Request, source_ip: str) -> Response:
        if not self._is_task(source_ip):
            return self.refuse(request, ApiError("AccessDenied", "Only tasks may call here.", status=403))
        if request.path.startswith("/_neargate") or self._app.is_registry(request.path):
            message = "Tasks reach the AWS APIs here, and nothing else."
            return self.refuse(request, ApiError("AccessDenied", message, status=403))
        return await self._app.answer(request, source_ip)
