"""STS as boto3 sees it: who calls, temporary credentials, and what the door makes of them."""

import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from neargate.gateway.app import App
from neargate.gateway.task_door import TaskDoor
from neargate.kit.errors import CellError
from neargate.model import session
from neargate.model.session import Session, SessionCredentials
from neargate.services.cell.endpoints import Protection
from neargate.services.cell.local import LocalCell
from neargate.services.ecs import protection
from neargate.services.sts.identity import get_caller_identity
from neargate.wire.http import Request, Response
from neargate.wire.models import Catalogue
from tests.support.door import Door
from tests.support.ecs import SCOPE, container, definition, opened

ROLE = "arn:aws:iam::000000000000:role/apps/web"
CATALOGUE = Catalogue()
INVALID = "The security token included in the request is invalid."
EXPIRED = "The security token included in the request is expired"


def refused(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, str, int]:
    answer = caught.value.response
    error = answer["Error"]
    return error["Code"], error["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


def client(door: Door, service: str, held: dict[str, Any] | SessionCredentials) -> Any:
    """A client with credentials as STS gives them."""
    if isinstance(held, SessionCredentials):
        keys = held.session.access_key_id, held.secret_access_key, held.token
    else:
        keys = held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"]
    return door.client(
        service, aws_access_key_id=keys[0], aws_secret_access_key=keys[1], aws_session_token=keys[2]
    )


def assume(door: Door, **params: Any) -> dict[str, Any]:
    values = {"RoleArn": ROLE, "RoleSessionName": "me", **params}
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    return dict(door.client("sts", config=config).assume_role(**values))


def minted(door: Door, **fields: Any) -> SessionCredentials:
    """A session of our own making, with the door's key."""
    values: dict[str, Any] = {
        "access_key_id": session.key_id("0123456789abcdef0123"),
        "account": "000000000000",
        "expires_at": time.time() + 60,
        "role_arn": ROLE,
        "name": "me",
        **fields,
    }
    return session.mint(door.daemon.house.signing_key, Session(**values), "0" * 24)


# -- who calls -----------------------------------------------------------------------------------------


async def test_the_root_credential_is_the_account(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        assert await get_caller_identity(house.call, {}) == {
            "Account": SCOPE.account,
            "UserId": SCOPE.account,
            "Arn": f"arn:aws:iam::{SCOPE.account}:root",
        }


def test_an_assumed_role(door: Door) -> None:
    answer = assume(door, SourceIdentity="someone")
    arn = "arn:aws:sts::000000000000:assumed-role/web/me"
    assert answer["AssumedRoleUser"]["Arn"] == arn and answer["SourceIdentity"] == "someone"
    held = answer["Credentials"]
    assert held["AccessKeyId"].startswith("ASIA") and len(held["AccessKeyId"]) == 20
    assert 3590 < held["Expiration"].timestamp() - time.time() <= 3600
    found = client(door, "sts", held).get_caller_identity()
    assert (found["Arn"], found["Account"]) == (arn, "000000000000")
    assert found["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"]
    assert found["UserId"].startswith("AROA") and found["UserId"].endswith(":me")
    assert client(door, "ecs", held).list_clusters()["clusterArns"] == []


def test_a_session_of_roots(door: Door) -> None:
    sts = door.client("sts")
    for asked, lasts in (({}, 3600), ({"DurationSeconds": 900}, 900), ({"DurationSeconds": 129600}, 3600)):
        held = sts.get_session_token(**asked)["Credentials"]
        assert lasts - 10 < held["Expiration"].timestamp() - time.time() <= lasts
    assert client(door, "sts", held).get_caller_identity()["Arn"] == "arn:aws:iam::000000000000:root"
    with pytest.raises(ClientError) as caught:
        client(door, "sts", held).get_session_token()
    message = "Cannot call GetSessionToken with session credentials"
    assert refused(caught) == ("AccessDenied", message, 403)


@pytest.mark.parametrize(
    ("params", "code", "words"),
    [
        ({"DurationSeconds": 899}, "ValidationError", "greater than or equal to 900"),
        ({"DurationSeconds": 43201}, "ValidationError", "less than or equal to 43200"),
        ({"RoleSessionName": "a b"}, "ValidationError", "roleSessionName"),
        ({"RoleArn": "web-is-no-arn-at-all"}, "ValidationError", "web-is-no-arn-at-all is invalid"),
        ({"RoleArn": "arn:aws:iam::000000000000:user/web"}, "AccessDenied", "sts:AssumeRole on resource"),
        ({"RoleArn": "arn:aws:iam::111111111111:role/web"}, "AccessDenied", "not authorized to perform"),
        ({"Policy": "x" * 2049}, "ValidationError", "less than or equal to 2048"),
    ],
)  # fmt: skip
def test_what_assume_role_refuses(door: Door, params: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(ClientError) as caught:
        assume(door, **params)
    found, message, status = refused(caught)
    assert (found, status) == (code, 403 if code == "AccessDenied" else 400)
    assert words in message


def test_a_role_that_a_role_assumes_lasts_an_hour_at_most(door: Door) -> None:
    sts = client(door, "sts", assume(door)["Credentials"])
    values = {"RoleArn": ROLE + "2", "RoleSessionName": "next"}
    assert sts.assume_role(**values)["AssumedRoleUser"]["Arn"].endswith("assumed-role/web2/next")
    with pytest.raises(ClientError) as caught:
        sts.assume_role(**values, DurationSeconds=3601)
    assert refused(caught)[0] == "ValidationError" and "role chaining" in refused(caught)[1]


# -- at the door ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "operation", "expired", "invalid"),
    [
        ("sts", "get_caller_identity", ("ExpiredToken", EXPIRED, 403),
         ("InvalidClientTokenId", INVALID, 403)),
        ("ecs", "list_clusters", ("ExpiredTokenException", EXPIRED, 400),
         ("UnrecognizedClientException", INVALID, 400)),
        ("ec2", "describe_vpcs", ("RequestExpired", "Request has expired.", 400),
         ("AuthFailure", "AWS was not able to validate the provided access credentials", 401)),
    ],
)  # fmt: skip
def test_expired_and_forged(
    door: Door, service: str, operation: str, expired: tuple[str, str, int], invalid: tuple[str, str, int]
) -> None:
    good, old = minted(door), minted(door, expires_at=time.time() - 1)
    getattr(client(door, service, good), operation)()
    forged = session.mint(b"another key", good.session, "0" * 24)
    other = minted(door, access_key_id=session.key_id("f" * 20))
    swapped = SessionCredentials(good.session, good.secret_access_key, other.token)
    bare = SessionCredentials(good.session, good.secret_access_key, "")
    root = door.daemon.credential
    rooted = msgspec.structs.replace(good.session, access_key_id=root.access_key_id)
    tokened = SessionCredentials(rooted, root.secret_access_key, good.token)
    for held, told in (
        (old, expired),
        (forged, invalid),
        (swapped, invalid),
        (bare, invalid),
        (tokened, invalid),
    ):
        with pytest.raises(ClientError) as caught:
            getattr(client(door, service, held), operation)()
        assert refused(caught) == told


def test_a_wrong_secret_is_a_wrong_signature(door: Door) -> None:
    good = minted(door)
    with pytest.raises(ClientError) as caught:
        client(door, "sts", SessionCredentials(good.session, "x" * 40, good.token)).get_caller_identity()
    assert refused(caught)[0] == "SignatureDoesNotMatch"


def signed(door: Door, held: SessionCredentials | None, path: str, service: str = "neargate") -> Request:
    request = AWSRequest("GET", f"http://169.254.170.2:4566{path}", data=b"")
    if held is not None:
        keys = Credentials(held.session.access_key_id, held.secret_access_key, held.token or None)
        SigV4Auth(keys, service, door.settings.region).add_auth(request)
    headers = {k.lower(): str(v) for k, v in request.prepare().headers.items()}
    path, _, query = path.partition("?")
    return Request("GET", path, query, {"host": "169.254.170.2:4566", **headers})


def test_no_session_has_roots_rights_on_our_own_endpoints(door: Door) -> None:
    app = _app(door)
    for held in (minted(door), minted(door, role_arn="", name="")):
        answer: Response = door.call(app.answer(signed(door, held, "/_neargate/status"), "127.0.0.1"))
        assert answer.status == 403 and b"Only the root credential" in answer.body


# -- a task's ------------------------------------------------------------------------------------------


def running(door: Door, **members: Any) -> str:
    """A running task's ARN; with a role unless another is said."""
    ecs = door.client("ecs")
    ecs.create_cluster()
    ecs.register_task_definition(**definition(container(), **{"taskRoleArn": ROLE, **members}))
    subnets = [s["SubnetId"] for s in door.client("ec2").describe_subnets()["Subnets"]]
    network = {"awsvpcConfiguration": {"subnets": subnets}}
    arn = ecs.run_task(taskDefinition="web", launchType="FARGATE", networkConfiguration=network)["tasks"][0][
        "taskArn"
    ]
    config = {"Delay": 0.05, "MaxAttempts": 1200}
    ecs.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=config)
    return str(arn)


def credentials_of(door: Door, arn: str) -> SessionCredentials:
    return door.call(LocalCell(door.daemon.house).task_credentials(arn.rsplit("/", 1)[1]))


def test_a_tasks_credentials_end_with_the_task(door: Door) -> None:
    arn = running(door)
    id = arn.rsplit("/", 1)[1]
    held = credentials_of(door, arn)
    assert 6 * 3600 - 10 < held.session.expires_at - time.time() <= 6 * 3600
    assert held.session.role_arn == ROLE
    sts = client(door, "sts", held)
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:sts::000000000000:assumed-role/web/{id}"
    chained = client(door, "sts", sts.assume_role(RoleArn=ROLE + "2", RoleSessionName="next")["Credentials"])
    assert chained.get_caller_identity()["Arn"].endswith("assumed-role/web2/next")
    ecs = door.client("ecs")
    ecs.stop_task(task=arn)
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200})
    for ended in (sts, chained):
        with pytest.raises(ClientError) as caught:
            ended.get_caller_identity()
        assert refused(caught) == ("ExpiredToken", EXPIRED, 403)
    with pytest.raises(CellError, match="no task"):
        credentials_of(door, arn)


