"""Operations found by their names, misspelt ones refused at start-up; whatever goes wrong is answered."""

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neargate.gateway.dispatch import Dispatcher, DispatchError, build_rooms
from neargate.kit.errors import ApiError
from neargate.state.store import StoreError
from neargate.wire.http import Request
from neargate.wire.models import Catalogue

CATALOGUE = Catalogue()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Any]:
    """A function that makes a package of services out of {module path: source}."""
    sys.path.insert(0, str(tmp_path))
    made: list[str] = []

    def make(files: dict[str, str]) -> types.ModuleType:
        name = f"rooms_{tmp_path.name.replace('-', '_')}"
        made.append(name)
        for path, source in {"__init__.py": "", **files}.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
        return __import__(name)

    yield make
    sys.path.remove(str(tmp_path))
    for module in [m for m in sys.modules if m.split(".")[0] in made]:
        del sys.modules[module]


OPERATION = "async def {}(call, params):\n    return {{}}\n"


def test_operations_are_found_in_every_module(house: Any) -> None:
    package = house(
        {
            "ecs/__init__.py": "",
            "ecs/clusters.py": OPERATION.format("list_clusters")
            + "async def helper(call, name):\n    pass\n",
            "ecs/deep/__init__.py": "",
            "ecs/deep/tasks.py": "async def _helper(call, params):\n    pass\n"
            + OPERATION.format("run_task"),
            "other/__init__.py": "SERVICE = 'sts'\n" + OPERATION.format("get_caller_identity"),
            "cell/__init__.py": "async def anything(call, params):\n    pass\n",
            "admin.py": "",
        }
    )
    rooms = build_rooms(CATALOGUE, package)
    assert {name: set(room.functions) for name, room in rooms.items()} == {
        "ecs": {"ListClusters", "RunTask"},
        "sts": {"GetCallerIdentity"},
    }


def test_a_misspelt_operation_stops_the_start(house: Any) -> None:
    with pytest.raises(DispatchError, match="list_custers"):
        build_rooms(CATALOGUE, house({"ecs/__init__.py": OPERATION.format("list_custers")}))


def test_two_functions_for_one_operation_stop_the_start(house: Any) -> None:
    files = {"ecs/__init__.py": "", "ecs/a.py": OPERATION.format("run_task")}
    with pytest.raises(DispatchError, match="already"):
        build_rooms(CATALOGUE, house({**files, "ecs/b.py": OPERATION.format("run_task")}))


def test_an_imported_operation_is_not_a_second_one(house: Any) -> None:
    package = house(
        {"ecs/__init__.py": "from .a import run_task\n", "ecs/a.py": OPERATION.format("run_task")}
    )
    assert set(build_rooms(CATALOGUE, package)["ecs"].functions) == {"RunTask"}


async def answer(error: Exception | None, operation: str = "ListClusters") -> tuple[int, dict[str, Any], str]:
    from neargate.gateway.dispatch import Room

    async def list_clusters(call: Any, params: Any) -> dict[str, Any]:
        if error is not None:
            raise error
        return {"clusterArns": ["a"]}

    room = Room(CATALOGUE.service("ecs"), {"ListClusters": list_clusters})
    headers = {
        "x-amz-target": f"AmazonEC2ContainerServiceV20141113.{operation}",
        "content-type": "application/x-amz-json-1.1",
    }
    call: Any = types.SimpleNamespace(request_id="the-id")
    response, name = await Dispatcher({"ecs": room}).run(room, Request("POST", "/", "", headers, b"{}"), call)
    return response.status, json.loads(response.body), name


async def test_answer() -> None:
    assert await answer(None) == (200, {"clusterArns": ["a"]}, "ListClusters")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ApiError("ClientException", "no"), 400, "ClientException"),
        (StoreError("disk full"), 503, "ServiceUnavailable"),
        (RuntimeError("secret detail"), 500, "InternalFailure"),
    ],
)
async def test_errors(error: Exception, status: int, code: str) -> None:
    got, body, _ = await answer(error)
    assert (got, body["__type"].rpartition("#")[2]) == (status, code)
    assert "secret detail" not in json.dumps(body)


async def test_an_operation_not_built_is_named() -> None:
    status, body, _ = await answer(None, "CreateService")
    assert status == 501
    assert "CreateService" in json.dumps(body)
