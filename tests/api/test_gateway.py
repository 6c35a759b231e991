"""The door on a real socket, boto3 in front and one operation behind: who is let in, what others are told."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from neargate.gateway.app import App
from neargate.gateway.credentials import RootCredential
from neargate.gateway.dispatch import Room
from neargate.kit.ids import SystemIds
from neargate.kit.settings import Settings
from neargate.wire.http import Request
from neargate.wire.models import Catalogue
from tests.unit.gateway.test_http1 import EchoApp, door

CATALOGUE = Catalogue()
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def app(tmp_path: Path, **settings: Any) -> tuple[App, list[Any]]:
    calls: list[Any] = []

    async def list_clusters(call: Any, params: Any) -> dict[str, Any]:
        calls.append(call)
        return {"clusterArns": []}

    async def status(request: Request) -> dict[str, str]:
        return {"asked": request.query}

    settings_ = Settings(data_dir=tmp_path, **settings)
    house: Any = SimpleNamespace(
        settings=settings_, ids=SystemIds(), signing_key=b"k" * 32, endpoint="http://door"
    )
    root = RootCredential(KEY, SECRET, "123456789012", "arn:aws:iam::123456789012:root")
    rooms = {"ecs": Room(CATALOGUE.service("ecs"), {"ListClusters": list_clusters})}
    handlers = {"status": status, "reset": status}
    return App(house, root, EchoApp().registry, handlers, catalogue=CATALOGUE, rooms=rooms), calls


async def at_the_door(made: App, work: Callable[[str], Any]) -> Any:
    """What `work`, given the door's URL, returns; run on a thread."""
    async with door(made, request_timeout_seconds=5.0) as port:  # type: ignore[arg-type]
        return await asyncio.to_thread(work, f"http://127.0.0.1:{port}")


def client(
    url: str, service: str = "ecs", key: str = KEY, secret: str = SECRET, region: str = "us-east-1"
) -> Any:
    return boto3.client(
        service, region_name=region, endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip


def error_of(work: Callable[[], Any]) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        work()
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def internal(url: str, name: str, method: str = "GET", service: str = "neargate") -> tuple[int, Any]:
    request = AWSRequest(method, f"{url}/_neargate/{name}")
    if service:
        auth.SigV4Auth(Credentials(KEY, SECRET), service, "us-east-1").add_auth(request)
    plain = urllib.request.Request(request.url, headers=dict(request.headers.items()), method=method)
    try:
        with urllib.request.urlopen(plain) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def test_a_signed_call_reaches_its_operation(tmp_path: Path) -> None:
    made, calls = app(tmp_path)
    answer = await at_the_door(made, lambda url: client(url, region="eu-central-1").list_clusters())
    assert answer["clusterArns"] == []
    [call] = calls
    assert (call.scope.account, call.scope.region) == ("123456789012", "eu-central-1")
    assert call.principal_arn == "arn:aws:iam::123456789012:root"
    assert call.source_ip == "127.0.0.1"
    assert answer["ResponseMetadata"]["RequestId"] == call.request_id


async def test_who_is_not_let_in(tmp_path: Path) -> None:
    made, calls = app(tmp_path)

    def work(url: str) -> None:
        wrong = error_of(client(url, secret="wrong").list_clusters)
        assert wrong[:2] == (400, "InvalidSignatureException")
        unknown = error_of(client(url, key="AKIANOBODY").list_clusters)
        assert unknown[:2] == (400, "UnrecognizedClientException")
        region = error_of(client(url, region="nowhere").list_clusters)
        assert region[1] == "InvalidSignatureException"

    await at_the_door(made, work)
    assert calls == []


async def test_operation_that_is_not_built_is_named(tmp_path: Path) -> None:
    made, _ = app(tmp_path)
    status, _, message = await at_the_door(made, lambda url: error_of(client(url).describe_clusters))
    assert (status, "DescribeClusters" in message) == (501, True)


async def test_service_that_is_not_built_is_named(tmp_path: Path) -> None:
    made, _ = app(tmp_path)
    status, _, message = await at_the_door(
        made, lambda url: error_of(client(url, "logs").describe_log_groups)
    )
    assert (status, "'logs'" in message) == (501, True)


async def test_internal_endpoints(tmp_path: Path) -> None:
    made, _ = app(tmp_path)

    def work(url: str) -> None:
        assert internal(url, "health", service="") == (200, b'{"status":"ok"}')
        assert internal(url, "status", service="")[0] == 403
        assert internal(url, "status", service="ecs")[0] == 403
        assert internal(url, "status?a=b") == (200, b'{"asked":"a=b"}')
        assert internal(url, "nothing")[0] == 404
        assert internal(url, "status", "POST")[0] == 405
        assert internal(url, "reset")[0] == 405
        code, body = internal(url, "reset", "POST")
        assert (code, "ephemeral" in json.loads(body)["message"]) == (403, True)
        client(url).list_clusters()
        code, body = internal(url, "metrics")
        assert b'operation="ListClusters",service="ecs",status="200"} 1.0' in body

    await at_the_door(made, work)


async def test_reset_of_an_ephemeral_daemon(tmp_path: Path) -> None:
    made, _ = app(tmp_path, ephemeral=True)
    assert (await at_the_door(made, lambda url: internal(url, "reset", "POST")))[0] == 200