def test_a_tasks_login_at_the_registry_ends_with_the_task(door: Door) -> None:
    door.client("ecr").create_repository(repositoryName="app")
    arn = running(door)
    held = credentials_of(door, arn)
    [login] = client(door, "ecr", held).get_authorization_token()["authorizationData"]
    assert login["expiresAt"].timestamp() == int(held.session.expires_at)  # in six hours, not in twelve

    def asked(path: str) -> int:
        headers = {"authorization": f"Basic {login['authorizationToken']}"}
        return httpx.get(door.endpoint + path, headers=headers).status_code

    paths = ("/v2/", "/v2/_catalog", "/v2/app/tags/list")
    assert [asked(path) for path in paths] == [200, 200, 200]
    ecs = door.client("ecs")
    ecs.stop_task(task=arn)
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200})
    assert [asked(path) for path in paths] == [403, 403, 403]


def test_a_login_lives_no_longer_than_the_session_that_made_it(door: Door) -> None:
    held = door.client("sts").get_session_token(DurationSeconds=900)["Credentials"]
    [login] = client(door, "ecr", held).get_authorization_token()["authorizationData"]
    assert login["expiresAt"].timestamp() <= held["Expiration"].timestamp()
    [login] = door.client("ecr").get_authorization_token()["authorizationData"]
    assert 0 <= time.time() + 12 * 3600 - login["expiresAt"].timestamp() < 60


