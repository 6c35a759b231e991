"""Secrets Manager, operation by operation, as functions on a store; and what the node reads of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import neargate.services.secretsmanager
from neargate.kit.errors import ApiError, CellError
from neargate.model.secret import SealError, Value, Version, moved, seal, unseal
from neargate.services.cell.local import LocalCell
from neargate.state.catalog import SECRET, SECRET_VERSION
from tests.support import registry as support
from tests.support.registry import SCOPE, Registry, Room

DAY = 86_400.0


class House(Room):
    def __init__(self, registry: Registry) -> None:
        super().__init__("secretsmanager", neargate.services.secretsmanager, registry.ecr.call)
        self.registry = registry


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with support.opened(tmp_path) as registry:
        yield House(registry)


async def refused(awaitable: Any, code: str, text: str = "") -> None:
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value
    assert text in caught.value.message


async def value(house: House, **params: Any) -> Any:
    return (await house.get_secret_value(SecretId="db", **params))["SecretString"]


async def test_a_secret_from_birth_to_death(house: House) -> None:
    made = await house.create_secret(
        Name="db", SecretString="hunter2", Description="a password", Tags=[{"Key": "a", "Value": "b"}]
    )
    assert made["ARN"].startswith(f"arn:aws:secretsmanager:us-east-1:{SCOPE.account}:secret:db-")
    assert len(made["ARN"].rpartition("-")[2]) == 6
    for id in ("db", made["ARN"], made["ARN"].rpartition("-")[0]):
        got = await house.get_secret_value(SecretId=id)
        assert (got["SecretString"], got["VersionId"]) == ("hunter2", made["VersionId"])
        assert got["VersionStages"] == ["AWSCURRENT"]
    shown = await house.describe_secret(SecretId="db")
    assert shown["Description"] == "a password"
    assert shown["Tags"] == [{"Key": "a", "Value": "b"}]
    assert shown["VersionIdsToStages"] == {made["VersionId"]: ["AWSCURRENT"]}
    assert shown["LastAccessedDate"] % DAY == 0
    deleted = await house.delete_secret(SecretId="db", RecoveryWindowInDays=7)
    for call in (
        house.get_secret_value(SecretId="db"),
        house.put_secret_value(SecretId="db", SecretString="x"),
    ):
        await refused(call, "InvalidRequestException", "because it was marked for deletion")
    await refused(house.create_secret(Name="db"), "InvalidRequestException", "already scheduled for deletion")
    assert (await house.describe_secret(SecretId="db"))["DeletedDate"] == deleted["DeletionDate"]
    assert (await house.list_secrets())["SecretList"] == []
    assert len((await house.list_secrets(IncludePlannedDeletion=True))["SecretList"]) == 1
    await house.restore_secret(SecretId="db")
    assert await value(house) == "hunter2"


async def test_a_deleted_secret_is_gone_after_its_window(house: House) -> None:
    await house.create_secret(Name="db", SecretString="old")
    await house.delete_secret(SecretId="db", RecoveryWindowInDays=7)
    house.registry.clock.ahead = 7 * DAY + 60
    await refused(house.restore_secret(SecretId="db"), "ResourceNotFoundException")
    await house.create_secret(Name="db", SecretString="new")
    assert await value(house) == "new"
    store = house.registry.house.store
    kept = await store.read(lambda tx: (len(tx.all(SECRET)), len(tx.all(SECRET_VERSION))))
    assert kept == (1, 1)


async def test_deletion_without_recovery(house: House) -> None:
    await house.create_secret(Name="db", SecretString="x")
    await house.delete_secret(SecretId="db", ForceDeleteWithoutRecovery=True)
    await refused(
        house.get_secret_value(SecretId="db"),
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret.",
    )
    await house.delete_secret(SecretId="db", ForceDeleteWithoutRecovery=True)
    for params in ({"RecoveryWindowInDays": 6}, {"RecoveryWindowInDays": 31}):
        await refused(house.delete_secret(SecretId="db", **params), "InvalidParameterException", "7 and 30")
    both = {"RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": True}
    await refused(house.delete_secret(SecretId="db", **both), "InvalidParameterException")
    await refused(house.delete_secret(SecretId="db"), "ResourceNotFoundException")


async def test_versions_and_their_labels(house: House) -> None:
    first = (await house.create_secret(Name="db", SecretString="1"))["VersionId"]
    second = (await house.put_secret_value(SecretId="db", SecretString="2"))["VersionId"]
    third = await house.put_secret_value(SecretId="db", SecretBinary=b"\x00\xff", VersionStages=["next"])
    assert await value(house) == "2"
    assert await value(house, VersionStage="AWSPREVIOUS") == "1"
    got = await house.get_secret_value(SecretId="db", VersionStage="next")
    assert (got["SecretBinary"], "SecretString" in got) == (b"\x00\xff", False)
    assert await value(house, VersionId=first) == "1"
    assert await value(house, VersionId=second, VersionStage="AWSCURRENT") == "2"
    await refused(
        house.get_secret_value(SecretId="db", VersionId=first, VersionStage="AWSCURRENT"),
        "InvalidRequestException",
    )
    await refused(
        house.get_secret_value(SecretId="db", VersionStage="none"),
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret value for staging label: none",
    )
    await house.update_secret(SecretId="db", SecretString="4", Description="later")
    shown = await house.describe_secret(SecretId="db")
    assert shown["Description"] == "later"
    assert shown["VersionIdsToStages"][second] == ["AWSPREVIOUS"]
    assert shown["VersionIdsToStages"][third["VersionId"]] == ["next"]
    assert first not in shown["VersionIdsToStages"]


async def test_the_first_version_is_the_current_one_whatever_its_labels(house: House) -> None:
    await house.create_secret(Name="db")
    made = await house.put_secret_value(SecretId="db", SecretString="1", VersionStages=["mine"])
    assert made["VersionStages"] == ["AWSCURRENT", "mine"]
    assert await value(house) == "1"
    later = await house.put_secret_value(SecretId="db", SecretString="2", VersionStages=["mine"])
    assert later["VersionStages"] == ["mine"]
    assert await value(house) == "1"


async def test_a_call_repeated_makes_one_version(house: House) -> None:
    token = "a" * 32
    made = await house.create_secret(Name="db", SecretString="1", ClientRequestToken=token)
    assert await house.create_secret(Name="db", SecretString="1", ClientRequestToken=token) == made
    await refused(
        house.create_secret(Name="db", SecretString="2", ClientRequestToken=token), "ResourceExistsException"
    )
    await refused(
        house.create_secret(Name="db", SecretString="1"),
        "ResourceExistsException",
        "The operation failed because the secret db already exists.",
    )
    for _ in range(2):
        put = await house.put_secret_value(SecretId="db", SecretString="2", ClientRequestToken="b" * 32)
    assert put["VersionStages"] == ["AWSCURRENT"]
    await refused(
        house.put_secret_value(SecretId="db", SecretString="3", ClientRequestToken="b" * 32),
        "ResourceExistsException",
    )
    assert await value(house) == "2"


async def test_old_versions_do_not_pile_up(house: House) -> None:
    await house.create_secret(Name="db", SecretString="first")
    for number in range(110):
        await house.put_secret_value(SecretId="db", SecretString=str(number))
    store = house.registry.house.store
    assert await store.read(lambda tx: len(tx.all(SECRET_VERSION))) == 102
    assert await value(house) == "109"


async def test_what_is_refused(house: House) -> None:
    await house.create_secret(Name="db")
    await refused(
        house.get_secret_value(SecretId="db"),
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
    )
    both = {"SecretString": "x", "SecretBinary": b"x"}
    await refused(house.put_secret_value(SecretId="db", **both), "InvalidParameterException", "both")
    await refused(house.put_secret_value(SecretId="db"), "InvalidParameterException")
    await refused(
        house.put_secret_value(SecretId="db", SecretString="ü" * 40_000), "InvalidParameterException"
    )
    await refused(house.create_secret(Name="a b"), "ValidationException", "Invalid name")
    for arn in (
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db",
        "arn:aws:secretsmanager:us-east-1:999999999999:secret:db",
        "arn:aws:s3:::db",
    ):
        await refused(house.describe_secret(SecretId=arn), "ResourceNotFoundException")


async def test_tags(house: House) -> None:
    await house.create_secret(Name="db", Tags=[{"Key": "a", "Value": "1"}])
    await house.tag_resource(SecretId="db", Tags=[{"Key": "b", "Value": "2"}])
    await house.untag_resource(SecretId="db", TagKeys=["a", "z"])
    assert (await house.describe_secret(SecretId="db"))["Tags"] == [{"Key": "b", "Value": "2"}]
    many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
    await refused(house.tag_resource(SecretId="db", Tags=many), "InvalidParameterException")


async def test_lists(house: House) -> None:
    for name in ("prod/db", "prod/web", "test/db"):
        await house.create_secret(Name=name, Description=f"of {name}", Tags=[{"Key": name[:4], "Value": "x"}])

    async def listed(**params: Any) -> list[str]:
        found: list[str] = []
        token: dict[str, Any] = {}
        while True:
            page = await house.list_secrets(MaxResults=2, **params, **token)
            found += [secret["Name"] for secret in page["SecretList"]]
            if "NextToken" not in page:
                return found
            token = {"NextToken": page["NextToken"]}

    assert await listed() == ["test/db", "prod/web", "prod/db"]
    assert await listed(SortOrder="asc") == ["prod/db", "prod/web", "test/db"]
    assert await listed(SortBy="name", SortOrder="desc") == ["test/db", "prod/web", "prod/db"]
    for key, values, expected in (
        ("name", ["prod/"], ["prod/db", "prod/web"]),
        ("name", ["!prod/"], ["test/db"]),
        ("name", ["prod/w", "test"], ["prod/web", "test/db"]),
        ("tag-key", ["test"], ["test/db"]),
        ("description", ["of prod/d"], ["prod/db"]),
        ("description", ["OF prod/d"], ["prod/db"]),
        ("description", ["prod"], []),
        ("name", ["Prod/"], []),
        ("tag-key", ["Test"], []),
        ("tag-value", ["X"], []),
        ("all", ["x"], ["prod/db", "prod/web", "test/db"]),
        ("all", ["DB of"], ["prod/db", "test/db"]),
        ("all", ["web none"], []),
        ("all", ["!prod"], ["test/db"]),
        ("owning-service", ["rds"], []),
    ):
        found = await listed(SortOrder="asc", Filters=[{"Key": key, "Values": values}])
        assert found == expected, (key, values)
    await refused(house.list_secrets(NextToken="x"), "InvalidNextTokenException")


# --- values at rest


async def test_nothing_on_disk_holds_the_value(house: House, tmp_path: Path) -> None:
    text = "correct horse battery staple"
    await house.create_secret(Name="db", SecretString=text)
    assert await value(house) == text
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or text.encode() not in path.read_bytes(), path


async def test_another_key_opens_nothing(house: House) -> None:
    await house.create_secret(Name="db", SecretString="x")
    call = house.call
    stranger = replace_key(call, b"another key" * 3)
    house.call = stranger
    await refused(house.get_secret_value(SecretId="db"), "DecryptionFailure")


def replace_key(call: Any, key: bytes) -> Any:
    import dataclasses

    return dataclasses.replace(call, house=dataclasses.replace(call.house, signing_key=key))


def test_a_sealed_value_is_bound_to_its_place() -> None:
    key, clear = b"k" * 32, Value(b"secret")
    sealed = seal(key, "arn:a", "v1", clear, b"n" * 12)
    record = Version(
        account="1", region="r", secret="arn:a", id="v1", created_at=0.0, sealed=sealed, binary=False
    )
    assert unseal(key, record) == clear
    assert "secret'" not in repr(clear)
    for wrong in (
        replace(record, secret="arn:b"),
        replace(record, id="v2"),
        replace(record, binary=True),
        replace(record, sealed=sealed[:-1] + bytes([sealed[-1] ^ 1])),
        replace(record, sealed=b""),
    ):
        with pytest.raises(SealError):
            unseal(key, wrong)


@pytest.mark.parametrize(
    ("before", "labels", "after"),
    [
        ({}, ["AWSCURRENT"], {"AWSCURRENT": "new"}),
        ({"AWSCURRENT": "a"}, ["AWSCURRENT"], {"AWSCURRENT": "new", "AWSPREVIOUS": "a"}),
        (
            {"AWSCURRENT": "b", "AWSPREVIOUS": "a"},
            ["AWSCURRENT"],
            {"AWSCURRENT": "new", "AWSPREVIOUS": "b"},
        ),
        ({"AWSCURRENT": "a"}, ["x"], {"AWSCURRENT": "a", "x": "new"}),
        ({"AWSCURRENT": "new"}, ["AWSCURRENT"], {"AWSCURRENT": "new"}),
    ],
)
def test_labels_move(before: dict[str, str], labels: list[str], after: dict[str, str]) -> None:
    assert moved(before, "new", labels) == after


# --- the node


async def test_the_node_reads_registry_credentials(house: House) -> None:
    cell = LocalCell(house.registry.house)
    made = await house.create_secret(Name="hub", SecretString='{"username":"me","password":"pw"}')
    for parameter in ("hub", made["ARN"]):
        assert await cell.registry_secret(SCOPE.account, SCOPE.region, parameter) == ("me", "pw")
    for text in ("hunter2", '{"username":"hunter2"}', '["hunter2"]', '{"username":1,"password":"hunter2"}'):
        await house.put_secret_value(SecretId="hub", SecretString=text)
        with pytest.raises(CellError) as caught:
            await cell.registry_secret(SCOPE.account, SCOPE.region, "hub")
        assert "hunter2" not in str(caught.value)
        assert "hub" in str(caught.value)
    with pytest.raises(CellError, match="can't find the specified secret"):
        await cell.registry_secret(SCOPE.account, SCOPE.region, "none")
    with pytest.raises(CellError, match="can't find the specified secret"):
        await cell.registry_secret(SCOPE.account, "eu-west-1", "hub")
