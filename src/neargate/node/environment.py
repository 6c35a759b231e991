"""What a container's environment has beyond its specification: values of secrets, and files of variables.

Made by runner.py, one per sandbox, which fetches them before anything is started; supervision.py takes them
at each start. They live in memory from the fetch to that start: neither specification nor journal has them,
so for a container that is started again, or by a later daemon, they are fetched again.
"""

from msgspec.structs import replace

from neargate.model import environment as model
from neargate.model.sandbox import ContainerSpec, SandboxSpec
from neargate.node.cell import Cell, CellError

Variables = tuple[tuple[str, str], ...]


class NoEnvironment(Exception):
    """The environment cannot be had; the text is AWS's for a task's stopped reason."""


class Environments:
    def __init__(self, cell: Cell, spec: SandboxSpec) -> None:
        self._cell = cell
        self._spec = spec
        self._fetched: dict[str, Variables] = {}

    async def fetch(self, container: ContainerSpec) -> None:
        """Have the environment ready for the container's first start. Raise NoEnvironment."""
        if container.secrets or container.environment_files:
            self._fetched[container.name] = await self._environment(container)

    async def take(self, container: ContainerSpec) -> ContainerSpec:
        """The specification with the whole environment, for the driver only. Raise NoEnvironment."""
        if not container.secrets and not container.environment_files:
            return container
        ready = self._fetched.pop(container.name, None)
        return replace(container, environment=ready or await self._environment(container))

    async def _environment(self, container: ContainerSpec) -> Variables:
        files = [await self._file(arn) for arn in container.environment_files]
        values = await self._secrets(container)
        try:
            return model.merged(files, container.environment, values)
        except ValueError as error:
            raise NoEnvironment(f"ResourceInitializationError: container {container.name}: {error}") from None

    async def _secrets(self, container: ContainerSpec) -> Variables:
        if not container.secrets:
            return ()
        sources = [source for _, source in container.secrets]
        try:
            values = await self._cell.secret_values(
                self._spec.account, self._spec.region, sources, self._spec.id
            )
        except CellError as error:
            raise NoEnvironment(
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
                f"retrieval failed: {error}"
            ) from None
        return tuple((name, value) for (name, _), value in zip(container.secrets, values, strict=True))

    async def _file(self, arn: str) -> dict[str, str]:
        try:
            data = await self._cell.environment_file(
                self._spec.account, self._spec.region, arn, self._spec.id
            )
            return model.variables_of(data)
        except (CellError, ValueError) as error:
            raise NoEnvironment(
                "ResourceInitializationError: failed to download env files: file download command: non empty "
                f"error stream: {arn}: {error}"
            ) from None