def test_a_task_without_a_role_has_none(door: Door) -> None:
    arn = running(door, taskRoleArn=None)
    with pytest.raises(CellError, match="has no role"):
        credentials_of(door, arn)


def test_a_tasks_tags_and_protection(door: Door) -> None:
    arn = running(door)
    id = arn.rsplit("/", 1)[1]
    door.client("ecs").tag_resource(resourceArn=arn, tags=[{"key": "team", "value": "x"}])
    cell = LocalCell(
        door.daemon.house, Protection(protection.get_task_protection, protection.update_task_protection)
    )
    assert door.call(cell.task_tags(id)) == {"team": "x"}
    failure = {"Arn": arn, "Reason": "TASK_NOT_VALID", "Detail": "The task is not part of a service."}
    for wish in ((None, None), (True, 60), (False, None)):
        assert door.call(cell.task_protection(id, *wish)) == (200, {"failure": failure})
    status, told = door.call(cell.task_protection(id, True, 2881))
    assert (status, told["error"]["Arn"], told["error"]["Code"]) == (400, arn, "InvalidParameterException")
    assert told["requestID"]
    with pytest.raises(CellError, match="no task"):
        door.call(cell.task_protection("0" * 32, True, 60))


# -- the door that tasks have ---------------------------------------------------------------------------


