"""The endpoints at 169.254.170.2 over an agent on the fake driver: who is answered, and with what."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neargate.kit.clock import ManualClock
from neargate.kit.errors import ApiError
from neargate.model.sandbox import Facts, InterfaceSpec, SandboxSpec
from neargate.model.session import Session, SessionCredentials
from neargate.node import metadata_machine
from neargate.node.drivers.base import DriverError, Storage
from neargate.node.metadata import Endpoint
from neargate.wire.http import Request
from tests.unit.node.rig import MIB, FakeCell, Node, container, eventually, spec

ARN = "arn:aws:ecs:us-east-1:000000000000:task/c/1"
HOUR = 3600.0


class Cell(FakeCell):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.minted = 0
        self.protected: list[tuple[str, bool | None, int | None]] = []
        self.slow = False

    async def task_credentials(self, sandbox: str) -> SessionCredentials:
        self._check()
        await asyncio.sleep(0)
        self.minted += 1
        session = Session(
            access_key_id=f"ASIA{self.minted}",
            account="000000000000",
            expires_at=self.clock.now() + 6 * HOUR,
            role_arn="arn:aws:iam::000000000000:role/web",
            name=sandbox,
        )
        return SessionCredentials(session, "the-secret", "the-token")

    async def task_tags(self, sandbox: str) -> dict[str, str]:
        self._check()
        return {"team": "x"}

    async def task_protection(
        self, sandbox: str, enabled: bool | None, minutes: int | None
    ) -> tuple[int, dict[str, Any]]:
        self._check()
        if self.slow:
            raise TimeoutError
        self.protected.append((sandbox, enabled, minutes))
        return 200, {"failure": {"Arn": ARN, "Reason": "TASK_NOT_VALID"}}


class House:
    """An endpoint of two tasks, `one` with a role and `two` without."""

    def __init__(self, node: Node, cell: Cell, clock: ManualClock) -> None:
        self.node, self.cell, self.clock = node, cell, clock
        self.endpoint = Endpoint(node.agent, cell, clock)
        self.one = self.spec("10.0.0.4", Facts(credentials_id="the-id", launch_type="FARGATE"))
        self.two = self.spec("10.0.0.5", Facts())

    @staticmethod
    def spec(address: str, facts: Facts) -> SandboxSpec:
        interface = InterfaceSpec(
            id="eni-1",
            mac="02:00:00:00:00:01",
            address=address,
            subnet_cidr="10.0.0.0/24",
            gateway="10.0.0.1",
            dns_name="ip.ec2.internal",
        )
        made = spec(container("main"), container("side", essential=False), interface=interface, facts=facts)
        containers = [
            msgspec.structs.replace(c, runtime_id=f"{made.id}-{i}") for i, c in enumerate(made.containers)
        ]
        labels = (("com.amazonaws.ecs.task-arn", ARN),)
        return msgspec.structs.replace(made, containers=tuple(containers), labels=labels)

    async def ask(
        self, path: str, source: str = "10.0.0.4", method: str = "GET", body: bytes = b""
    ) -> tuple[int, Any]:
        response = await self.endpoint.answer(Request(method, path, "", {}, body), source)
        assert response.headers == {"content-type": "application/json"}
        return response.status, json.loads(response.body)

    def path(self, what: str = "", one: SandboxSpec | None = None) -> str:
        id = (one or self.one).containers[0].runtime_id
        return f"/v4/{id}/{what}" if what else f"/v4/{id}"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock = ManualClock()
    node = Node(tmp_path)
    node.cell = cell = Cell(clock)
    async with node.up():
        found = House(node, cell, clock)
        await node.run(found.one)
        await node.run(found.two)
        yield found


# -- metadata ------------------------------------------------------------------------------------------


async def test_every_path_of_version_four(house: House) -> None:
    ids = [c.runtime_id for c in house.one.containers]
    status, own = await house.ask(house.path())
    assert (status, own["DockerId"], own["Name"], own["KnownStatus"]) == (200, ids[0], "main", "RUNNING")
    assert own["Networks"][0]["IPv4Addresses"] == ["10.0.0.4"] and own["StartedAt"]
    status, task = await house.ask(house.path("task"))
    assert (status, task["TaskARN"], task["KnownStatus"]) == (200, ARN, "RUNNING")
    assert [c["DockerId"] for c in task["Containers"]] == ids and "TaskTags" not in task
    assert task["ClockDrift"]["ClockSynchronizationStatus"] in ("SYNCHRONIZED", "NOT_SYNCHRONIZED")
    assert (await house.ask(house.path("taskWithTags")))[1]["TaskTags"] == {"team": "x"}
    status, stats = await house.ask(house.path("stats"))
    assert (status, stats["id"], stats["name"]) == (200, ids[0], "main")
    assert stats["memory_stats"]["limit"] == house.one.memory
    status, both = await house.ask(house.path("task/stats"))
    assert (status, list(both)) == (200, ids)
    assert both[ids[0]]["preread"] == stats["read"] and both[ids[1]]["preread"].startswith("0001-")


async def test_a_container_that_ended_and_a_task_that_is_to_stop(house: House) -> None:
    house.node.sandbox(house.one).end("side", 3)
    await asyncio.sleep(0.05)
    main, side = (await house.ask(house.path("task")))[1]["Containers"]
    assert (main["KnownStatus"], side["KnownStatus"], side["ExitCode"]) == ("RUNNING", "STOPPED", 3)
    found = house.node.agent.find(house.one.id)
    assert found is not None and main["DesiredStatus"] == "RUNNING"
    found.stop()
    assert (await house.ask(house.path()))[1]["DesiredStatus"] == "STOPPED"


async def test_a_container_that_the_journal_has_not_seen_running_yet(house: House) -> None:
    found = house.node.agent.find(house.one.id)
    assert found is not None
    found._journal.change(
        containers=tuple(
            msgspec.structs.replace(c, phase="PENDING", started_at=None) for c in found.status.containers
        )
    )
    own = (await house.ask(house.path()))[1]
    assert own["KnownStatus"] == "RUNNING" and own["StartedAt"]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("", "V4 container metadata handler: unable to get container ID from request:"
             " unable to get docker ID from v3 endpoint ID: {}"),
        ("stats", "V4 container stats handler: unable to get container ID from request:"
                  " unable to get docker ID from v3 endpoint ID: {}"),
        ("task", "V4 task metadata handler: unable to get task arn from request:"
                 " unable to get task Arn from v3 endpoint ID: {}"),
        ("taskWithTags", "V4 task metadata handler: unable to get task arn from request:"
                         " unable to get task Arn from v3 endpoint ID: {}"),
        ("task/stats", "V4 task stats handler: unable to get task arn from request:"
                       " unable to get task Arn from v3 endpoint ID: {}"),
    ],
)  # fmt: skip
async def test_whoever_is_not_the_task_is_told_that_there_is_none(house: House, what: str, told: str) -> None:
    id = house.one.containers[0].runtime_id
    for source in ("10.0.0.5", "10.0.0.9", "127.0.0.1", ""):
        assert await house.ask(house.path(what), source) == (404, told.format(id))
    other = house.one.id + "-9"
    for unknown in ("bad", other, house.one.id, "", "-", "%2e"):
        path = f"/v4/{unknown}/{what}" if what else f"/v4/{unknown}"
        assert await house.ask(path) == (404, told.format(unknown))


async def test_other_paths_and_methods(house: House) -> None:
    for path in (
        "/",
        "/v4",
        "/v3/x",
        house.path("tasks"),
        house.path("task/"),
        "/api/x",
        "/v2/other/x",
        "//",
    ):
        assert (await house.ask(path))[0] == 404
    for path in (house.path(), "/v2/credentials/the-id", f"/api/{house.one.id}-0/task-protection/v1/state"):
        assert (await house.ask(path, method="DELETE"))[0] == 405
    assert (
        house.endpoint.refuse(Request("GET", "/", "", {}), ApiError("TooLarge", "no", status=413)).status
        == 413
    )


async def test_tags_that_cannot_be_had_are_an_error_beside_the_rest(house: House) -> None:
    house.cell.down = True
    status, task = await house.ask(house.path("taskWithTags"))
    assert (status, task["TaskARN"]) == (200, ARN)
    assert task["Errors"][0]["ErrorField"] == "TaskTags" and "TaskTags" not in task


async def test_ephemeral_storage_as_far_as_the_tier_counts_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = house.node.sandbox(house.one)

    async def storage() -> Storage:
        return Storage(used=261 * MIB, reserved=house.one.ephemeral_bytes)

    async def uncounted() -> Storage:
        raise DriverError("it does not count")

    for answer, shown in ((storage, {"Utilized": 261, "Reserved": 20496}), (uncounted, {"Reserved": 20496})):
        monkeypatch.setattr(sandbox, "storage", answer)
        assert (await house.ask(house.path("task")))[1]["EphemeralStorageMetrics"] == shown


async def test_stats_of_a_container_that_has_not_started(house: House) -> None:
    late = House.spec("10.0.0.6", Facts())
    late = msgspec.structs.replace(
        late,
        containers=(
            msgspec.structs.replace(late.containers[0], command=("nostart",), essential=False),
            late.containers[1],
        ),
    )
    house.node.cell.want(late)
    runner = None
    while runner is None or runner.sandbox is None or "side" not in runner.sandbox.states:
        await asyncio.sleep(0.002)
        runner = house.node.agent.find(late.id)
    first, second = (c.runtime_id for c in late.containers)
    assert await house.ask(f"/v4/{first}/stats", "10.0.0.6") == (500, "failed to get stats")
    both = (await house.ask(f"/v4/{first}/task/stats", "10.0.0.6"))[1]
    assert both[first] is None and both[second]["id"] == second


def test_the_machine_tells_its_clock_and_processors() -> None:
    drift = metadata_machine.clock_drift(5.0)
    assert drift is not None and drift.at == 5.0 and 0 <= drift.error_milliseconds <= 20_000_000
    before = metadata_machine.cpu_seconds()
    assert 0 < before <= metadata_machine.cpu_seconds()


# -- credentials ---------------------------------------------------------------------------------------


async def test_credentials_of_the_tasks_role(house: House) -> None:
    expires = house.clock.now() + 6 * HOUR
    status, held = await house.ask("/v2/credentials/the-id")
    assert (status, held.pop("Expiration")) == (200, "2027-01-15T14:00:00Z")
    assert expires == 1_800_021_600.0
    assert held == {
        "RoleArn": "arn:aws:iam::000000000000:role/web",
        "AccessKeyId": "ASIA1",
        "SecretAccessKey": "the-secret",
        "Token": "the-token",
    }


async def test_no_other_task_gets_them_nor_any_other_id(house: House) -> None:
    missing = {"code": "InvalidIdInRequest", "message": "CredentialsV2Request: Credentials not found",
               "HTTPErrorCode": 400}  # fmt: skip
    for source in ("10.0.0.5", "10.0.0.9", "127.0.0.1", ""):
        assert await house.ask("/v2/credentials/the-id", source) == (400, missing)
    for id in ("other", "the-id/", "the-id2", "é"):
        assert await house.ask(f"/v2/credentials/{id}") == (400, missing)
    for path in ("/v2/credentials", "/v2/credentials/"):
        assert (await house.ask(path))[1]["code"] == "NoIdInRequest"
    assert house.cell.minted == 0


async def test_they_are_kept_for_a_while_and_rotated_long_before_they_end(house: House) -> None:
    async def key() -> str:
        return str((await house.ask("/v2/credentials/the-id"))[1]["AccessKeyId"])

    assert await asyncio.gather(key(), key(), key()) == ["ASIA1"] * 3
    house.clock.advance(2.9 * HOUR)
    assert await key() == "ASIA1"
    house.clock.advance(0.2 * HOUR)
    assert await key() == "ASIA2"


async def test_without_a_control_plane_the_last_ones_serve_as_long_as_they_are_good(house: House) -> None:
    house.cell.down = True
    status, told = await house.ask("/v2/credentials/the-id")
    assert (status, told["code"]) == (503, "CredentialsUninitialized")
    house.cell.down = False
    assert (await house.ask("/v2/credentials/the-id"))[0] == 200
    house.cell.down = True
    house.clock.advance(5.9 * HOUR)
    assert (await house.ask("/v2/credentials/the-id"))[1]["AccessKeyId"] == "ASIA1"
    house.clock.advance(0.2 * HOUR)
    assert (await house.ask("/v2/credentials/the-id"))[0] == 503


async def test_nothing_is_known_of_a_task_that_has_stopped(house: House) -> None:
    assert house.endpoint.is_task("10.0.0.4") and not house.endpoint.is_task("10.0.0.9")
    house.node.cell.want(house.one, desired="STOPPED")
    await house.node.gone(house.one)
    await eventually(lambda: house.node.agent.find(house.one.id) is None, "forgotten")
    assert not house.endpoint.is_task("10.0.0.4")
    assert (await house.ask(house.path()))[0] == 404
    assert (await house.ask("/v2/credentials/the-id"))[0] == 400


# -- protection ----------------------------------------------------------------------------------------


def protection(one: SandboxSpec) -> str:
    return f"/api/{one.containers[0].runtime_id}/task-protection/v1/state"


async def test_protection_is_asked_for_and_set(house: House) -> None:
    failure = {"failure": {"Arn": ARN, "Reason": "TASK_NOT_VALID"}}
    path = protection(house.one)
    assert await house.ask(path) == (200, failure)
    for body, enabled, minutes in (
        (b'{"ProtectionEnabled":true,"ExpiresInMinutes":60}', True, 60),
        (b'{"ProtectionEnabled":false}', False, None),
    ):
        assert await house.ask(path, method="PUT", body=body) == (200, failure)
        assert house.cell.protected[-1] == (house.one.id, enabled, minutes)
    assert house.cell.protected[0] == (house.one.id, None, None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "UpdateTaskProtection: failed to decode request"),
        (b"[]", "UpdateTaskProtection: failed to decode request"),
        (b'{"ProtectionEnabled":"yes"}', "UpdateTaskProtection: failed to decode request"),
        (b'{"ProtectionEnabled":true,"Other":1}', "UpdateTaskProtection: failed to decode request"),
        (b"\xff" * 9, "UpdateTaskProtection: failed to decode request"),
        (b"[" * 100_000, "UpdateTaskProtection: failed to decode request"),
        (b"{}", "Invalid request: does not contain 'ProtectionEnabled' field"),
        (b'{"ExpiresInMinutes":5}', "Invalid request: does not contain 'ProtectionEnabled' field"),
    ],
)
async def test_wishes_that_are_none(house: House, body: bytes, message: str) -> None:
    status, told = await house.ask(protection(house.one), method="PUT", body=body)
    assert (status, told["error"]["Code"], told["error"]["Message"]) == (
        400,
        "InvalidParameterException",
        message,
    )
    assert house.cell.protected == []


async def test_who_may_not_ask_for_protection(house: House) -> None:
    status, told = await house.ask(protection(house.one), "10.0.0.5")
    assert (status, told["error"]["Code"]) == (404, "ResourceNotFoundException")
    status, told = await house.ask(protection(house.two), "10.0.0.5")
    assert (status, told["error"]) == (
        403,
        {
            "Arn": ARN,
            "Code": "AccessDeniedException",
            "Message": "Invalid Request: no task IAM role credentials available for task",
        },
    )
    assert house.cell.protected == []


async def test_protection_without_a_control_plane(house: House) -> None:
    house.cell.slow = True
    status, told = await house.ask(protection(house.one))
    assert (status, told["error"]["Message"]) == (504, "Timed out calling ECS Task Protection API")
    house.cell.down = True
    assert (await house.ask(protection(house.one)))[0] == 500


async def test_a_mistake_of_ours_is_an_answer_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neargate.node.metadata.metadata.container", lambda *_: 1 / 0)
    assert await house.ask(house.path()) == (500, "failed to answer; see the daemon's log")