def _app(door: Door) -> Any:
    internal = {"status": _status}
    return App(door.daemon.house, door.daemon.credential, _registry, internal, catalogue=CATALOGUE)


async def _registry(*_: Any) -> None:
    raise AssertionError("no request is the registry's here")


async def _status(request: Request) -> dict[str, str]:
    return {"is": "root's alone"}


def test_tasks_reach_the_apis_and_nothing_else(door: Door) -> None:
    tasks = TaskDoor(_app(door), lambda address: address == "10.0.0.4")
    root = SessionCredentials(
        Session(access_key_id=door.daemon.credential.access_key_id, account="0", expires_at=0.0),
        door.daemon.credential.secret_access_key,
        "",
    )
    identity = "/?Action=GetCallerIdentity&Version=2011-06-15"

    def ask(request: Request, source: str = "10.0.0.4") -> tuple[int, bytes]:
        answer = door.call(tasks.answer(request, source))
        return answer.status, answer.body

    status, body = ask(signed(door, minted(door), identity, "sts"))
    assert status == 200 and b"assumed-role/web/me" in body
    for source in ("10.0.0.5", "127.0.0.1", ""):
        assert ask(signed(door, minted(door), identity, "sts"), source)[0] == 403
    assert ask(signed(door, None, identity))[0] == 403
    assert ask(signed(door, root, "/_neargate/status"))[0] == 403
    for path in ("/_neargate/health", "/_neargate", "/v2/", "/v2", "/_neargate/../_neargate/health"):
        status, body = ask(Request("GET", path, "", {}))
        assert status == 403 and b"nothing else" in body
    assert not tasks.is_registry("/v2/")
    assert door.call(_app(door).answer(signed(door, root, "/_neargate/status"), "127.0.0.1")).status == 200


@settings(max_examples=50, deadline=None)
@given(path=st.text(alphabet="/._%25neargate2v", max_size=24))
def test_no_path_leads_past_it(tasks_door: tuple[Door, TaskDoor], path: str) -> None:
    door, tasks = tasks_door
    answer = door.call(tasks.answer(Request("GET", f"/{path}", "", {}), "10.0.0.4"))
    assert answer.status in (400, 403)


@pytest.fixture(scope="module")
def tasks_door(shared_door: Door) -> tuple[Door, TaskDoor]:
    return shared_door, TaskDoor(_app(shared_door), lambda _: True)
